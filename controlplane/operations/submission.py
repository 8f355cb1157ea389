"""Submission: accepts a job, or refuses it with nothing written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.domain.data_copies import RegisteredStore
from controlplane.domain.errors import Invalid, UserError
from controlplane.domain.ids import ClassId, JobId, ProjectId
from controlplane.domain.jobs import Ask, Job, JobKind, JobState
from controlplane.domain.projects import Project, Queue
from controlplane.domain.residency import Rules, Source
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import dependencies, feasibility, residency, sources
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.ids import Ids
from controlplane.operations.lookups import project_for, queue_for
from controlplane.operations.translation import ask_of, held_job
from controlplane.store import JobView, NewJob, NewRows, Store, Tx, rows_of
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
    is_of_service: bool = False
    path: str = ""
    """Where the spec stands in the request, for messages: `jobs.3.`."""


@dataclass(slots=True, kw_only=True)
class Desk:
    """What one transaction looks up once, however many jobs it examines."""

    tx: Tx
    principal: Principal
    capacity: feasibility.Capacity
    rules: Rules
    unknown_job_hint: str = ""
    """Goes on after the sentence that a job that is depended on does not exist."""

    homes: dict[tuple[str, str], tuple[Project, Queue]] = field(default_factory=dict)
    shortfalls: dict[ClassId, feasibility.Shortfall | None] = field(default_factory=dict)
    archives: dict[str, bool] = field(default_factory=dict)
    needed: dict[JobId, Job] = field(default_factory=dict)
    at_home: set[tuple[ProjectId, tuple[str, ...]]] = field(default_factory=set)
    """Projects, and stores read from, of which some cluster is where their work may be."""

    object_stores: Sequence[RegisteredStore] | None = None
    """Kept as they are until what is written by them is committed."""

    def home(self, spec: JobSpec) -> tuple[Project, Queue]:
        key = (spec.project, spec.queue)
        if key not in self.homes:
            project = project_for(self.tx, self.principal, spec.project, Action.SUBMIT)
            self.homes[key] = (project, queue_for(self.tx, project, spec.queue))
        return self.homes[key]

    def jobs(self, ids: Sequence[JobId]) -> Mapping[JobId, Job]:
        """Those of them that exist, among others."""
        if missing := [each for each in ids if each not in self.needed]:
            self.needed |= {job.id: job for job in self.tx.jobs.many(missing)}
        return self.needed

    def has_archive(self, digest: str) -> bool:
        if digest not in self.archives:
            self.archives[digest] = self.tx.uploads.get(digest) is not None
        return self.archives[digest]

    def reads(self, spec: JobSpec) -> tuple[Source, ...]:
        if not spec.inputs and spec.checkpoint_uri is None:
            return ()
        if self.object_stores is None:
            self.object_stores = self.tx.object_stores.kept()
        return sources.sources(self.object_stores, spec.inputs, spec.checkpoint_uri, spec.input_gib)

    def check_residency(self, project: Project, reads: Sequence[Source], path: str) -> None:
        key = (project.id, sources.names(reads))
        if key not in self.at_home:
            clusters = (cluster for cluster, _ in self.capacity.clusters)
            residency.check_submit(self.rules, project, clusters, reads=reads, path=path)
            self.at_home.add(key)

    def shortfall(self, ask: Ask) -> feasibility.Shortfall | None:
        if ask.class_id not in self.shortfalls:
            self.shortfalls[ask.class_id] = feasibility.shortfall(ask, self.capacity)
        return self.shortfalls[ask.class_id]


def submit(
    context: Context,
    principal: Principal,
    spec: JobSpec,
    spec_json: str,
    *,
    once: Once[JobView] | None = None,
) -> JobView:
    """Accepts one job: queued when the call returns, or held if it waits for others."""
    authorize(principal, Action.SUBMIT)
    draft = replace(draft_of(context.ids, spec, spec_json), depends_on=ids_of(spec))
    store = context.store
    if store.has_one_writer:
        try:
            ready = _made_ready(store, principal, draft)
            return write_once(store, ready.written, ready.answering(once))
        except UserError:
            pass  # said again below, where an answer that was given before goes first
    return write_once(store, lambda tx: accept(open_desk(tx, principal), draft), once)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A job that was examined before the write, which then keeps nobody waiting with anything but its rows."""

    new: NewJob
    rows: NewRows
    view: JobView

    def written(self, tx: Tx) -> JobView:
        write(tx, (self.new,), self.rows)
        if sources.may_read(self.new.spec):  # stores may have come or gone since it was examined
            sources.follow(tx, [self.new.job.id])
        return self.view

    def answering(self, once: Once[JobView] | None) -> Once[JobView] | None:
        """The same, with the answer's body made by now."""
        if once is None:
            return None
        body = once.render(self.view)
        return replace(once, render=lambda _: body)


