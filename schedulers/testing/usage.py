"""Usage: what the asks of a snapshot hold, are promised and are given, in the plain quota tree of the domain."""

from collections.abc import Iterator, Mapping

from controlplane.domain.ids import AskId, NodeId, QueueId
from controlplane.domain.queues import Cell
from controlplane.domain.quotas import QuotaTree
from schedulers.base import AskClass, Nomination, Placement, Plan, Role, Snapshot, microseconds
from schedulers.simulator import task_amounts


def usage_of(snapshot: Snapshot) -> QuotaTree:
    """What is held for good, and what is promised."""
    tree = QuotaTree.of(snapshot.queues)
    for ask in snapshot.running:
        for seat in ask.seats:
            if not seat.leaving:
                charge(tree, snapshot, snapshot.classes[ask.ask_class], (seat.rank, seat.node_id))
    heirs = heirs_of(snapshot)
    for nomination in standing(snapshot):
        for rank, node_id in nomination.seats if nomination.ask_id in heirs else ():
            charge(tree, snapshot, heirs[nomination.ask_id], (rank, node_id))
    return tree


def standing(snapshot: Snapshot) -> Iterator[Nomination]:
    """Promises that are neither over nor of nodes that are gone, take nothing more or differ in flavor by now."""
    healthy = {node.id: node.flavor for node in snapshot.nodes if node.healthy}
    now, heirs = microseconds(snapshot.now), heirs_of(snapshot)
    for each in snapshot.memory.nominations:
        if each.until > now and all(node_id in healthy for _, node_id in each.seats):
            roles = ranks_of(heirs[each.ask_id]) if each.ask_id in heirs else ()
            flavors = [{healthy[node] for rank, node in each.seats if rank in ranks} for _, ranks in roles]
            if all(len(its) <= 1 for its in flavors):
                yield each


def heirs_of(snapshot: Snapshot) -> Mapping[AskId, AskClass]:
    """Of asks that wait, and of those that wait again when they have stopped."""
    waiting = dict(zip(snapshot.asks.ids, snapshot.asks.classes, strict=True))
    stopping = {ask.id: ask.ask_class for ask in snapshot.running if all(seat.leaving for seat in ask.seats)}
    return {ask_id: snapshot.classes[class_id] for ask_id, class_id in (waiting | stopping).items()}


def charge(
    tree: QuotaTree, snapshot: Snapshot, its: AskClass, seat: tuple[int, NodeId], *, sign: int = 1
) -> None:
    node = next(node for node in snapshot.nodes if node.id == seat[1])
    queue = QueueId(its.queue_id)
    request = {
        Cell(node.flavor, name): amount
        for name, amount in task_amounts(its, seat[0]).named()
        if tree.counts(queue, name)
    }
    if sign > 0:
        tree.add(queue, request)
    else:
        tree.remove(queue, request)


def granted(snapshot: Snapshot, plan: Plan) -> Iterator[tuple[AskId, AskClass, tuple[Placement, ...]]]:
    """Everything that is new; what was promised before is counted already."""
    queued = dict(zip(snapshot.asks.ids, snapshot.asks.classes, strict=True))
    running = {ask.id: ask.ask_class for ask in snapshot.running}
    promised = {each.ask_id for each in standing(snapshot)}
    for place in plan.places:
        if place.ask_id not in promised:
            yield place.ask_id, snapshot.classes[queued[place.ask_id]], place.seats
    for preempt in plan.preempts:
        yield preempt.ask_id, snapshot.classes[queued[preempt.ask_id]], preempt.seats
    for growth in plan.grows:
        yield growth.ask_id, snapshot.classes[running[growth.ask_id]], growth.seats


def ranks_of(its: AskClass) -> Iterator[tuple[Role, range]]:
    first = 0
    for role in its.all_roles:
        yield role, range(first, first + role.tasks)
        first += role.tasks
