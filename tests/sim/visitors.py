"""Visitors: gateways that read the routes, ask replicas for whoever comes, and tell what they saw."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from controlplane.domain.errors import PluginError, Unavailable
from controlplane.domain.ids import AttemptId, RevisionId
from controlplane.domain.traffic import LATENCY_EDGES_MS, Backend, Load, RevisionRoute, ServiceRoute
from controlplane.operations import traffic
from tests.sim.database import Crash
from tests.sim.replicas import ApiReplica
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.world import World

GATEWAYS: Final = ("gateway-1", "gateway-2")
LONGEST_LATE: Final = 300.0
"""Seconds for which a replica may be named that has ended: outages of both replicas of the loops lie in between."""


class Visitors:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = world.chance
        self._missed_since: dict[AttemptId, float] = {}
        """Replicas that were named and did not run, or not all of them."""

        self._reported_at = dict.fromkeys(GATEWAYS, world.timeline.now)
        self.asked = 0
        """Requests that a replica answered."""

    def calm_down(self) -> None:
        """Who could not be looked at in the storm has all its time again."""
        self._missed_since = dict.fromkeys(self._missed_since, self._world.timeline.seconds)

    def come(self) -> None:
        """One reading of one gateway, and one report. Where the database is away it goes on with nothing."""
        gateway = self._chance.pick("gateway", GATEWAYS)
        api = self._world.some_api(gateway)
        with suppress(Unavailable, PluginError, Crash):
            routes = traffic.routes(api.context)
            self._world.serving.served.look_at_routes(routes)
            loads = [load for route in routes for load in self._loads(gateway, route)]
            self._report(api, loads)

    def _loads(self, gateway: str, route: ServiceRoute) -> list[Load]:
        loads = (
            [self._load(gateway, route, None)] if not any(each.backends for each in route.revisions) else []
        )
        for revision in route.revisions:
            for backend in revision.backends:
                self._ask(revision, backend)
            if revision.backends:
                loads.append(self._load(gateway, route, revision))
        return loads

    def _ask(self, revision: RevisionRoute, backend: Backend) -> None:
        attempt_id, world = backend.attempt_id, self._world
        if world.truth.announced.get(attempt_id) != backend.url:
            raise Violation(
                f"revision {revision.revision_id} is routed to {backend.url}, where nobody said he is"
            )
        if attempt_id in world.truth.unready:
            raise Violation(f"attempt {attempt_id} is routed to, and said that it is not ready")
        if world.truth.answers(attempt_id):
            self._missed_since.pop(attempt_id, None)
            self.asked += 1
            return
        since = self._missed_since.setdefault(attempt_id, world.timeline.seconds)
        if world.timeline.seconds - since > LONGEST_LATE:
            raise Violation(
                f"attempt {attempt_id} is routed to for more than {LONGEST_LATE:g} s after its end"
            )

    def _load(self, gateway: str, route: ServiceRoute, revision: RevisionRoute | None) -> Load:
        comes = self._chance.whole("requests", 0, 6)
        waits = comes if revision is None else 0
        ended = 0 if revision is None else comes
        errors = ended if ended and self._chance.is_so("requests fail", 0.03) else 0
        latency = [0] * (len(LATENCY_EDGES_MS) + 1)
        latency[self._chance.whole("latency", 0, 8)] = ended
        return Load(
            gateway=gateway,
            service_id=route.service_id,
            revision_id=None if revision is None else RevisionId(revision.revision_id),
            since=self._reported_at[gateway],
            until=self._world.timeline.now,
            in_flight=comes,
            waiting=waits,
            requests=ended,
            errors=errors,
            latency_ms=tuple(latency),
        )

    def _report(self, api: ApiReplica, loads: list[Load]) -> None:
        if not loads:
            return
        traffic.report(api.context, loads)
        self._reported_at[loads[0].gateway] = self._world.timeline.now
        if self._chance.is_so("reports twice", 0.1):
            traffic.report(api.context, loads)
