"""A site: one Ray cluster as it truly is. Its machines, the attempts on it, and the network in between.

It answers the executor's and the adapter's calls truthfully; what goes wrong on the way is the ports' business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from cloud_adapters.base import ClusterRef, Inventory, Machine
from controlplane.domain.amounts import Amounts, total
from controlplane.domain.clusters import Endpoint
from controlplane.domain.copies import replace
from controlplane.domain.errors import Transient
from controlplane.domain.ids import AttemptId, JobId
from controlplane.executors.base import Observation, Order, Phase
from controlplane.storage.fake import FakeStore
from controlplane.wire.protocol import RecordAnswer, RecordBatch
from tests.sim.chance import Chance
from tests.sim.timeline import Timeline
from tests.sim.truth import Truth
from tests.sim.wrappers import Answer, Record, Silence, Wrapper

GIBIBYTE: Final = 1024**3
SIZE: Final = Amounts(cpu_milli=4000, gpu_milli=2000, memory_bytes=16 * GIBIBYTE)
POSTS: Final = {"request lost": 0.015, "answer lost": 0.015, "sent again later": 0.01, "late": 0.01}

Ingest = Callable[[Order, RecordBatch], RecordAnswer | Silence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every site of a world shares."""

    timeline: Timeline
    chance: Chance
    truth: Truth
    ingest: Ingest
    """Delivers a wrapper's request to the control plane."""

    project_of: Callable[[JobId], str]
    artifacts: FakeStore
    """What steps of pipelines make, and what others read of it."""


