"""The job loop's step: load, decide and record in one transaction; jobs need no port calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from controlplane.domain.attempts import Attempt, Outcome
from controlplane.domain.errors import Unavailable
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job, JobKind
from controlplane.reconcilers import jobs
from controlplane.store import Tx, WorkItem


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTurn:
    item: WorkItem

    @property
    def lane(self) -> None:
        """Nobody is called."""


class JobStep:
    def begin(self, items: Sequence[WorkItem], under_way: Sequence[JobTurn]) -> Sequence[JobTurn]:
        del under_way
        return [JobTurn(item=item) for item in items]

    def act(self, turns: Sequence[JobTurn]) -> Sequence[JobTurn]:
        return turns

    def record(self, tx: Tx, turns: Sequence[JobTurn]) -> None:
        decisions = _judged(tx, [JobId(turn.item.id) for turn in turns], {})
        nothing = jobs.JobDecision()  # about one that is gone
        tx.work.settle_many(
            [(turn.item, decisions.get(JobId(turn.item.id), nothing).look_again_at) for turn in turns]
        )


def judge_or_poke(tx: Tx, ended: Sequence[Attempt]) -> None:
    """Moves jobs whose attempts have just ended along, in the transaction that keeps the ends.

    No end is lost because its job cannot be judged now: then that is left to the loop of jobs.
    """
    if not ended:
        return
    job_ids = [attempt.job_id for attempt in ended]
    try:
        with tx.savepoint():
            # Who has just ended its first attempt has no other.
            decisions = _judged(tx, job_ids, {each.job_id: [each] for each in ended if each.number == 1})
    except Unavailable:
        raise  # of the whole transaction
    except Exception:  # noqa: BLE001 - the loop of jobs meets it again, each job by itself, and tells of it
        tx.work.poke_many("job", job_ids)
    else:
        timed = (each for each, decision in decisions.items() if decision.look_again_at is not None)
        tx.work.poke_many("job", timed)


def _judged(
    tx: Tx, job_ids: Sequence[JobId], known: Mapping[JobId, Sequence[Attempt]]
) -> dict[JobId, jobs.JobDecision]:
    """What was decided and saved, of those that are there; `known`: all attempts that some of them have."""
    decisions = {view.job.id: jobs.decide(view) for view in _views(tx, job_ids, known)}
    _save(tx, decisions)
    stopped = [each.stop for each in decisions.values() if each.stop is not None]
    tx.attempts.save_many(stopped)
    tx.work.poke_many("attempt", [attempt.id for attempt in stopped])
    return decisions


def _views(tx: Tx, job_ids: Sequence[JobId], known: Mapping[JobId, Sequence[Attempt]]) -> list[jobs.JobView]:
    found = tx.jobs.many(job_ids)
    unknown = [job.id for job in found if job.id not in known]
    attempts = {**known, **(tx.attempts.of_jobs(unknown) if unknown else {})}
    needed = dict.fromkeys(each for job in found for each in job.depends_on)
    dependencies = {job.id: job for job in tx.jobs.many(list(needed))} if needed else {}
    return [_view(job, attempts.get(job.id, []), dependencies, tx.now) for job in found]


def _view(
    job: Job, attempts: Sequence[Attempt], dependencies: Mapping[JobId, Job], now: datetime
) -> jobs.JobView:
    outcomes = [each.outcome for each in attempts if each.outcome is not None]
    in_a_row = takewhile(lambda outcome: outcome is Outcome.NEVER_STARTED, reversed(outcomes))
    return jobs.JobView(
        job=job,
        dependencies=tuple(dependencies[each] for each in job.depends_on if each in dependencies),
        newest=attempts[-1] if attempts else None,
        failures=outcomes.count(Outcome.FAILED),
        never_started=len(tuple(in_a_row)),
        now=now,
    )


def _save(tx: Tx, decisions: dict[JobId, jobs.JobDecision]) -> None:
    changed = {each: decision for each, decision in decisions.items() if decision.job is not None}
    if not changed:
        return
    deferred = tx.asks.deferred(list(changed))
    for job_id, decision in changed.items():
        if decision.not_before is not None or job_id in deferred:
            _defer(tx, job_id, decision.not_before)
    saved = [decision.job for decision in changed.values() if decision.job is not None]
    tx.jobs.save_many(saved)
    finished = [job.id for job in saved if job.is_finished]
    tx.work.poke_many("job", tx.jobs.held_on_any(finished))
    tx.work.poke_many("execution", tx.steps.waiting_for(finished))
    if lost := [job.id for job in saved if job.is_finished and job.kind is JobKind.REPLICA]:
        tx.work.poke_many("service", tx.replicas.services_of(lost).values())


def _defer(tx: Tx, job_id: JobId, not_before: datetime | None) -> None:
    ask = tx.asks.of_job(job_id)
    if ask is not None and ask.not_before != not_before:
        tx.asks.defer_until(ask.id, not_before)
