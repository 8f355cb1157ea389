"""Promises: what must hold of quotas, of seats that are kept for heirs, and of whoever was told to go for one."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState, Outcome
from controlplane.domain.events import Event
from controlplane.domain.ids import JobId, NodeId, QueueId
from controlplane.domain.jobs import Ask
from controlplane.domain.queues import Cell
from controlplane.domain.quotas import QuotaTree
from controlplane.operations.flavors import by_node
from controlplane.store import Tx
from schedulers.base import Nomination, microseconds
from tests.sim.truth import Violation

DECIDED: Final = ("attempt.placed", "memory.changed")
CHANGED: Final = ("quota.", "queue.", "flavor.", "node.", "claim.", "cluster.", "site.")
"""After such an event limits may be exceeded by what was decided before it."""

WINNER: Final = re.compile(r"preempted for job (\S+):")
MOST_JOBS: Final = 100_000
MOST_CALM: Final = 4
"""Preemptions of one job in calm hours: once its winners have lost their seats to others, it may have to go again."""

Over = dict[tuple[QueueId, Cell], int]


class Promises:
    def __init__(self) -> None:
        self.calm_since: datetime | None = None
        """From then on nobody wishes anything and nothing breaks."""

        self._over: Over = {}
        """By how much limits were exceeded at the last look."""

    def look(self, tx: Tx, events: Sequence[Event]) -> None:
        if not any(event.kind in DECIDED or event.kind.startswith(CHANGED) for event in events):
            return
        standing = list(_standing(tx))
        self._seats(tx, standing)
        over = _over(tx, standing)
        if not any(event.kind.startswith(CHANGED) for event in events):
            for (queue, cell), amount in over.items():
                if amount > self._over.get((queue, cell), 0):
                    raise Violation(f"queue {queue} was brought {amount} over what it may have of {cell}")
        self._over = over

    def look_at_who_was_preempted(self, tx: Tx) -> None:
        """At rest: nobody went in vain, nobody is still going, and in calm hours nobody goes for the same one twice."""
        present = {node.id for node in tx.nodes.present(None)}
        for nomination, ask in _standing(tx):
            if all(node_id in present for _, node_id in nomination.seats):
                raise Violation(f"seats are promised to {ask.id}, which does not start on them")
        attempts = [
            each for own in tx.attempts.of_jobs(tx.audits.job_ids(None, MOST_JOBS)).values() for each in own
        ]
        gone = [each for each in attempts if _made_room(each)]
        if stopping := [each.id for each in gone if each.state is AttemptState.STOPPING]:
            raise Violation(f"told to make room, and goes on for ever: {stopping}")
        calm = [each for each in gone if self.calm_since is not None and _asked_at(each) >= self.calm_since]
        pairs = Counter((each.job_id, self._for_which_attempt(tx, each)) for each in calm)
        if often := sorted(pair for pair, count in pairs.items() if count > 1):
            raise Violation(f"preempted more than once for one attempt in calm hours: {often}")
        restless = sorted(
            job for job, count in Counter(each.job_id for each in calm).items() if count > MOST_CALM
        )
        if restless:
            raise Violation(f"preempted more than {MOST_CALM} times in calm hours: {restless}")

    @staticmethod
    def _for_which_attempt(tx: Tx, victim: Attempt) -> str:
        """The one that its winner had next; unless it is over, it must have had one."""
        winner = _winner(victim)
        later = [each.id for each in tx.attempts.of_job(winner) if each.placed_at >= _asked_at(victim)]
        job = tx.jobs.get(winner)
        if not later and job is not None and not job.is_finished:
            raise Violation(f"attempt {victim.id} was preempted for job {winner}, which was never started")
        return later[0] if later else winner

    @staticmethod
    def _seats(tx: Tx, standing: Sequence[tuple[Nomination, Ask]]) -> None:
        """Who stays on a node fits into it together with those to whom seats are promised there.

        Who was told to stop does not stay, for whomever it goes: until it has gone its seats are booked, and no heir
        is placed on them.
        """
        if not standing:
            return
        kept = _sums(
            (node_id, ask.amounts_of(rank))
            for nomination, ask in standing
            for rank, node_id in nomination.seats
        )
        staying = [each.id for each in tx.attempts.live() if each.state is not AttemptState.STOPPING]
        held = _sums(
            (seat.node_id, seat.amounts) for seats in tx.attempts.seats_of(staying).values() for seat in seats
        )
        for node in tx.nodes.present(None):
            needed = held.get(node.id, Amounts()).plus(kept.get(node.id, Amounts()))
            if node.id in kept and not needed.fits_in(node.allocatable):
                heirs = [ask.id for nomination, ask in standing if node.id in dict(nomination.seats).values()]
                raise Violation(f"node {node.id} is booked twice: {needed} with what is kept for {heirs}")


def _sums(parts: Iterable[tuple[NodeId, Amounts]]) -> dict[NodeId, Amounts]:
    found: dict[NodeId, Amounts] = {}
    for node_id, amounts in parts:
        found[node_id] = found.get(node_id, Amounts()).plus(amounts)
    return found


def _standing(tx: Tx) -> Iterator[tuple[Nomination, Ask]]:
    """Nominations of asks that are still queued, or that stop as their own heirs, while they last."""
    lasting = [each for each in tx.memories.nominations() if each.until > microseconds(tx.now)]
    if not lasting:
        return
    asks = tx.asks.many([each.ask_id for each in lasting])
    jobs = {job.id: job for job in tx.jobs.many([ask.job_id for ask in asks.values()])}
    staying = {each.job_id for each in tx.attempts.live() if each.state is not AttemptState.STOPPING}
    for each in lasting:
        ask = asks[each.ask_id]
        if not jobs[ask.job_id].is_finished and ask.job_id not in staying:
            yield each, ask


def _over(tx: Tx, standing: Sequence[tuple[Nomination, Ask]]) -> Over:
    """By how much every queue is over what it may have of what it uses; counted anew from the rows."""
    queues = [node.queue for node in tx.quotas.nodes()]
    tree, flavors = QuotaTree.of(queues), by_node(tx)
    live = [each for each in tx.attempts.live() if each.state is not AttemptState.STOPPING]
    asks = tx.asks.many([attempt.ask_id for attempt in live])
    seats = tx.attempts.seats_of([attempt.id for attempt in live])
    used = [
        (asks[each.ask_id].queue_id, seat.node_id, seat.amounts) for each in live for seat in seats[each.id]
    ]
    used += [
        (ask.queue_id, node_id, ask.amounts_of(rank))
        for nomination, ask in standing
        for rank, node_id in nomination.seats
    ]
    touched: set[tuple[QueueId, Cell]] = set()
    for queue, node_id, amounts in used:
        if queue not in tree.queues or node_id not in flavors:
            continue
        request = {
            Cell(flavors[node_id], name): value for name, value in amounts.named() if tree.counts(queue, name)
        }
        tree.add(queue, request)
        touched |= {(queue, cell) for cell in request}
    beyond = {(queue, cell): -tree.available(queue, cell) for queue, cell in touched}
    return {key: amount for key, amount in sorted(beyond.items()) if amount > 0}


def _made_room(attempt: Attempt) -> bool:
    """It was told to go for somebody, and has not ended of itself before it did."""
    return attempt.stop_outcome is Outcome.PREEMPTED and attempt.outcome in (None, Outcome.PREEMPTED)


def _winner(victim: Attempt) -> JobId:
    found = WINNER.match(victim.reason or "")
    if found is None:
        raise Violation(f"attempt {victim.id} was preempted and says {victim.reason!r}")
    return JobId(found[1])


def _asked_at(victim: Attempt) -> datetime:
    if victim.stop_requested_at is None:
        raise Violation(f"attempt {victim.id} is {victim.stop_outcome} and was never told to stop")
    return victim.stop_requested_at
