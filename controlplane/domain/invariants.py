"""Invariants: what must hold of our books at every moment, whatever failed before. Each breach is named.

Pure functions over what one transaction saw. The simulated world checks them after every step, `crossdock doctor` on a
live database; what only the world outside can show (machines, running code) is compared elsewhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import ATTEMPT, Attempt, Outcome
from controlplane.domain.clusters import CLUSTER, Cluster, Node
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, ClusterId, NodeId
from controlplane.domain.jobs import JOB, Ask, Job, JobState
from controlplane.domain.leases import Lease, LeaseState
from controlplane.domain.lifecycles import Lifecycle

BLAMELESS: Final = frozenset({Outcome.SUCCEEDED, Outcome.PREEMPTED, Outcome.EVICTED, Outcome.LOST})
"""After these a job never fails: it has succeeded, or it is tried again."""


class Rule(StrEnum):
    """The closed list of what `doctor` may find in the books."""

    STATE_AND_ATTEMPTS = "state_and_attempts"
    """A job is active exactly while its newest attempt lives or awaits its verdict."""

    ATTEMPT_NUMBERS = "attempt_numbers"
    """Attempts are numbered from 1 without a gap, and only the newest may live."""

    OUTCOME_DECIDES = "outcome_decides"
    """A finished job ended as its newest attempt did; nothing follows a success."""

    RETRY_BUDGET = "retry_budget"
    SEATS_ARE_PLACEMENTS = "seats_are_placements"
    """A live attempt holds one seat per task, an ended one none."""

    NODE_OVER_LIMIT = "node_over_limit"
    EVENTS_TELL_ALL = "events_tell_all"
    """The events of a noun are one legal walk from its birth to the state of its row."""

    TOKENS_GROW = "tokens_grow"
    ONE_HOLDER = "one_holder"
    TIMES_IN_ORDER = "times_in_order"
    CLUSTER_NOT_READY = "cluster_not_ready"
    """Something was placed on a cluster that was not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    rule: Rule
    subject: str
    """Id of the noun."""

    sentence: str
    """For people: the value that is wrong, and what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedSeat:
    """A seat as its row says, released or not."""

    attempt_id: AttemptId
    rank: int
    node_id: NodeId
    amounts: Amounts
    released_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """All that the books say about one job."""

    job: Job
    asks: tuple[Ask, ...]
    attempts: tuple[Attempt, ...]
    """By number."""

    seats: tuple[BookedSeat, ...]
    events: tuple[Event, ...]
    """Of the job and its attempts, in feed order; empty when they were pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Clusters and nodes, and what is booked on them."""

    clusters: Mapping[ClusterId, Cluster]
    nodes: Mapping[NodeId, Node]
    """Present ones."""

    booked: Mapping[NodeId, Amounts]
    """Sum of the seats that are not released, also on nodes that are gone."""


def of_job(dossier: Dossier) -> Iterator[Breach]:
    """Raises nothing: whatever the rows hold, the answer is a list of breaches."""
    yield from _state_and_attempts(dossier)
    yield from _attempt_numbers(dossier)
    yield from _outcome(dossier)
    yield from _budget(dossier)
    for attempt in dossier.attempts:
        yield from _seats(dossier, attempt)
        yield from _times(attempt)
    yield from _job_events(dossier)


def of_floor(floor: Floor) -> Iterator[Breach]:
    for node_id, booked in sorted(floor.booked.items()):
        node = floor.nodes.get(node_id)
        if node is not None and not booked.fits_in(node.allocatable):
            sentence = f"{_words(booked)} are booked on it, but it has {_words(node.allocatable)}"
            yield Breach(rule=Rule.NODE_OVER_LIMIT, subject=node_id, sentence=sentence)


def of_leases(leases: Sequence[Lease]) -> Iterator[Breach]:
    """All rows of the table, ended ones included."""
    by_name: dict[str, list[Lease]] = {}
    for lease in sorted(leases, key=lambda each: (each.name, each.token)):
        by_name.setdefault(lease.name, []).append(lease)
    for name, rows in by_name.items():
        tokens = [lease.token for lease in rows]
        if len(set(tokens)) != len(tokens):
            yield Breach(rule=Rule.TOKENS_GROW, subject=name, sentence=f"a token was given twice: {tokens}")
        held = [lease.token for lease in rows if lease.state is LeaseState.HELD]
        if held not in ([], tokens[-1:]):
            sentence = f"tokens {held} are held; only the newest, {tokens[-1]}, may be"
            yield Breach(rule=Rule.ONE_HOLDER, subject=name, sentence=sentence)


def of_cluster(cluster: Cluster, events: Sequence[Event]) -> Iterator[Breach]:
    yield from _walk(CLUSTER, cluster.id, cluster.state, events)


def of_placings(events: Sequence[Event], before: Mapping[ClusterId, str]) -> Iterator[Breach]:
    """Whether each placing of a stretch of the feed went to a cluster that was ready at that moment.

    `before`: the states of the clusters where the stretch begins.
    """
    states = dict(before)
    for event in events:
        if event.kind.startswith("cluster.") and "from" in event.data:
            states[ClusterId(event.subject)] = event.kind.removeprefix("cluster.")
        if event.kind == "attempt.placed":
            cluster_id = ClusterId(str(event.data.get("cluster_id")))
            if states.get(cluster_id) != "ready":
                sentence = f"was placed on cluster {cluster_id}, which was {states.get(cluster_id)}"
                yield Breach(rule=Rule.CLUSTER_NOT_READY, subject=event.subject, sentence=sentence)


def _state_and_attempts(dossier: Dossier) -> Iterator[Breach]:
    job = dossier.job
    live = [attempt.id for attempt in dossier.attempts if attempt.is_live]
    if job.state is JobState.ACTIVE and not dossier.attempts:
        yield Breach(rule=Rule.STATE_AND_ATTEMPTS, subject=job.id, sentence="is active without an attempt")
    if job.state is not JobState.ACTIVE and live:
        sentence = f"is {job.state}, but attempt {live[0]} lives"
        yield Breach(rule=Rule.STATE_AND_ATTEMPTS, subject=job.id, sentence=sentence)


def _attempt_numbers(dossier: Dossier) -> Iterator[Breach]:
    numbers = [attempt.number for attempt in dossier.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        sentence = f"its attempts are numbered {numbers}"
        yield Breach(rule=Rule.ATTEMPT_NUMBERS, subject=dossier.job.id, sentence=sentence)
    for attempt in dossier.attempts[:-1]:
        if attempt.is_live:
            sentence = f"attempt {attempt.number} of {len(numbers)} lives, which is not the newest"
            yield Breach(rule=Rule.ATTEMPT_NUMBERS, subject=dossier.job.id, sentence=sentence)


def _outcome(dossier: Dossier) -> Iterator[Breach]:
    job = dossier.job
    outcomes = [attempt.outcome for attempt in dossier.attempts]
    if Outcome.SUCCEEDED in outcomes[:-1]:
        sentence = f"ran again after an attempt that succeeded: {[str(each) for each in outcomes]}"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)
    newest = outcomes[-1] if outcomes else None
    if job.state is JobState.FAILED and newest in BLAMELESS:
        sentence = f"failed, but its newest attempt ended as {newest}, which is not its own doing"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)
    if job.state is JobState.SUCCEEDED and newest is not Outcome.SUCCEEDED:
        sentence = f"succeeded, but its newest attempt ended as {newest}"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)
    if newest is Outcome.SUCCEEDED and job.state not in (JobState.SUCCEEDED, JobState.ACTIVE):
        sentence = f"is {job.state}, but its newest attempt succeeded"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)


def _budget(dossier: Dossier) -> Iterator[Breach]:
    failures = sum(attempt.outcome is Outcome.FAILED for attempt in dossier.attempts)
    limit = dossier.job.retry.max_attempts
    if failures > limit:
        sentence = f"{failures} attempts failed by the user's code; its retry policy allows {limit}"
        yield Breach(rule=Rule.RETRY_BUDGET, subject=dossier.job.id, sentence=sentence)


def _seats(dossier: Dossier, attempt: Attempt) -> Iterator[Breach]:
    held = [seat for seat in dossier.seats if seat.attempt_id == attempt.id and (seat.released_at is None)]
    if not attempt.is_live:
        if held:
            sentence = f"has ended and still holds {len(held)} seats"
            yield Breach(rule=Rule.SEATS_ARE_PLACEMENTS, subject=attempt.id, sentence=sentence)
        return
    ask = next((each for each in dossier.asks if each.id == attempt.ask_id), None)
    wanted = list(range(ask.tasks)) if ask else []
    ranks = sorted(seat.rank for seat in held)
    if ranks != wanted:
        sentence = f"is {attempt.state} and holds the seats of ranks {ranks} instead of {wanted}"
        yield Breach(rule=Rule.SEATS_ARE_PLACEMENTS, subject=attempt.id, sentence=sentence)
    if ask is not None and any(seat.amounts != ask.amounts for seat in held):
        sentence = f"holds a seat of another size than its ask, {_words(ask.amounts)}"
        yield Breach(rule=Rule.SEATS_ARE_PLACEMENTS, subject=attempt.id, sentence=sentence)


def _times(attempt: Attempt) -> Iterator[Breach]:
    told = [at for at in (attempt.placed_at, attempt.started_at, attempt.ended_at) if at is not None]
    if told != sorted(told):
        sentence = (
            f"was placed at {attempt.placed_at}, started {attempt.started_at}, ended {attempt.ended_at}"
        )
        yield Breach(rule=Rule.TIMES_IN_ORDER, subject=attempt.id, sentence=sentence)


def _job_events(dossier: Dossier) -> Iterator[Breach]:
    if not dossier.events:
        return
    job = dossier.job
    yield from _walk(JOB, job.id, job.state, dossier.events)
    for attempt in dossier.attempts:
        yield from _walk(ATTEMPT, attempt.id, attempt.state, dossier.events)


# `Any`: the lifecycle of any noun.
def _walk(
    lifecycle: Lifecycle[Any], subject: str, state: StrEnum, events: Sequence[Event]
) -> Iterator[Breach]:
    """Moves are the events that carry `from`. The first one that is kept may begin anywhere: older ones are pruned."""
    prefix, edges = f"{lifecycle.noun}.", frozenset(lifecycle.pairs())
    at: str | None = None
    for event in events:
        if event.subject != subject or not event.kind.startswith(prefix) or "from" not in event.data:
            continue
        old, new = str(event.data["from"]), event.kind.removeprefix(prefix)
        if (old, new) not in edges or old != (at or old):
            sentence = f"an event says {old} -> {new} while it was {at or 'not born'}"
            yield Breach(rule=Rule.EVENTS_TELL_ALL, subject=subject, sentence=sentence)
        at = new
    if at is not None and at != state:
        sentence = f"its row says {state}, its events end with {at}"
        yield Breach(rule=Rule.EVENTS_TELL_ALL, subject=subject, sentence=sentence)


def _words(amounts: Amounts) -> str:
    return ", ".join(f"{name} {value}" for name, value in amounts.named()) or "nothing"
