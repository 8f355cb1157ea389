"""Pins: whether a plan leaves alone what is pinned on quota that its queue owns."""

from collections.abc import Iterator

from controlplane.domain.ids import QueueId
from controlplane.domain.quotas import QuotaTree
from schedulers.base import Plan, Snapshot, Tier
from schedulers.testing.usage import charge, granted, heirs_of, standing


def broken_pins(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Pinned work that goes whole or moves although all that is pinned in its queue fits into the queue's own quota."""
    tree = _pinned_use(snapshot, plan)
    classes = {ask.id: snapshot.classes[ask.ask_class] for ask in snapshot.running}
    for preempt in plan.preempts:
        going = [victim.ask_id for victim in preempt.victims if not victim.ranks]
        for ask_id in (*going, *(move.ask_id for move in preempt.moves)):
            its = classes[ask_id]
            if its.tier is Tier.PINNED and _owns_all(tree, QueueId(its.queue_id)):
                yield f"{ask_id} is pinned and makes room for {preempt.ask_id}, though {its.queue_id} owns its seats"


def _pinned_use(snapshot: Snapshot, plan: Plan) -> QuotaTree:
    """What pinned work holds, is promised and is given by the plan."""
    tree, heirs = QuotaTree.of(snapshot.queues), heirs_of(snapshot)
    rows = [
        (snapshot.classes[ask.ask_class], (seat.rank, seat.node_id))
        for ask in snapshot.running
        for seat in ask.seats
        if not seat.leaving
    ]
    rows += [
        (heirs[each.ask_id], seat)
        for each in standing(snapshot)
        if each.ask_id in heirs
        for seat in each.seats
    ]
    rows += [(its, (seat.rank, seat.node_id)) for _, its, seats in granted(snapshot, plan) for seat in seats]
    for its, seat in rows:
        if its.tier is Tier.PINNED:
            charge(tree, snapshot, its, seat)
    return tree


def _owns_all(tree: QuotaTree, queue: QueueId) -> bool:
    cells = tree.cells.get(tree.roots.get(queue, queue), ())
    return all(tree.usage(queue, cell) <= tree.subtree(queue, cell) for cell in cells)
