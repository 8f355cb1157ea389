"""Routes of pipelines: executions and schedules."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Query, Response

from controlplane.api import pipeline_documents as documents
from controlplane.api.calls import Call, Deed, DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.identity.principals import Principal
from controlplane.operations import executions, schedules
from controlplane.operations.context import Context
from controlplane.operations.executions import ExecutionReport
from controlplane.operations.idempotency import Once
from controlplane.operations.schedules import ScheduleName, ScheduleReport
from controlplane.wire.base import Page
from controlplane.wire.pipelines import (
    ExecutionDocument,
    ExecutionSummary,
    PipelineSpec,
    ScheduleCreate,
    ScheduleDocument,
)

router = APIRouter(prefix="/v1", tags=["pipelines"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["pipelines"], responses=dict(PROBLEMS), route_class=DeedRoute)

InProject = Annotated[str | None, Query(max_length=63, description="Default: all that the token sees.")]


@deeds.post(
    "/executions", status_code=201, response_model=ExecutionDocument, openapi_extra=takes(PipelineSpec)
)
def submit_pipeline(call: Whole) -> Response:
    """Accepted means stored, with all its steps."""
    who = call.principal()
    call.parse(PipelineSpec)
    deed = _deed(call, who, 201)
    return deed.answer(executions.submit(call.context, who, call.text, once=deed.once))


@router.get("/executions", response_model=Page[ExecutionSummary])
def list_executions(
    call: Read, project: InProject = None, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """Newest first, without steps and specs."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("executions", after))
    found = executions.listed(call.context, who, project=project, before=last, limit=limit + 1)
    return respond(
        page(
            found,
            limit,
            documents.summary,
            lambda each: cursors.write("executions", (each.execution.id,)),
        )
    )


@router.get("/executions/{execution}", response_model=ExecutionDocument)
def get_execution(call: Read, execution: str) -> Response:
    return respond(documents.execution(executions.get(call.context, call.principal(), execution)))


@deeds.post("/executions/{execution}/cancel", response_model=ExecutionDocument, openapi_extra=takes())
def cancel_execution(call: Whole, execution: str) -> Response:
    """Its jobs are cancelled, and what was not begun never is."""
    return _done(call, execution, executions.cancel)


@deeds.post("/executions/{execution}/pause", response_model=ExecutionDocument, openapi_extra=takes())
def pause_execution(call: Whole, execution: str) -> Response:
    """No step is begun until it is resumed; what runs goes on."""
    return _done(call, execution, executions.pause)


@deeds.post("/executions/{execution}/resume", response_model=ExecutionDocument, openapi_extra=takes())
def resume_execution(call: Whole, execution: str) -> Response:
    return _done(call, execution, executions.resume)


@deeds.post(
    "/executions/{execution}/retry",
    status_code=201,
    response_model=ExecutionDocument,
    openapi_extra=takes(),
)
def retry_execution(call: Whole, execution: str) -> Response:
    """One that failed or was cancelled, as a new one with `retry_of`: what succeeded is taken if it is still there."""
    return _done(call, execution, executions.retry, code=201)


@deeds.post(
    "/schedules", status_code=201, response_model=ScheduleDocument, openapi_extra=takes(ScheduleCreate)
)
def create_schedule(call: Whole) -> Response:
    """Its executions have the rights of the token that this is asked with."""
    who, wanted = call.principal(), call.parse(ScheduleCreate)
    deed: Deed[ScheduleReport] = call.deed(who, 201, documents.schedule)
    return deed.answer(schedules.create(call.context, who, wanted, once=deed.once))


@router.get("/schedules", response_model=Page[ScheduleDocument])
def list_schedules(
    call: Read, project: InProject = None, after: After = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """In the order in which they were made."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("schedules", after)) or ""
    found = schedules.listed(call.context, who, project=project, after=last, limit=limit + 1)
    return respond(
        page(
            found, limit, documents.schedule, lambda report: cursors.write("schedules", (report.schedule.id,))
        )
    )


@router.get("/schedules/{project}/{schedule}", response_model=ScheduleDocument)
def get_schedule(call: Read, project: str, schedule: str) -> Response:
    name = ScheduleName(project=project, name=schedule)
    return respond(documents.schedule(schedules.get(call.context, call.principal(), name)))


@deeds.post("/schedules/{project}/{schedule}/pause", response_model=ScheduleDocument, openapi_extra=takes())
def pause_schedule(call: Whole, project: str, schedule: str) -> Response:
    """Its ticks pass by until it is resumed; executions that it made go on."""
    who, name = call.principal(), ScheduleName(project=project, name=schedule)
    call.parse_nothing()
    deed: Deed[ScheduleReport] = call.deed(who, 200, documents.schedule)
    return deed.answer(schedules.pause(call.context, who, name, once=deed.once))


@deeds.post("/schedules/{project}/{schedule}/resume", response_model=ScheduleDocument, openapi_extra=takes())
def resume_schedule(call: Whole, project: str, schedule: str) -> Response:
    """From the next tick on."""
    who, name = call.principal(), ScheduleName(project=project, name=schedule)
    call.parse_nothing()
    deed: Deed[ScheduleReport] = call.deed(who, 200, documents.schedule)
    return deed.answer(schedules.resume(call.context, who, name, once=deed.once))


@deeds.post("/schedules/{project}/{schedule}/remove", response_model=ScheduleDocument, openapi_extra=takes())
def remove_schedule(call: Whole, project: str, schedule: str) -> Response:
    """Executions that it made go on."""
    who, name = call.principal(), ScheduleName(project=project, name=schedule)
    call.parse_nothing()
    deed: Deed[ScheduleReport] = call.deed(who, 200, documents.schedule)
    return deed.answer(schedules.remove(call.context, who, name, once=deed.once))


class _Doing(Protocol):
    """An operation upon one execution that takes nothing else."""

    def __call__(
        self,
        context: Context,
        principal: Principal,
        execution_id: str,
        *,
        once: Once[ExecutionReport] | None,
    ) -> ExecutionReport: ...


def _done(call: Whole, execution: str, doing: _Doing, *, code: int = 200) -> Response:
    who = call.principal()
    call.parse_nothing()
    deed = _deed(call, who, code)
    return deed.answer(doing(call.context, who, execution, once=deed.once))


def _deed(call: Call, who: Principal, code: int) -> Deed[ExecutionReport]:
    return call.deed(who, code, documents.execution)
