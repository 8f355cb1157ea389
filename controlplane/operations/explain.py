"""Explain: why a job is where it is, and what would change that. Every code comes from a closed list."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.jobs import Job, JobState
from controlplane.domain.leases import LeaseState
from controlplane.identity.principals import Principal
from controlplane.operations import sources
from controlplane.operations.context import Context
from controlplane.operations.freight import freights
from controlplane.operations.lookups import job_for
from controlplane.operations.specs import unused_fields
from controlplane.reconcilers.attempts import Arrival
from controlplane.store import JobView, ReasonRow, Tx
from controlplane.wire.jobs import Explanation

SCHEDULER_LEASE: Final = "scheduler"
MOST_NAMED: Final = 5


class Code(StrEnum):
    """Beside the reason codes of the policies, all that `explain` may answer."""

    WAITING_FOR_JOBS = "waiting_for_jobs"
    BACKING_OFF = "backing_off"
    SCHEDULER_AWAY = "scheduler_away"
    NOT_CONSIDERED_YET = "not_considered_yet"
    PLACED = "placed"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BETWEEN_ATTEMPTS = "between_attempts"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    code: str
    sentence: str
    remedy: str = ""


def explain(context: Context, principal: Principal, job_id: str) -> Explanation:
    with context.store.read() as tx:
        job = job_for(tx, principal, job_id)
        view = tx.jobs.view(job.id)
        why = _why(tx, job)
        return Explanation(
            job_id=job.id,
            state=job.state,
            phase=phase(view, tx.now) if view else job.state,
            code=why.code,
            sentence=why.sentence,
            remedy=why.remedy,
            as_of=tx.now,
            unused_fields=unused_fields(view.spec) if view else [],
        )


def phase(view: JobView, now: datetime) -> str:
    """One word for people. Computed, never stored."""
    match view.job.state:
        case JobState.ACTIVE if view.live is not None:
            return "starting" if view.live.state is AttemptState.PLACED else view.live.state.value
        case JobState.QUEUED if view.not_before is not None and view.not_before > now:
            return "backing-off"
        case state:
            return state.value


def scheduler_is_away(tx: Tx) -> bool:
    lease = tx.leases.get(SCHEDULER_LEASE)
    return lease is None or lease.state is not LeaseState.HELD or lease.until <= tx.now


def _why(tx: Tx, job: Job) -> Why:
    match job.state:
        case JobState.HELD:
            return _held(tx, job)
        case JobState.QUEUED:
            return _queued(tx, job)
        case JobState.ACTIVE:
            return _active(tx, job, tx.attempts.live_of_job(job.id))
        case finished:
            return Why(code=finished.value, sentence=_finished(tx, job), remedy=_finished_remedy(job))


def _held(tx: Tx, job: Job) -> Why:
    waits = [each for each in tx.jobs.many(job.depends_on) if each.state is not JobState.SUCCEEDED]
    named = ", ".join(f"{each.id} ({each.name}: {each.state})" for each in waits[:MOST_NAMED])
    more = f" and {len(waits) - MOST_NAMED} more" if len(waits) > MOST_NAMED else ""
    return Why(
        code=Code.WAITING_FOR_JOBS,
        sentence=f"waits for {len(waits)} of {len(job.depends_on)} jobs: {named}{more}",
        remedy="is queued once all of them have succeeded; fails if one of them fails or is cancelled",
    )


def _queued(tx: Tx, job: Job) -> Why:
    ask = tx.asks.of_job(job.id)
    if ask is not None and ask.not_before is not None and ask.not_before > tx.now:
        return Why(
            code=Code.BACKING_OFF,
            sentence=f"the next attempt waits until {ask.not_before:%Y-%m-%dT%H:%M:%SZ}: {job.reason or 'retry'}",
            remedy="is placed after that moment; nothing needs to be done",
        )
    if scheduler_is_away(tx):
        return Why(
            code=Code.SCHEDULER_AWAY,
            sentence="no scheduling loop is running",
            remedy="start one: `crossdock server run`",
        )
    why = _reason(tx.reasons.get(ask.class_id) if ask is not None else None)
    if ask is None or not ask.traits.stores:
        return why
    limits = "".join(
        f"; {each}" for each in sources.limits(tx.residencies.rules(), sources.sources_of_job(tx, job.id))
    )
    return replace(why, sentence=f"{why.sentence}{limits}")


def _reason(row: ReasonRow | None) -> Why:
    if row is not None:
        return Why(code=row.code, sentence=row.sentence, remedy=row.remedy)
    return Why(
        code=Code.NOT_CONSIDERED_YET,
        sentence="the scheduler has not looked at it yet",
        remedy="ask again in a moment",
    )


def _active(tx: Tx, job: Job, attempt: Attempt | None) -> Why:
    if attempt is None:
        return Why(
            code=Code.BETWEEN_ATTEMPTS, sentence="its last attempt has ended and the verdict is being written"
        )
    number, cluster = f"attempt {attempt.number}", _cluster_name(tx, attempt)
    match attempt.state:
        case AttemptState.PLACED:
            sentence = f"{number} has its seats on cluster {cluster} and {_awaited(tx, attempt)}"
            if attempt.reason:
                sentence += f"; the last try was in vain: {attempt.reason}"
        case AttemptState.STARTING:
            sentence = f"{number} was handed to cluster {cluster}; no task has spoken yet"
        case AttemptState.STOPPING:
            sentence = f"{number} is stopping: {attempt.reason or 'asked to'}"
        case _:
            return _running(tx, attempt, f"{number} runs on cluster {cluster}{_owed(tx, job)}")
    return Why(code=attempt.state.value, sentence=sentence)


def _owed(tx: Tx, job: Job) -> str:
    """What of its seats other work cannot have; empty for all but the fewest replicas of a service."""
    ask = tx.asks.of_job(job.id)
    if ask is None or not ask.traits.is_lasting:
        return ""
    return (
        "; as one of the fewest replicas of its service it keeps its seats"
        " as long as the quota that its queue owns is enough for all of these"
    )


def _running(tx: Tx, attempt: Attempt, sentence: str) -> Why:
    """It may sit on nodes that take nothing new: a cordon ends nobody's work."""
    nodes = tx.nodes.by_ids(sorted({seat.node_id for seat in tx.attempts.seats(attempt.id)}))
    names = sorted(node.name for node in nodes.values() if node.cordoned_at is not None)
    if not names:
        return Why(code=attempt.state.value, sentence=sentence)
    return Why(
        code=attempt.state.value,
        sentence=f"{sentence}; node {', '.join(names)} of it takes no more tasks",
        remedy=(
            "starts again on other nodes of its cluster once they have room, "
            "if it is elastic or has saved a checkpoint"
        ),
    )


def _awaited(tx: Tx, attempt: Attempt) -> str:
    coming = [
        each for each in freights(tx, [attempt]).get(attempt.id, ()) if each.arrival is not Arrival.THERE
    ]
    if not coming:
        return "is about to be started"
    named = ", and for ".join(f"{each.what}, which is copied to {each.destination}" for each in coming)
    problems = "".join(f"; {each.problem}" for each in coming if each.problem)
    return f"waits for {named}{problems}"


def _cluster_name(tx: Tx, attempt: Attempt) -> str:
    cluster = tx.clusters.get(attempt.cluster_id)
    return cluster.name if cluster else attempt.cluster_id


def _finished(tx: Tx, job: Job) -> str:
    attempts = tx.attempts.of_job(job.id)
    because = f": {job.reason}" if job.reason else ""
    if not attempts:
        return f"{job.state} before its first attempt{because}"
    last = attempts[-1]
    code = f" with exit code {last.exit_code}" if last.exit_code is not None else ""
    return f"{job.state}: attempt {last.number} ended as {last.outcome}{code}{because}"


def _finished_remedy(job: Job) -> str:
    return "" if job.state is JobState.SUCCEEDED else f"to run it again: `crossdock jobs retry {job.id}`"
