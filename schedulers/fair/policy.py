"""Fair: gangs whole, queues by their share of what they own and borrow, with a reason for everyone who waits."""

from schedulers.base import Plan, Snapshot, microseconds
from schedulers.fair.books import Books
from schedulers.fair.deciding import decide
from schedulers.fair.engine import FairEngine


class Fair:
    """The policy. Stateless; the engine holds what changes."""

    name = "fair"
    is_simple = False

    def plan(self, snapshot: Snapshot) -> Plan:
        now = microseconds(snapshot.now)
        return decide(Books.of(snapshot), version=snapshot.version, now=now).plan

    def start(self, snapshot: Snapshot) -> FairEngine:
        return FairEngine(snapshot)