def _made_ready(store: Store, principal: Principal, draft: Draft) -> _Ready:
    """Raises what is wrong with it."""
    with store.read() as tx:
        desk = open_desk(tx, principal)
        new = examine(desk, draft)
        view = _view(draft, new.job, new.ask, desk.home(draft.spec))
    return _Ready(new=new, rows=rows_of((new,)), view=view)


def draft_of(ids: Ids, spec: JobSpec, spec_json: str, *, path: str = "") -> Draft:
    return Draft(spec=spec, spec_json=spec_json, job_id=JobId(ids.new("job")), path=path)


def ids_of(spec: JobSpec) -> tuple[JobId, ...]:
    """What it depends on, where no names stand for jobs."""
    return tuple(JobId(each) for each in dict.fromkeys(spec.depends_on))


def open_desk(tx: Tx, principal: Principal) -> Desk:
    return Desk(tx=tx, principal=principal, capacity=feasibility.load(tx), rules=tx.residencies.rules())


def accept(desk: Desk, draft: Draft) -> JobView:
    """Checks everything, then writes the job and its ask. Raises before anything is written."""
    new = examine(desk, draft)
    write(desk.tx, (new,))
    return _view(draft, new.job, new.ask, desk.home(draft.spec))


def examine(desk: Desk, draft: Draft) -> NewJob:
    """Checks everything and writes nothing. Raises what is wrong with it."""
    spec, now = draft.spec, desk.tx.now
    _check_kind(draft)
    project, queue = desk.home(spec)
    _check_working_dir(desk, draft)
    ready = dependencies.settled(
        desk.jobs(draft.depends_on),
        draft.depends_on,
        project.id,
        field=f"{draft.path}depends_on",
        hint=desk.unknown_job_hint,
    )
    born = held_job(
        spec,
        job_id=draft.job_id,
        project_id=project.id,
        queue_id=queue.id,
        depends_on=draft.depends_on,
        retry_of=draft.retry_of,
        at=now,
    )
    reads = desk.reads(spec)
    if draft.is_of_service:  # its spec names a model, and that model these files
        reads = tuple(replace(each, field="model", called="model") for each in reads)
    ask = ask_of(spec, born, reads=sources.reads(reads))
    desk.check_residency(project, reads, draft.path)
    if (short := desk.shortfall(ask)) is not None:
        raise feasibility.refusal(short, path=draft.path)
    job = born.move(JobState.QUEUED, at=now) if ready else born
    return NewJob(
        job=job, ask=ask, spec=draft.spec_json, schema_version=draft.schema_version, labels=spec.labels
    )


def write(tx: Tx, new: Sequence[NewJob], rows: NewRows | None = None) -> None:
    """Jobs that were examined, in this transaction or shortly before; `rows` are theirs, if they were made before."""
    tx.jobs.add_many(rows or rows_of(new))
    # What they wait for may have ended since that was looked at.
    tx.work.poke_many("job", [each.job.id for each in new if each.job.state is JobState.HELD])


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


def _check_kind(draft: Draft) -> None:
    if JobKind(draft.spec.kind) is JobKind.REPLICA and not draft.is_of_service:
        raise Invalid(
            "is for replicas of services, which nobody else submits: POST /v1/services",
            field=f"{draft.path}kind",
            value=draft.spec.kind,
        )


def _check_working_dir(desk: Desk, draft: Draft) -> None:
    digest = draft.spec.working_dir
    if digest is not None and not desk.has_archive(digest):
        raise Invalid(
            "was not uploaded to this server; POST the archive to /v1/uploads first",
            field=f"{draft.path}working_dir",
            value=digest,
        )
