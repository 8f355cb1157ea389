"""Submission: accepts a job, or refuses it with nothing written."""

from dataclasses import dataclass, field, replace

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.projects import Project, Queue
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import dependencies, feasibility
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.ids import Ids
from controlplane.operations.lookups import project_for, queue_for
from controlplane.operations.services import Services
from controlplane.operations.translation import ask_of, held_job
from controlplane.store import JobView, Tx
from controlplane.wire.jobspec import SCHEMA_VERSION, JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job that is asked for, with an id that stays the same if the write is run again."""

    spec: JobSpec
    spec_json: str
    """As it was sent."""

    job_id: JobId
    depends_on: tuple[JobId, ...] = ()
    retry_of: JobId | None = None
    schema_version: int = SCHEMA_VERSION
    path: str = ""
    """Where the spec stands in the request, for messages: `jobs.3.`."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """What one transaction looks up once, however many jobs it accepts."""

    tx: Tx
    principal: Principal
    capacity: feasibility.Capacity
    homes: dict[tuple[str, str], tuple[Project, Queue]] = field(default_factory=dict)

    def home(self, spec: JobSpec) -> tuple[Project, Queue]:
        key = (spec.project, spec.queue)
        if key not in self.homes:
            project = project_for(self.tx, self.principal, spec.project, Action.SUBMIT)
            self.homes[key] = (project, queue_for(self.tx, project, spec.queue))
        return self.homes[key]


def submit(
    services: Services,
    principal: Principal,
    spec: JobSpec,
    spec_json: str,
    *,
    once: Once[JobView] | None = None,
) -> JobView:
    """Accepts one job: queued when the call returns, or held if it waits for others."""
    authorize(principal, Action.SUBMIT)
    draft = draft_of(services.ids, spec, spec_json)
    draft = replace(draft, depends_on=tuple(JobId(each) for each in dict.fromkeys(spec.depends_on)))
    return write_once(services.store, lambda tx: accept(open_desk(tx, principal), draft), once)


def draft_of(ids: Ids, spec: JobSpec, spec_json: str, *, path: str = "") -> Draft:
    return Draft(spec=spec, spec_json=spec_json, job_id=JobId(ids.new("job")), path=path)


def open_desk(tx: Tx, principal: Principal) -> Desk:
    return Desk(tx=tx, principal=principal, capacity=feasibility.load(tx))


def accept(desk: Desk, draft: Draft) -> JobView:
    """Checks everything, then writes the job and its ask. Raises before anything is written."""
    tx, spec = desk.tx, draft.spec
    project, queue = desk.home(spec)
    _check_working_dir(tx, draft)
    ready = dependencies.settled(tx, draft.depends_on, project.id, field=f"{draft.path}depends_on")
    born = held_job(
        spec,
        job_id=draft.job_id,
        project_id=project.id,
        queue_id=queue.id,
        depends_on=draft.depends_on,
        retry_of=draft.retry_of,
        at=tx.now,
    )
    ask = ask_of(spec, born)
    feasibility.check(ask, desk.capacity, path=draft.path)
    job = born.move(JobState.QUEUED, at=tx.now) if ready else born
    tx.jobs.add(job, ask, spec=draft.spec_json, schema_version=draft.schema_version, labels=spec.labels)
    if not ready:
        # What it waits for may have ended while this was written.
        tx.work.poke("job", job.id)
    return _view(draft, job, ask, (project, queue))


def _view(draft: Draft, job: Job, ask: Ask, home: tuple[Project, Queue]) -> JobView:
    """What the store would answer, without asking it."""
    return JobView(
        job=job,
        project_name=home[0].name,
        queue_name=home[1].name,
        tasks=ask.tasks,
        amounts=ask.amounts,
        labels=draft.spec.labels,
        spec=draft.spec_json,
        schema_version=draft.schema_version,
        attempts=0,
        not_before=None,
        live=None,
    )


def _check_working_dir(tx: Tx, draft: Draft) -> None:
    digest = draft.spec.working_dir
    if digest is not None and tx.uploads.get(digest) is None:
        raise Invalid(
            "was not uploaded to this server; POST the archive to /v1/uploads first",
            field=f"{draft.path}working_dir",
            value=digest,
        )
