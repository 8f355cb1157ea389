"""A leader in a process of its own, that stops to think in the middle of a plan.

python -m tests.races.leader DATABASE_URL: takes the scheduling lease, says `planning`, waits for a line, then goes on.
"""

import sys
from collections.abc import Sequence
from datetime import datetime

from controlplane.domain.errors import StaleWrite
from controlplane.runtime.bell import Bell
from controlplane.runtime.scheduling import SchedulingLoop
from controlplane.store import Store
from schedulers.base import Delta, Engine, Plan, Snapshot
from schedulers.priority import Priority

LEADER_SECONDS = 1.0


class Pensive:
    """The priority policy, slow."""

    name = "pensive"
    is_simple = True

    def plan(self, snapshot: Snapshot) -> Plan:
        return Priority().plan(snapshot)

    def start(self, snapshot: Snapshot) -> "PensiveEngine":
        return PensiveEngine(Priority().start(snapshot))


class PensiveEngine:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def apply(self, deltas: Sequence[Delta]) -> None:
        self._engine.apply(deltas)

    def plan(self, *, version: int, now: datetime) -> Plan:
        plan = self._engine.plan(version=version, now=now)
        say(f"planning {len(plan.places)}")
        sys.stdin.readline()
        return plan


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    store = Store.open(sys.argv[1])
    bell = Bell(store.change_marker)
    loop = SchedulingLoop(
        store=store, policy=Pensive(), bell=bell, holder="old leader", leader_seconds=LEADER_SECONDS
    )
    try:
        loop.step()
        say("committed")
    except StaleWrite as stale:
        say(f"refused: {stale.message}")
    store.close()


if __name__ == "__main__":
    main()