class Site:
    adapter: str = "ray"

    def __init__(self, name: str, around: Surroundings, *, machines: int = 0) -> None:
        self.name = name
        self.timeline = around.timeline
        self.chance = around.chance
        self.truth = around.truth
        self.artifacts = around.artifacts
        self.machines: dict[str, Amounts] = {}
        self.is_unreachable = False
        """The control plane cannot reach it."""

        self.is_cut_off = False
        """It cannot reach the control plane."""

        self._ingest = around.ingest
        self._lives = 1
        self._made = 0
        self._wrappers: dict[AttemptId, Wrapper] = {}
        self._lists: list[tuple[float, tuple[Machine, ...]]] = []
        for _ in range(machines):
            self.add_machine()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{10_000 + sum(map(ord, self.name))}/{self.name}"

    @property
    def address(self) -> str | None:
        """What an operator registers it with; None: its adapter finds it."""
        return self.url

    @property
    def session(self) -> str:
        return f"{self.name}-life-{self._lives}"

    def add_machine(self) -> str:
        self._made += 1
        name = f"{self.name}-m{self._made}"
        self.machines[name] = SIZE
        self._note_list()
        return name

    def lose_machine(self, name: str) -> None:
        del self.machines[name]
        for wrapper in list(self._wrappers.values()):
            wrapper.lose_machine(name)
        self._note_list()

    def restart(self) -> None:
        """Ray's head dies: every process of it is gone, and the machines come back under other names."""
        for wrapper in self._wrappers.values():
            wrapper.end_of_life()
        self._wrappers.clear()
        self._lives += 1
        count = len(self.machines)
        self.machines.clear()
        self._lists.clear()
        self._note_list()
        for _ in range(count):
            self.add_machine()

    def room(self, machine: str) -> Amounts:
        return self.machines.get(machine, Amounts())

    def knows_not(self, wrapper: Wrapper) -> bool:
        return self._wrappers.get(wrapper.order.attempt_id) is not wrapper

    def running_wrappers(self) -> list[Wrapper]:
        return [each for each in self._wrappers.values() if each.phase is Phase.RUNNING]

    def hears_nothing_from(self, order: Order, rank: int) -> bool:
        """Whether that rank alone is cut off."""
        del order, rank
        return False

    def start(self, order: Order) -> str:
        self._answer()
        if order.attempt_id not in self._wrappers:
            self._wrappers[order.attempt_id] = Wrapper(self, order)
        return self.session

    def stop(self, attempt_id: AttemptId) -> None:
        self._answer()
        if attempt_id in self._wrappers:
            self._wrappers[attempt_id].stop()

    def observe(self, attempt_ids: Sequence[AttemptId]) -> tuple[Observation, ...]:
        self._answer()
        return tuple(self._observation(attempt_id) for attempt_id in attempt_ids)

    @property
    def used(self) -> dict[str, Amounts]:
        """What Ray has given to running code, by machine."""
        amounts: dict[str, list[Amounts]] = {}
        for each in self.truth.running.values():
            if each.site == self.name:
                amounts.setdefault(each.machine, []).append(each.amounts)
        return {machine: total(parts) for machine, parts in amounts.items()}

    def inventory(self, *, lag_seconds: float) -> Inventory:
        """As of so long ago, but never of an earlier life."""
        self._answer()
        then = self.timeline.seconds - lag_seconds
        shown = next((listed for at, listed in reversed(self._lists) if at <= then), self._lists[0][1])
        used = self.used
        machines = tuple(replace(each, used=used.get(each.name, Amounts())) for each in shown)
        return Inventory(machines=machines, complete=True, session=self.session)

    def post(self, order: Order, rank: int, records: list[Record]) -> Answer:
        """One request of a wrapper, over a network that loses, repeats and delays."""
        if self.is_cut_off or self.hears_nothing_from(order, rank):
            return Silence.NONE
        batch = _batch(rank, records)
        match self.chance.fault(f"{self.name} network", POSTS):
            case "request lost":
                return Silence.NONE
            case "answer lost":
                self._ingest(order, batch)
                return Silence.NONE
            case "late":
                self._deliver_later(order, batch)
                return Silence.NONE
            case "sent again later":
                self._deliver_later(order, batch)
            case _:
                pass
        return self._ingest(order, batch)

    def _deliver_later(self, order: Order, batch: RecordBatch) -> None:
        seconds = self.chance.between(f"{self.name} lateness", 0.5, 90.0)
        self.timeline.after(seconds, lambda: self._drop_answer(self._ingest(order, batch)))

    @staticmethod
    def _drop_answer(answer: Answer) -> None:
        """Whoever asked has long given up."""

    def _answer(self) -> None:
        if self.is_unreachable:
            raise Transient(f"{self.name} does not answer")

    def _observation(self, attempt_id: AttemptId) -> Observation:
        wrapper = self._wrappers.get(attempt_id)
        if wrapper is None:
            return Observation(attempt_id=attempt_id, phase=Phase.ABSENT, session=self.session)
        return Observation(
            attempt_id=attempt_id, phase=wrapper.phase, session=self.session, exit_code=wrapper.exit_code
        )

    def _note_list(self) -> None:
        listed = tuple(self._machine(name) for name in sorted(self.machines))
        self._lists.append((self.timeline.seconds, listed))

    def _machine(self, name: str) -> Machine:
        return Machine(name=name, host="127.0.0.1", allocatable=self.machines[name])


def _batch(rank: int, records: list[Record]) -> RecordBatch:
    return _beat(rank) if not records else RecordBatch.model_validate({"rank": rank, "records": records})


@cache
def _beat(rank: int) -> RecordBatch:
    """The same for all: most requests say nothing but that somebody lives."""
    return RecordBatch.model_validate({"rank": rank, "records": []})


class Sites:
    """Every site of the world, found by the endpoint that the control plane dials."""

    def __init__(self, fixed: Sequence[Site], others: Callable[[Endpoint], Site | None]) -> None:
        """`others`: finds those that come and go."""
        self._by_url = {site.url: site for site in fixed}
        self._others = others

    def at(self, endpoint: Endpoint | None) -> Site:
        if endpoint is None:
            raise Transient("nobody has said where it listens")
        site = self._by_url.get(endpoint.url) or self._others(endpoint)
        if site is None:
            raise Transient(f"nobody listens at {endpoint.url}")
        return site

    def of(self, cluster: ClusterRef) -> Site:
        return self.at(cluster.endpoint)
