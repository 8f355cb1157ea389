"""Jobs: reading, cancelling and retrying them. They are accepted in `submission` and `batches`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlplane.domain.errors import Conflict, Invalid
from controlplane.domain.events import Event
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job, JobKind, JobState
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import job_for, project_for, queue_for
from controlplane.operations.specs import stored
from controlplane.operations.submission import accept, draft_of, open_desk
from controlplane.store import JobFilter, JobPage, JobPlace, JobView, Tx
from controlplane.wire.jobspec import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """What a caller filters by, in the caller's words; None and empty leave everything in."""

    project: str | None = None
    queue: str | None = None
    states: Sequence[str] = ()
    kind: str | None = None
    name: str | None = None
    label: tuple[str, str] | None = None


def get(context: Context, principal: Principal, job_id: str) -> JobView:
    with context.store.read() as tx:
        return _view(tx, job_for(tx, principal, job_id))


def listed(
    context: Context, principal: Principal, query: JobQuery, *, after: JobPlace | None, limit: int
) -> JobPage:
    """Newest first, from behind `after`."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        return tx.jobs.list(filter_of(tx, principal, query), after, limit)


def filter_of(tx: Tx, principal: Principal, query: JobQuery) -> JobFilter:
    """As the store takes it: no further than the token sees. Raises `NotFound`, or `Invalid` for a queue alone."""
    project = project_for(tx, principal, query.project) if query.project is not None else None
    if query.queue is not None and project is None:
        raise Invalid(
            "needs project as well: a queue's name is unique inside its project only", field="queue"
        )
    return JobFilter(
        project_ids=(project.id,) if project is not None else principal.visible_projects,
        queue_id=queue_for(tx, project, query.queue).id if project and query.queue is not None else None,
        states=tuple(JobState(state) for state in query.states),
        kind=JobKind(query.kind) if query.kind is not None else None,
        # Replicas come and go by themselves: who wants to see them says so.
        without=JobKind.REPLICA if query.kind is None else None,
        name=query.name,
        label=query.label,
    )


def cancel(
    context: Context, principal: Principal, job_id: str, *, once: Once[JobView] | None = None
) -> JobView:
    """Cancels at once what has not started; asks what runs to stop. Asking again changes nothing."""

    def unit(tx: Tx) -> JobView:
        job = job_for(tx, principal, job_id, Action.CANCEL)
        if job.is_finished:
            raise Conflict(f"job {job.id} is already {job.state}", field="state", value=str(job.state))
        call_off(tx, job, by=principal.name)
        return _view(tx, job)

    return write_once(context.store, unit, once)


def call_off(tx: Tx, job: Job, *, by: str) -> None:
    """Of one that is not finished."""
    if job.state is JobState.ACTIVE:
        _ask_to_stop(tx, job)
    else:
        _cancel_now(tx, job, by)


def retry(
    context: Context, principal: Principal, job_id: str, *, once: Once[JobView] | None = None
) -> JobView:
    """Submits the spec of a finished job again, as a new job."""
    ids = context.ids

    def unit(tx: Tx) -> JobView:
        old = job_for(tx, principal, job_id, Action.RETRY)
        if not old.is_finished:
            raise Conflict(
                f"job {old.id} is {old.state}; only a finished job is retried", field="state", value=old.state
            )
        if old.kind is JobKind.REPLICA:
            raise Conflict(
                f"job {old.id} is a replica of a service, which replaces it itself",
                field="kind",
                value=old.kind,
            )
        spec_json, schema_version = stored(tx, old.id)
        draft = draft_of(ids, JobSpec.model_validate_json(spec_json), spec_json)
        # In a batch, `depends_on` of the spec may hold names; the job holds what they stood for.
        again = replace(draft, depends_on=old.depends_on, retry_of=old.id, schema_version=schema_version)
        return accept(open_desk(tx, principal), again)

    return write_once(context.store, unit, once)


def _ask_to_stop(tx: Tx, job: Job) -> None:
    if job.cancel_requested_at is not None:
        return
    tx.jobs.save(job.request_cancel(at=tx.now))
    tx.events.add(
        Event(
            kind="job.cancel_requested", subject=job.id, at=tx.now, project_id=job.project_id, job_id=job.id
        )
    )
    tx.work.poke("job", job.id)


def _cancel_now(tx: Tx, job: Job, by: str) -> None:
    requested = replace(job, cancel_requested_at=tx.now)
    tx.jobs.save(requested.move(JobState.CANCELLED, at=tx.now, reason=f"cancelled by {by}"))
    for dependent in tx.jobs.held_on(job.id):
        tx.work.poke("job", dependent)
    tx.work.poke_many("execution", tx.steps.waiting_for([job.id]))


def _view(tx: Tx, job: Job) -> JobView:
    view = tx.jobs.view(JobId(job.id))
    if view is None:
        raise Conflict(f"job {job.id} is gone")
    return view
