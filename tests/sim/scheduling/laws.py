"""What every plan is held to, by the plain rules of `domain.quotas` and by sums of what sits on nodes.

Nothing of what a policy works with is used here. The numbers in brackets are those of the laws in docs/reliability.md.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import NodeId, QueueId
from controlplane.domain.quotas import QuotaTree
from schedulers.base import (
    AskClass,
    Ground,
    HeldSeat,
    Placement,
    Plan,
    Preempt,
    Reservation,
    RunningAsk,
    Snapshot,
    Victim,
    microseconds,
)
from schedulers.simulator import task_amounts
from schedulers.testing.fairness import broken_preemptions, broken_quotas, broken_seats
from schedulers.testing.pins import broken_pins
from schedulers.testing.resizes import broken_resizes
from tests.sim.scheduling.sums import class_of, goes, leaving, request, settled, usage_after, victims

SECOND: Final = 1_000_000
GUESS: Final = 3600 * SECOND
"""How long work is expected to go on of which nobody said how long it takes."""

Room = dict[NodeId, Amounts]


def broken_by(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Sentences about what is wrong with the plan."""
    yield from broken_seats(snapshot, plan)
    yield from broken_quotas(snapshot, plan)
    yield from broken_preemptions(snapshot, plan)
    yield from broken_pins(snapshot, plan)
    yield from broken_resizes(snapshot, plan)
    yield from _promised_twice(snapshot, plan)
    yield from _gone_in_vain(snapshot, plan)
    yield from _overtaken(snapshot, plan)
    yield from _unexplained(snapshot, plan)


