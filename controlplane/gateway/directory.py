"""The directory: every service that a gateway knows of, by name."""

from collections.abc import Callable, Iterable, Iterator

from controlplane.domain.errors import NotFound
from controlplane.domain.ids import AttemptId, ServiceId
from controlplane.domain.traffic import ServiceRoute
from controlplane.gateway.desk import Desk
from controlplane.gateway.loads import Loads


class Directory:
    """Lives in one event loop. Desks outlive changes of their service, so what is under way stays counted."""

    def __init__(
        self,
        loads: Loads,
        clock: Callable[[], float],
        *,
        call_for_replicas: Callable[[], None] = lambda: None,
    ) -> None:
        self._loads = loads
        self._clock = clock
        self._call_for_replicas = call_for_replicas
        self._by_id: dict[ServiceId, Desk] = {}
        self._by_name: dict[tuple[str, str], Desk] = {}

    def __iter__(self) -> Iterator[Desk]:
        return iter(self._by_id.values())

    @property
    def attempt_ids(self) -> frozenset[AttemptId]:
        """Of all replicas that may be asked."""
        revisions = (revision for desk in self for revision in desk.route.revisions)
        return frozenset(each.attempt_id for revision in revisions for each in revision.backends)

    def desk(self, project: str, name: str) -> Desk:
        """Raises `NotFound`."""
        desk = self._by_name.get((project, name))
        if desk is None:
            raise NotFound(f"there is no service {project}/{name}")
        return desk

    def follow(self, routes: Iterable[ServiceRoute]) -> None:
        """These are all services."""
        by_id: dict[ServiceId, Desk] = {}
        for route in routes:
            desk = self._by_id.get(route.service_id)
            if desk is None:
                desk = Desk(route, self._loads, self._clock, self._call_for_replicas)
            elif desk.route != route:
                desk.follow(route)
            by_id[route.service_id] = desk
        # At once: what goes wrong above leaves every service where it was.
        known, self._by_id = self._by_id, by_id
        self._by_name = {(desk.route.project, desk.route.name): desk for desk in by_id.values()}
        for service_id in known.keys() - by_id.keys():
            known[service_id].close()
        self._loads.forget_but(frozenset(self._by_id))

    def look_again(self) -> None:
        for desk in self._by_id.values():
            desk.look_again()
