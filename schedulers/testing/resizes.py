"""Resizes: what holds whenever running work is told to start again with other seats."""

from collections.abc import Iterator

from schedulers.base import AskClass, Plan, RunningAsk, Snapshot, microseconds, moved, resized
from schedulers.testing.scenes import EPOCH


def broken_resizes(snapshot: Snapshot, plan: Plan) -> Iterator[str]:
    """Nobody is resized twice in an epoch or in its protected time, beyond its bounds, or while it is told to go."""
    running = {ask.id: ask for ask in snapshot.running}
    victims = {victim.ask_id for preempt in plan.preempts for victim in preempt.victims}
    resizes = resized(plan)
    for preempt in plan.preempts:
        resizes |= moved(preempt)
    for ask_id, ranks in resizes.items():
        ask = running[ask_id]
        its = snapshot.classes[ask.ask_class]
        if ask_id in victims or any(seat.leaving for seat in ask.seats):
            yield f"{ask_id} is resized and told to go"
        seats = {seat.rank: seat.node_id for seat in ask.seats} | ranks
        left = [rank for rank, node_id in seats.items() if node_id is not None]
        if left and not _is_whole(its, left):
            yield f"{ask_id} would have ranks {sorted(left)}"
        if _is_whole(its, [seat.rank for seat in ask.seats]):
            yield from _too_soon(snapshot, ask)


def _too_soon(snapshot: Snapshot, ask: RunningAsk) -> Iterator[str]:
    """Who is restarted begins anew, so that it began in an earlier epoch says that it had its rest."""
    now = microseconds(snapshot.now)
    if ask.protected_until > now:
        yield f"{ask.id} is resized within its protected time"
    if ask.admitted_at >= now - now % EPOCH:
        yield f"{ask.id} is resized twice in one epoch"


def _is_whole(its: AskClass, ranks: list[int]) -> bool:
    first = 0
    for role in its.all_roles:
        mine = sum(1 for rank in ranks if first <= rank < first + role.tasks)
        first += role.tasks
        if mine < role.tasks_min:
            return False
    return len(ranks) == len(frozenset(ranks)) and max(ranks, default=0) < first
