"""A fake of both capacity ports, with the vices of real ones. Deterministic: what it does is set by plain attributes.

    adapter = FakeCapacity()
    lab = adapter.at("cluster-1")           # by cluster id; made on first use
    lab.machines = (machine("node-1"), machine("node-2"))
    lab.lags_by = 1                         # lists show the state before the last change
    lab.lost_answers = 1                    # the next call does its deed and then loses the answer

A kind fake proves nothing: it does not wait, so a slow cluster is one whose `boots_after` calls are not used up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cloud_adapters.base import (
    MILLI,
    Amounts,
    AuthFailed,
    ClusterRef,
    Endpoint,
    Inventory,
    Machine,
    Throttled,
    Transient,
)

Answer = TypeVar("Answer")


def machine(name: str, *, cpus: int = 4, gpus: int = 2, memory_bytes: int = 2**31) -> Machine:
    amounts = Amounts(cpu_milli=cpus * MILLI, gpu_milli=gpus * MILLI, memory_bytes=memory_bytes)
    return Machine(name=name, host="127.0.0.3", allocatable=amounts)


class FakeCluster:
    """One cluster and its vices. All vices are off at first."""

    def __init__(self, number: int) -> None:
        self.token = f"token-{number}"
        self.is_running = True
        self.is_unreachable = False
        self.throttled_seconds: float | None = None
        """Set: every call is refused, with this advice."""

        self.lost_answers = 0
        """So many calls do their deed and raise `Transient` instead of answering."""

        self.lags_by = 0
        """A list shows the machines as they were so many changes ago."""

        self.is_incomplete = False
        """A list shows every second machine, and says that it is not whole."""

        self.boots_after = 0
        """So many calls of `boot` find it still starting."""

        self.boots = 0
        """How many times it really started."""

        self._number = number
        self._sessions = 1
        self._history: list[tuple[Machine, ...]] = [(machine("node-1"), machine("node-2"))]

    @property
    def machines(self) -> tuple[Machine, ...]:
        return self._history[-1]

    @machines.setter
    def machines(self, now: tuple[Machine, ...]) -> None:
        self._history.append(now)

    @property
    def session(self) -> str:
        return f"session-{self._number}-{self._sessions}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(url=f"http://127.0.0.2:{12_000 + self._number}", token=self.token)

    def restart(self) -> None:
        """Everything in it is gone; the machines come back under the same names, in another session."""
        self._sessions += 1
        self._history = self._history[-1:]

    def listed(self) -> Inventory:
        shown = self._history[max(0, len(self._history) - 1 - self.lags_by)]
        part = shown[::2] if self.is_incomplete else shown
        return Inventory(
            machines=tuple(sorted(part, key=lambda each: each.name)),
            complete=not self.is_incomplete,
            session=self.session,
        )


@dataclass(slots=True)
class FakeCapacity:
    """Lends and hosts any number of clusters."""

    starts_running: bool = True
    """Whether a cluster that nobody booted answers: as an attached one does, and a hosted one does not."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    """(verb, cluster id), in order."""

    _clusters: dict[str, FakeCluster] = field(default_factory=dict)

    def at(self, cluster_id: str) -> FakeCluster:
        if cluster_id not in self._clusters:
            made = self._clusters[cluster_id] = FakeCluster(len(self._clusters) + 1)
            made.is_running = self.starts_running
        return self._clusters[cluster_id]

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:  # noqa: ARG002 # it never waits
        def listed(there: FakeCluster) -> Inventory:
            if not there.is_running:
                raise Transient(f"cluster {cluster.name} does not answer")
            if cluster.endpoint is not None and cluster.endpoint.token != there.token:
                raise AuthFailed(f"cluster {cluster.name} refuses the token")
            return there.listed()

        return self._call("inventory", cluster, listed)

    def boot(self, cluster: ClusterRef, *, deadline: float) -> Endpoint:
        def booted(there: FakeCluster) -> Endpoint:
            if there.boots_after > 0:
                there.boots_after -= 1
                raise Transient(f"cluster {cluster.name} is still starting after {deadline:g} s")
            if not there.is_running:
                there.is_running = True
                there.boots += 1
                there.restart()
            return there.endpoint

        return self._call("boot", cluster, booted)

    def shut_down(self, cluster: ClusterRef, *, deadline: float) -> None:  # noqa: ARG002 # it never waits
        def ended(there: FakeCluster) -> None:
            there.is_running = False

        self._call("shut_down", cluster, ended)

    def _call(self, verb: str, cluster: ClusterRef, deed: Callable[[FakeCluster], Answer]) -> Answer:
        self.calls.append((verb, cluster.id))
        there = self.at(cluster.id)
        if there.is_unreachable:
            raise Transient(f"cluster {cluster.name} does not answer")
        if there.throttled_seconds is not None:
            raise Throttled(f"cluster {cluster.name} is busy", retry_after_seconds=there.throttled_seconds)
        answer = deed(there)
        if there.lost_answers > 0:
            there.lost_answers -= 1
            raise Transient(f"cluster {cluster.name} did not answer in time")
        return answer
