"""The job loop's step: load, decide and record in one transaction; jobs need no port calls."""

from controlplane.domain.attempts import Outcome
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job
from controlplane.reconcilers import jobs
from controlplane.store import Store, Tx, WorkItem


class JobStep:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, item: WorkItem) -> None:
        self._store.write(lambda tx: _reconcile(tx, item))


def _reconcile(tx: Tx, item: WorkItem) -> None:
    tx.work.check(item)
    job = tx.jobs.get(JobId(item.id))
    if job is None:
        tx.work.settle(item, None)
        return
    decision = jobs.decide(_view(tx, job))
    if decision.job is not None:
        _record(tx, decision.job, decision)
    if decision.stop is not None:
        tx.attempts.save(decision.stop)
        tx.work.poke("attempt", decision.stop.id)
    tx.work.settle(item, decision.look_again_at)


def _view(tx: Tx, job: Job) -> jobs.JobView:
    attempts = tx.attempts.of_job(job.id)
    return jobs.JobView(
        job=job,
        dependencies=tuple(tx.jobs.many(job.depends_on)),
        newest=attempts[-1] if attempts else None,
        failures=sum(each.outcome is Outcome.FAILED for each in attempts),
        never_started=tx.attempts.never_started_in_a_row(job.id),
        now=tx.now,
    )


def _record(tx: Tx, job: Job, decision: jobs.JobDecision) -> None:
    ask = tx.asks.of_job(job.id)
    if ask is not None and ask.not_before != decision.not_before:
        tx.asks.defer_until(ask.id, decision.not_before)
    tx.jobs.save(job)
    if job.is_finished:
        for waiting in tx.jobs.held_on(job.id):
            tx.work.poke("job", waiting)
