"""Lines: who waits in each queue, in the order of their turns, kept until something about them changes."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from controlplane.domain.ids import AskId, ClassId
from schedulers.fair.facts import Facts
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.order import Head, Line
from schedulers.fair.waiting import Group, Waiting


@dataclass(slots=True)
class Lines:
    by_queue: dict[int, list[Head]] = field(default_factory=dict)
    """The heads of the lines, sorted."""

    _classes: dict[int, dict[ClassId, None]] = field(default_factory=dict)
    _queue_of: dict[ClassId, int] = field(default_factory=dict)
    _timed: dict[int, None] = field(default_factory=dict)
    """Queues whose order may change with the epoch: by age or by a deadline."""

    _epoch: int = -1

    def follow(
        self, waiting: Waiting, facts_of: Callable[[ClassId], Facts], ledger: Ledger, epoch: int
    ) -> None:
        """Sorts those queues again of which something is not as it was."""
        stale = dict(self._timed) if epoch != self._epoch else {}
        for class_id in sorted(waiting.changed):
            if class_id in waiting.groups:
                stale[self._enter(class_id, facts_of(class_id).queue)] = None
            elif class_id in self._queue_of:
                stale[self._leave(class_id)] = None
        waiting.changed.clear()
        self._epoch = epoch
        for queue in stale:
            heads, is_timed = list[Head](), ledger.queues[queue].aging_seconds is not None
            for class_id in self._classes.get(queue, ()):
                facts = facts_of(class_id)
                is_timed = is_timed or facts.ask_class.deadline is not None
                heads.extend(_heads(waiting.groups[class_id], facts, ledger, epoch))
            self._keep(queue, sorted(heads, key=lambda head: head[0]))
            if is_timed:
                self._timed[queue] = None

    def without(
        self, gone: Collection[AskId], queues: Collection[int], ledger: Ledger
    ) -> dict[int, list[Head]]:
        """The heads of these queues as if those asks were not waiting."""
        found = {}
        for queue in sorted(queues):
            lines = [line.without(gone) for _, _, line in self.by_queue.get(queue, ())]
            heads = [(line.turn(0, ledger, self._epoch), 0, line) for line in lines if line.asks]
            found[queue] = sorted(heads, key=lambda head: head[0])
        return found

    def _enter(self, class_id: ClassId, queue: int) -> int:
        self._queue_of[class_id] = queue
        self._classes.setdefault(queue, {})[class_id] = None
        return queue

    def _leave(self, class_id: ClassId) -> int:
        queue = self._queue_of.pop(class_id)
        del self._classes[queue][class_id]
        return queue

    def _keep(self, queue: int, heads: list[Head]) -> None:
        self._timed.pop(queue, None)
        if heads:
            self.by_queue[queue] = heads
        else:
            self.by_queue.pop(queue, None)


def _heads(groups: dict[int, Group], facts: Facts, ledger: Ledger, epoch: int) -> Iterator[Head]:
    request = usual_request(facts, ledger)
    for priority in sorted(groups):
        line = Line(facts, priority, groups[priority], request)
        yield line.turn(0, ledger, epoch), 0, line


def usual_request(facts: Facts, ledger: Ledger) -> Request:
    """What an ask of the class is taken to use while the order is made: its fewest tasks, on the first flavor."""
    if not all(role.masks for role in facts.roles):
        return {}
    return facts.request(ledger, (0,) * len(facts.roles), facts.sizes(facts.slack))
