"""Sums: what sits on nodes and in queues before and after a plan, counted from the rows of a snapshot."""

from collections.abc import Iterator, Mapping, Sequence

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, NodeId, QueueId
from controlplane.domain.queues import Cell
from controlplane.domain.quotas import QuotaTree
from schedulers.base import (
    AskClass,
    HeldSeat,
    Placement,
    Plan,
    ReasonCode,
    RunningAsk,
    Snapshot,
    moved,
)
from schedulers.simulator import task_amounts
from schedulers.testing.usage import standing, usage_of


def settled(snapshot: Snapshot, plan: Plan) -> Iterator[tuple[AskId, Sequence[Placement]]]:
    """All that gets seats by this plan, or keeps the promise of some."""
    placed = {place.ask_id for place in plan.places}
    fresh = {preempt.ask_id for preempt in plan.preempts}
    yield from ((place.ask_id, place.seats) for place in plan.places)
    yield from ((preempt.ask_id, preempt.seats) for preempt in plan.preempts)
    for preempt in plan.preempts:
        for move in preempt.moves:
            yield move.ask_id, [Placement(rank=move.rank, node_id=move.node_id)]
    yield from ((growth.ask_id, growth.seats) for growth in plan.grows)
    for move in plan.moves:
        yield move.ask_id, [Placement(rank=move.rank, node_id=move.node_id)]
    told = {defer.class_id for defer in plan.defers if defer.code is ReasonCode.WAITING_FOR_SEATS}
    queued = dict(zip(snapshot.asks.ids, snapshot.asks.classes, strict=True))
    stopping = {ask.id for ask in snapshot.running if all(seat.leaving for seat in ask.seats)}
    for each in standing(snapshot):
        counts = queued.get(each.ask_id) in told or each.ask_id in stopping
        if counts and each.ask_id not in placed | fresh:
            yield each.ask_id, [Placement(rank=rank, node_id=node) for rank, node in each.seats]


def leaving(snapshot: Snapshot, plan: Plan) -> Iterator[tuple[NodeId, Amounts]]:
    """What is held on seats of those who were told to go, now or before."""
    sent_away = victims(plan)
    for ask in snapshot.running:
        its = snapshot.classes[ask.ask_class]
        for seat in ask.seats:
            if seat.leaving or goes(sent_away, ask, seat):
                yield seat.node_id, task_amounts(its, seat.rank)


def usage_after(snapshot: Snapshot, plan: Plan) -> QuotaTree:
    """With what the plan lets in and without whom it sends away."""
    tree, flavors = usage_of(snapshot), {node.id: node.flavor for node in snapshot.nodes}
    sent_away = victims(plan)
    for ask in snapshot.running:
        its = snapshot.classes[ask.ask_class]
        for seat in ask.seats:
            if not seat.leaving and goes(sent_away, ask, seat):
                queue, amounts = QueueId(its.queue_id), task_amounts(its, seat.rank)
                tree.remove(queue, request(tree, queue, flavors[seat.node_id], amounts))
    counted = {each.ask_id for each in standing(snapshot)}
    granted = [(place.ask_id, place.seats) for place in plan.places]
    granted += [
        (move.ask_id, (Placement(rank=move.rank, node_id=move.node_id),))
        for preempt in plan.preempts
        for move in preempt.moves
    ]
    granted += [(preempt.ask_id, preempt.seats) for preempt in plan.preempts]
    for ask_id, seats in granted:
        its = class_of(snapshot, ask_id)
        for there in seats if ask_id not in counted else ():
            queue, amounts = QueueId(its.queue_id), task_amounts(its, there.rank)
            tree.add(queue, request(tree, queue, flavors[there.node_id], amounts))
    return tree


def request(tree: QuotaTree, queue: QueueId, flavor: str, amounts: Amounts) -> dict[Cell, int]:
    """What of it is counted in the queue's tree."""
    return {Cell(flavor, name): value for name, value in amounts.named() if tree.counts(queue, name)}


def class_of(snapshot: Snapshot, ask_id: AskId) -> AskClass:
    """Of an ask, queued or running."""
    for each, class_id in zip(snapshot.asks.ids, snapshot.asks.classes, strict=True):
        if each == ask_id:
            return snapshot.classes[class_id]
    return next(snapshot.classes[ask.ask_class] for ask in snapshot.running if ask.id == ask_id)


def victims(plan: Plan) -> Mapping[AskId, frozenset[int]]:
    """By ask, the ranks that leave their nodes; none: all."""
    gone = {victim.ask_id: frozenset(victim.ranks) for preempt in plan.preempts for victim in preempt.victims}
    for preempt in plan.preempts:
        gone |= {ask_id: frozenset(ranks) for ask_id, ranks in moved(preempt).items()}
    return gone


def goes(sent_away: Mapping[AskId, frozenset[int]], ask: RunningAsk, seat: HeldSeat) -> bool:
    return ask.id in sent_away and (not sent_away[ask.id] or seat.rank in sent_away[ask.id])
