"""Ports with faults: how one replica reaches the sites, and all that may go wrong with a call."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn, TypeVar

from cloud_adapters.base import ClusterRef, Inventory
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Ambiguous, PluginError, Transient
from controlplane.domain.ids import AttemptId
from controlplane.executors.base import Observation, Order
from controlplane.storage.base import ObjectInfo
from tests.sim.database import Crash, away

if TYPE_CHECKING:
    from tests.sim.world import World

T = TypeVar("T")

DEEDS: Final = {
    "refused": 0.02,
    "answer lost": 0.03,
    "done twice": 0.02,
    "done late": 0.015,
    "crash before": 0.004,
    "crash after": 0.008,
    "others act before": 0.03,
    "others act after": 0.03,
}
LOOKS: Final = {
    "refused": 0.03,
    "crash after": 0.004,
    "others act before": 0.02,
    "others act after": 0.04,
}
READS: Final = {"away": 0.002, "others act before": 0.01}
PLANNING_READS: Final = {"away": 0.002, "others act before": 0.15}
WRITES: Final = {"others act before": 0.05, "away": 0.003, "crash before": 0.002}
PLANNING_WRITES: Final = {**WRITES, "others act before": 0.25}
"""What a plan rests on may change while it is made."""

JUDGING_WRITES: Final = {**WRITES, "others act before": 0.1}
"""And so may what an attempt is judged by."""

ARTIFACTS: Final = {"replaced": 0.03}
"""Somebody else writes where a step has written."""

RERUNS: Final = {"run twice": 0.01}
BEFORE_COMMITS: Final = {"not committed": 0.004, "crash before commit": 0.002}
AFTER_COMMITS: Final = {"answer of commit lost": 0.004, "crash after commit": 0.003}


class Way:
    """Everything between one replica and the rest of the world."""

    def __init__(self, world: "World", who: str) -> None:
        self._world = world
        self._who = who
        self.is_dead = False
        self.is_planning = self.is_judging = False

    def deed(self, verb: str, do: Callable[[], T], *, longest_lateness: float = 120.0) -> T:
        """A call that changes something. What is done late is done within `longest_lateness` seconds."""
        kind = self._fault(verb, DEEDS)
        self._strike_before(kind, verb)
        if kind == "done late":
            seconds = self._world.chance.between(f"{self._who} {verb} lateness", 0.5, longest_lateness)
            self._world.timeline.after(seconds, lambda: _whatever(do))
            raise Ambiguous(f"{verb}: no answer in time")
        if kind == "done twice":
            do()
        answer = do()
        if kind == "answer lost":
            raise Ambiguous(f"{verb}: the answer was lost")
        self._strike_after(kind, verb)
        return answer

    def look(self, verb: str, see: Callable[[], T]) -> T:
        """A call that only asks; what it says may be old when it is heard."""
        kind = self._fault(verb, LOOKS)
        self._strike_before(kind, verb)
        answer = see()
        self._strike_after(kind, verb)
        return answer

    def before_read(self) -> None:
        if self._world.database_is_away:
            raise away()
        kind = self._fault("read", PLANNING_READS if self.is_planning else READS)
        if kind == "away":
            raise away()
        self._strike_before(kind, "read")

    def before_write(self) -> None:
        if self._world.database_is_away:
            raise away()
        writes = PLANNING_WRITES if self.is_planning else JUDGING_WRITES if self.is_judging else WRITES
        kind = self._fault("write", writes)
        if kind == "away":
            raise away()
        self._strike_before(kind, "write")

    def runs_twice(self) -> bool:
        return self.finds("rerun", RERUNS)

    def finds(self, what: str, probabilities: dict[str, float]) -> bool:
        """Whether the world is not as it was left."""
        return self._fault(what, probabilities) is not None

    def before_commit(self) -> None:
        kind = self._fault("commit", BEFORE_COMMITS)
        if kind == "not committed":
            raise away("the connection broke before the commit")
        if kind is not None:
            self._die()

    def after_commit(self) -> None:
        kind = self._fault("committed", AFTER_COMMITS)
        if kind == "answer of commit lost":
            raise away("the connection broke during the commit")
        if kind is not None:
            self._die()

    def _die(self) -> NoReturn:
        self.is_dead = True
        raise Crash(self._who)

    def _fault(self, verb: str, probabilities: dict[str, float]) -> str | None:
        if self.is_dead:
            raise Crash(self._who)  # on its way out: no `finally` of a dead process does anything
        kind = self._world.chance.fault(f"{self._who} {verb}", probabilities)
        if kind is not None:
            self._world.tell(f"{self._who} {verb}: {kind}")
        return kind

    def _strike_before(self, kind: str | None, verb: str) -> None:
        if kind == "refused":
            raise Transient(f"{verb}: refused")
        if kind == "crash before":
            self._die()
        if kind == "others act before":
            self._world.let_others_act()

    def _strike_after(self, kind: str | None, verb: str) -> None:
        del verb
        if kind == "crash after":
            self._die()
        if kind == "others act after":
            self._world.let_others_act()


class SimExecutor:
    """The executor port of one replica."""

    def __init__(self, world: "World", way: Way) -> None:
        self._world = world
        self._way = way

    def start(self, order: Order, *, deadline: float) -> str:
        del deadline
        return self._way.deed("start", lambda: self._world.sites.at(order.endpoint).start(order))

    def stop(self, endpoint: Endpoint, attempt_id: AttemptId, *, deadline: float) -> None:
        del deadline
        self._way.deed("stop", lambda: self._world.sites.at(endpoint).stop(attempt_id))

    def observe(
        self, endpoint: Endpoint, attempt_ids: Sequence[AttemptId], *, deadline: float
    ) -> tuple[Observation, ...]:
        del deadline
        return self._way.look("observe", lambda: self._world.sites.at(endpoint).observe(attempt_ids))


class SimLender:
    """The capacity port of one replica, for attached clusters. Lists lag."""

    def __init__(self, world: "World", way: Way) -> None:
        self._world = world
        self._way = way

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        del deadline

        def see() -> Inventory:
            site = self._world.sites.of(cluster)
            lag = self._world.chance.pick(f"{site.name} lag", (0.0, 0.0, 0.0, 4.0, 15.0))
            return site.inventory(lag_seconds=0.0 if self._world.chance.is_calm else lag)

        return self._way.look("inventory", see)


class SimObjects:
    """The object store as one replica reaches it."""

    def __init__(self, world: "World", way: Way) -> None:
        self._world = world
        self._way = way

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        whole = data.read()
        return self._way.deed(
            "put", lambda: self._world.objects.put(key, io.BytesIO(whole), if_absent=if_absent)
        )

    def get(self, key: str) -> BinaryIO:
        return self._way.look("get", lambda: self._world.objects.get(key))

    def exists(self, key: str) -> bool:
        return self._way.look("exists", lambda: self._world.objects.exists(key))

    def list(self, prefix: str) -> Iterator[str]:
        yield from self._way.look("list", lambda: list(self._world.objects.list(prefix)))

    def delete(self, key: str) -> None:
        self._way.deed("delete", lambda: self._world.objects.delete(key))


class SimArtifacts:
    """The registered store of what steps make, as one replica reads it."""

    def __init__(self, world: "World", way: Way) -> None:
        self._world = world
        self._way = way

    def head(self, key: str) -> ObjectInfo:
        if self._way.finds("artifact", ARTIFACTS) and self._world.artifacts.exists(key):
            self._world.artifacts.put(key, io.BytesIO(b"another"))
        return self._way.look("head", lambda: self._world.artifacts.head(key))

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        return self._way.look(
            "read of a range", lambda: self._world.artifacts.read(key, offset, length, if_match=if_match)
        )


def _whatever(do: Callable[[], object]) -> None:
    """Nobody waits for the answer any more."""
    with suppress(PluginError):
        do()