def _promised_twice(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """[2] What is placed and promised fits in what is free and what leaves: a gang that is let in does start."""
    room = {node.id: node.free for node in snapshot.nodes}
    for node_id, amounts in leaving(snapshot, plan):
        room[node_id] = room.get(node_id, Amounts()).plus(amounts)
    for ask_id, seats in settled(snapshot, plan):
        its = class_of(snapshot, ask_id)
        for seat in seats:
            amounts = task_amounts(its, seat.rank)
            if not amounts.fits_in(room.get(seat.node_id, Amounts())):
                yield f"{ask_id} is given a seat on {seat.node_id} that is somebody's"
            room[seat.node_id] = room.get(seat.node_id, Amounts()).minus(amounts)


def _gone_in_vain(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """[6] With any one of the victims back, the heir would lack seats, quota, or the right to those of another one."""
    running = {ask.id: ask for ask in snapshot.running}
    for number, preempt in enumerate(plan.preempts):
        earlier = plan.preempts[: number + 1]
        for victim in preempt.victims:
            ask = running[victim.ask_id]
            seats = [seat for seat in ask.seats if seat.rank in victim.ranks or not victim.ranks]
            its = snapshot.classes[ask.ask_class]
            if not any(task_amounts(its, seat.rank).named() for seat in seats):
                continue
            spared = [(seat.node_id, task_amounts(its, seat.rank)) for seat in seats if not seat.leaving]
            tree = _usage_beside(snapshot, plan, earlier, its, seats)
            if (
                _fits_beside(snapshot, plan, earlier, spared)
                and _has_quota(snapshot, plan, tree, QueueId(its.queue_id))
                and _may_reclaim(snapshot, preempt, victim, tree)
            ):
                yield f"{victim.ask_id} goes for {preempt.ask_id} in vain"


def _fits_beside(
    snapshot: Snapshot, plan: Plan, preempts: Sequence[Preempt], spared: Sequence[tuple[NodeId, Amounts]]
) -> bool:
    part = _part(plan, preempts)
    room: Room = {node.id: node.free for node in snapshot.nodes}
    for node_id, amounts in leaving(snapshot, part):
        room[node_id] = room.get(node_id, Amounts()).plus(amounts)
    for ask_id, seats in settled(snapshot, part):
        its = class_of(snapshot, ask_id)
        for seat in seats:
            room[seat.node_id] = room[seat.node_id].minus(task_amounts(its, seat.rank))
    needed: Room = {}
    for node_id, amounts in spared:
        needed[node_id] = needed.get(node_id, Amounts()).plus(amounts)
    return all(amounts.fits_in(room.get(node_id, Amounts())) for node_id, amounts in needed.items())


def _usage_beside(
    snapshot: Snapshot, plan: Plan, preempts: Sequence[Preempt], its: AskClass, seats: Sequence[HeldSeat]
) -> QuotaTree:
    tree = usage_after(snapshot, _part(plan, preempts))
    flavors = {node.id: node.flavor for node in snapshot.nodes}
    queue = QueueId(its.queue_id)
    for seat in seats:
        amounts = task_amounts(its, seat.rank)
        tree.add(queue, request(tree, queue, flavors.get(seat.node_id, ""), amounts))
    return tree


def _may_reclaim(snapshot: Snapshot, preempt: Preempt, spared: Victim, tree: QuotaTree) -> bool:
    """Whether what it takes back from the others is still its own: some node on its side uses no more than it owns."""
    running = {ask.id: ask for ask in snapshot.running}
    its, flavors = class_of(snapshot, preempt.ask_id), {node.id: node.flavor for node in snapshot.nodes}
    heir = QueueId(its.queue_id)
    cells = {
        cell
        for seat in preempt.seats
        for cell in request(tree, heir, flavors[seat.node_id], task_amounts(its, seat.rank))
    }
    reclaimed = [each for each in preempt.victims if each != spared and each.ground is Ground.RECLAIM]
    others = {QueueId(snapshot.classes[running[each.ask_id].ask_class].queue_id) for each in reclaimed}
    return all(
        any(
            all(tree.usage(node, cell) <= tree.subtree(node, cell) for cell in cells)
            for node in tree.path(heir)
            if node not in tree.path(other)
        )
        for other in others - {heir}
    )


def _has_quota(snapshot: Snapshot, plan: Plan, tree: QuotaTree, spared: QueueId) -> bool:
    heirs = {QueueId(class_of(snapshot, each.ask_id).queue_id) for each in plan.preempts}
    return all(
        tree.available(heir, cell) >= 0
        for heir in sorted({*heirs, spared})
        for cell in tree.cells.get(tree.roots.get(heir, heir), ())
    )


def _part(plan: Plan, preempts: Sequence[Preempt]) -> Plan:
    """Up to these. Who waits for promised seats does so in any part: nobody may be spared at their cost."""
    return Plan(version=0, places=plan.places, preempts=tuple(preempts), defers=plan.defers)


def _overtaken(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """[9] On the seats of a reservation there is room when it is to start, if work ends when it is expected to."""
    for reservation in plan.reserves:
        room = {node.id: node.free for node in snapshot.nodes}
        for node_id, amounts in _ended_by(snapshot, plan, reservation.starts_at):
            room[node_id] = room.get(node_id, Amounts()).plus(amounts)
        for node_id, amounts in _still_there(snapshot, plan, reservation.starts_at):
            room[node_id] = room.get(node_id, Amounts()).minus(amounts)
        its = class_of(snapshot, reservation.ask_id)
        if not _seats_fit(room, its, reservation):
            yield f"{reservation.ask_id} cannot start at {reservation.starts_at}: others are let in before it"


def _seats_fit(room: Room, its: AskClass, reservation: Reservation) -> bool:
    for rank, node_id in reservation.seats:
        amounts = task_amounts(its, rank)
        if not amounts.fits_in(room.get(node_id, Amounts())):
            return False
        room[node_id] = room[node_id].minus(amounts)
    return True


def _ended_by(snapshot: Snapshot, plan: Plan, moment: int) -> Iterator[tuple[NodeId, Amounts]]:
    sent_away = victims(plan)
    for ask in snapshot.running:
        its = snapshot.classes[ask.ask_class]
        over = _end_of(ask, its, microseconds(snapshot.now)) <= moment
        for seat in ask.seats:
            if over or seat.leaving or goes(sent_away, ask, seat):
                yield seat.node_id, task_amounts(its, seat.rank)


def _end_of(ask: RunningAsk, its: AskClass, now: int) -> int:
    began = ask.admitted_at if ask.started_at is None else ask.started_at
    if its.runtime_seconds is None:
        return now + max(GUESS, now - began)
    expected = began + its.runtime_seconds * SECOND
    return expected if expected > now else now + (now - began)


def _still_there(snapshot: Snapshot, plan: Plan, moment: int) -> Iterator[tuple[NodeId, Amounts]]:
    """Of what this plan lets in, more tasks and other nodes of running asks included."""
    let_in = [(place.ask_id, place.seats) for place in plan.places]
    let_in += [(growth.ask_id, growth.seats) for growth in plan.grows]
    let_in += [(move.ask_id, (Placement(rank=move.rank, node_id=move.node_id),)) for move in plan.moves]
    for ask_id, seats in let_in:
        its = class_of(snapshot, ask_id)
        runtime = GUESS if its.runtime_seconds is None else its.runtime_seconds * SECOND
        if microseconds(snapshot.now) + runtime > moment:
            for seat in seats:
                yield seat.node_id, task_amounts(its, seat.rank)


def _unexplained(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """[16] Every class of which somebody still waits is told why."""
    told = {defer.class_id for defer in plan.defers}
    placed = {place.ask_id for place in plan.places}
    for ask_id, class_id in zip(snapshot.asks.ids, snapshot.asks.classes, strict=True):
        if ask_id not in placed and class_id not in told:
            yield f"{ask_id} of {class_id} waits and is not told why"
