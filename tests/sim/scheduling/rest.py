"""What holds once a plan changes nothing any more: nobody waits for what is there, and every reason is true."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from controlplane.domain.amounts import Amounts, total
from controlplane.domain.ids import NodeId, QueueId
from controlplane.domain.queues import Cell, Reclaim
from controlplane.domain.quotas import QuotaTree
from schedulers.base import (
    AskClass,
    Defer,
    NodeView,
    Plan,
    Policy,
    ReasonCode,
    Role,
    RunningAsk,
    Snapshot,
    Tier,
    microseconds,
)
from schedulers.simulator import task_amounts
from schedulers.testing.usage import charge, usage_of
from schedulers.whatif import counterfactual
from tests.sim.scheduling.sums import class_of, request

SECOND: Final = 1_000_000
MOST_EXPLAINED: Final = 4
"""Asks that wait; where more do, those before it in line take what would help, change after change."""

SCARCE: Final = frozenset({ReasonCode.NO_QUOTA, ReasonCode.NO_ROOM})
ON_THEIR_WAY: Final = frozenset({ReasonCode.WAITING_FOR_SEATS, ReasonCode.WAITING_FOR_MACHINES})

Room = dict[NodeId, Amounts]


def broken_at_rest(policy: Policy, snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Of a world in which the plan changed nothing."""
    for defer in plan.defers:
        if defer.code in SCARCE and (where := _feasible(snapshot, defer)) is not None:
            yield f"{defer.class_id} waits for {defer.code}, and would fit on {where}"
        yield from _envies(snapshot, defer)
    told = [defer for defer in plan.defers if defer.code not in ON_THEIR_WAY]
    if told and len(snapshot.asks.ids) <= MOST_EXPLAINED:
        # One of them, a different one each time: a counterfactual costs several plans.
        chosen = told[microseconds(snapshot.now) // SECOND % len(told)]
        if counterfactual(policy, snapshot, chosen.class_id) is None:
            yield f"{chosen.class_id} waits for {chosen.code}, and nothing that the plan names would help"


def _feasible(snapshot: Snapshot, defer: Defer) -> str | None:
    """[10] A cluster and flavors on which the fewest tasks of each role fit, with quota for them; None: none was found.

    Of a class without topology. Roles are put down one after the other, so where there are several some are missed.
    """
    its = snapshot.classes[defer.class_id]
    queues = {queue.id: queue for queue in snapshot.queues}
    if its.topology is not None or queues[QueueId(its.queue_id)].stopped:
        return None
    tree, free = usage_of(snapshot), _unpromised(snapshot)
    for cluster in sorted({node.cluster_id for node in snapshot.nodes}):
        nodes = [each for each in snapshot.nodes if each.cluster_id == cluster and _takes(each, its)]
        present = sorted({node.flavor for node in nodes})
        for flavors in product(
            *([each for each in present if _may_use(role, each)] for role in its.all_roles)
        ):
            if _fit(tree, its, flavors, nodes, dict(free)):
                return f"{cluster}, flavors {', '.join(flavors)}"
    return None


def _may_use(role: Role, flavor: str) -> bool:
    return not role.flavors or flavor in role.flavors


def _fit(
    tree: QuotaTree, its: AskClass, flavors: Sequence[str], nodes: Sequence[NodeView], room: Room
) -> bool:
    """Takes what each role needs off the room."""
    queue, wanted = QueueId(its.queue_id), dict[Cell, int]()
    for role, flavor in zip(its.all_roles, flavors, strict=True):
        left = role.tasks_min
        for node in [each for each in nodes if each.flavor == flavor]:
            here = min(left, _times(role.amounts, room[node.id]))
            room[node.id] = room[node.id].minus(total([role.amounts] * here))
            left -= here
        if left:
            return False
        for cell, amount in request(tree, queue, flavor, total([role.amounts] * role.tasks_min)).items():
            wanted[cell] = wanted.get(cell, 0) + amount
    return tree.fits(queue, wanted)


def _unpromised(snapshot: Snapshot) -> Room:
    """Free on each node when everything that is promised, now or later, is left alone."""
    room = {node.id: node.free for node in snapshot.nodes}
    memory = snapshot.memory
    queued = dict(zip(snapshot.asks.ids, snapshot.asks.classes, strict=True))
    kept = [(each.ask_id, each.seats) for each in memory.nominations]
    kept += [(each.ask_id, each.seats) for each in memory.reservations]
    for ask_id, seats in kept:
        if ask_id in queued:
            for rank, node_id in seats:
                amounts = task_amounts(class_of(snapshot, ask_id), rank)
                room[node_id] = room.get(node_id, Amounts()).minus(amounts)
    return room


def _envies(snapshot: Snapshot, defer: Defer) -> Iterator[str]:
    """[12] Whoever wants what its queue owns does not wait while others sit on borrowed seats that would do."""
    its = snapshot.classes[defer.class_id]
    queues = {queue.id: queue for queue in snapshot.queues}
    mine = queues[QueueId(its.queue_id)]
    if its.tasks > 1 or its.topology is not None or mine.stopped or defer.code not in SCARCE:
        return
    if mine.preemption.reclaim is not Reclaim.ANY or any(
        seat.leaving for ask in snapshot.running for seat in ask.seats
    ):
        return
    tree, room = usage_of(snapshot), _unpromised(snapshot)
    nodes = {node.id: node for node in snapshot.nodes}
    for ask in snapshot.running:
        theirs = snapshot.classes[ask.ask_class]
        is_protected = ask.protected_until > microseconds(snapshot.now)
        if theirs.tasks > 1 or is_protected or theirs.queue_id == its.queue_id:
            continue
        node = nodes.get(ask.seats[0].node_id)
        if node is None or not _takes(node, its):
            continue
        if not its.amounts.fits_in(room[node.id].plus(theirs.amounts)):
            continue
        if _would_be_its_own(tree, its, theirs, node) and _is_borrowed(snapshot, tree, ask, node):
            yield f"{defer.class_id} waits for what its queue owns, and {ask.id} sits on it as a borrower"


def _would_be_its_own(tree: QuotaTree, its: AskClass, theirs: AskClass, node: NodeView) -> bool:
    """Within its queue's nominal quota, and with room in the tree once the other has gone."""
    queue, other = QueueId(its.queue_id), QueueId(theirs.queue_id)
    if tree.roots.get(queue) != tree.roots.get(other):
        return False
    wanted = request(tree, queue, node.flavor, its.amounts)
    freed = request(tree, other, node.flavor, theirs.amounts)
    if not wanted or not freed:
        return False
    owns = all(
        tree.usage(queue, cell) + amount <= tree.subtree(queue, cell) for cell, amount in wanted.items()
    )
    tree.remove(other, freed)
    fits = tree.fits(queue, wanted)
    tree.add(other, freed)
    return owns and fits


def _is_borrowed(snapshot: Snapshot, tree: QuotaTree, borrower: RunningAsk, node: NodeView) -> bool:
    """All of it lies beyond what its queue owns, whichever of those who stand as high as it is counted first.

    False as well where that is not clear: own quota goes to the strongest, and who does not fit is passed over.
    """
    its = snapshot.classes[borrower.ask_class]
    queue = QueueId(its.queue_id)
    stronger = _stronger(snapshot, borrower)
    first = QuotaTree.of(snapshot.queues)
    for ask in stronger:
        for seat in ask.seats:
            charge(first, snapshot, snapshot.classes[ask.ask_class], (seat.rank, seat.node_id))
    if any(first.usage(queue, cell) > first.subtree(queue, cell) for _, cell in first.used):
        return False
    if any(
        role.tasks_min < role.tasks for ask in stronger for role in snapshot.classes[ask.ask_class].all_roles
    ):
        return False  # their surplus is counted after it
    above = tree.path(queue)[:-1]
    wanted = request(tree, queue, node.flavor, its.amounts)
    return bool(wanted) and all(
        first.usage(queue, cell) + amount > first.subtree(queue, cell)
        and all(tree.usage(each, cell) > tree.subtree(each, cell) for each in above)
        for cell, amount in wanted.items()
    )


def _stronger(snapshot: Snapshot, other: RunningAsk) -> list[RunningAsk]:
    """Of its queue, those who are given what the queue owns before it, whenever they came."""
    its = snapshot.classes[other.ask_class]

    def standing(ask: RunningAsk) -> tuple[bool, int, int]:
        asked = snapshot.classes[ask.ask_class]
        return (asked.tier is not Tier.PINNED, -asked.band, -ask.priority)

    queued = [ask for ask in snapshot.running if snapshot.classes[ask.ask_class].queue_id == its.queue_id]
    return [ask for ask in queued if standing(ask) < standing(other)]


def _takes(node: NodeView, its: AskClass) -> bool:
    tolerated = {key for key, _ in its.tolerations}
    return node.healthy and all(key in tolerated for key, _ in node.taints)


def _times(amounts: Amounts, room: Amounts) -> int:
    """How many of that size fit."""
    count, left = 0, room
    while amounts.named() and amounts.fits_in(left):
        count, left = count + 1, left.minus(amounts)
    return count
