"""Routes of jobs: submit, list, look, cancel, retry."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic_core import from_json, to_json

from controlplane.api import documents
from controlplane.api.calls import Call, Deed, DeedRoute, Read, Whole, respond
from controlplane.api.cursors import Place
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import JobId
from controlplane.identity.principals import Principal
from controlplane.operations import batches, jobs, submission
from controlplane.operations.jobs import JobQuery
from controlplane.store import JobPlace, JobView
from controlplane.wire.base import Page
from controlplane.wire.jobs import JobBatch, JobDocument, JobList, JobStateName
from controlplane.wire.jobspec import JobSpec

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=dict(PROBLEMS), route_class=DeedRoute)

Name = Annotated[str | None, Query(max_length=63)]


@deeds.post("", status_code=201, response_model=JobDocument, openapi_extra=takes(JobSpec))
def submit_job(call: Whole) -> Response:
    who, spec = call.principal(), call.parse(JobSpec)
    deed = _deed(call, who, 201)
    return deed.answer(submission.submit(call.context, who, spec, call.text, once=deed.once))


@deeds.post("/batch", status_code=201, response_model=JobList, openapi_extra=takes(JobBatch))
def submit_jobs(call: Whole) -> Response:
    """All or none. `depends_on` may name jobs of the same batch."""
    who, specs = call.principal(), call.parse(JobBatch).jobs
    texts = [to_json(each).decode() for each in from_json(call.body)["jobs"]]
    deed: Deed[list[JobView]] = call.deed(who, 201, lambda views: _job_list(views, call))
    batch = list(zip(specs, texts, strict=True))
    return deed.answer(batches.submit_many(call.context, who, batch, once=deed.once))


@router.get("", response_model=Page[JobDocument])
def list_jobs(
    call: Read,
    *,
    project: Name = None,
    queue: Name = None,
    state: Annotated[list[JobStateName] | None, Query()] = None,
    kind: Annotated[
        Literal["training", "batch", "command", "replica"] | None,
        Query(description="Default: all but replicas of services."),
    ] = None,
    name: Name = None,
    label: Annotated[str | None, Query(max_length=320, description="`key=value`")] = None,
    after: After = None,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """Newest first. A page may be short, even empty, and still have a `next`: the rest lies further away."""
    who, cursors = call.principal(), call.site.cursors
    query = JobQuery(
        project=project, queue=queue, states=state or (), kind=kind, name=name, label=_label(label)
    )
    found = jobs.listed(call.context, who, query, after=_place(cursors.read("jobs", after)), limit=limit)
    items = [documents.job(view, call.now) for view in found.views]
    last = found.next
    following = None if last is None else cursors.write("jobs", (last.submitted_us, last.job_id))
    return respond(Page(items=items, next=following))


@router.get("/{job_id}", response_model=JobDocument)
def get_job(call: Read, job_id: str) -> Response:
    view = jobs.get(call.context, call.principal(), job_id)
    return respond(documents.job(view, call.now))


@deeds.post("/{job_id}/cancel", response_model=JobDocument, openapi_extra=takes())
def cancel_job(call: Whole, job_id: str) -> Response:
    """At once if it has not started; a running job is asked to stop within its grace."""
    who = call.principal()
    call.parse_nothing()
    deed = _deed(call, who, 200)
    return deed.answer(jobs.cancel(call.context, who, job_id, once=deed.once))


@deeds.post("/{job_id}/retry", status_code=201, response_model=JobDocument, openapi_extra=takes())
def retry_job(call: Whole, job_id: str) -> Response:
    """A finished job's spec again, as a new job with `retry_of`."""
    who = call.principal()
    call.parse_nothing()
    deed = _deed(call, who, 201)
    return deed.answer(jobs.retry(call.context, who, job_id, once=deed.once))


def _deed(call: Call, who: Principal, code: int) -> Deed[JobView]:
    return call.deed(who, code, lambda view: documents.job(view, call.now))


def _job_list(views: list[JobView], call: Call) -> JobList:
    return JobList(items=[documents.job(view, call.now) for view in views])


def _place(cursor: Place | None) -> JobPlace | None:
    if cursor is None:
        return None
    submitted_us, job_id = cursor
    return JobPlace(submitted_us=int(submitted_us), job_id=JobId(str(job_id)))


def _label(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Invalid("must be `key=value`", field="label", value=text)
    return name, value
