"""Bulk: the route for thousands of jobs, each of which is parsed, accepted and answered by itself."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from controlplane.api.calls import DeedRoute, Whole, call_of, check_text, read_call
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.problems import TooBusy, problem_of, refused
from controlplane.domain.errors import Invalid, UserError
from controlplane.domain.jobs import Job
from controlplane.operations import bulk
from controlplane.wire.base import Request as Document
from controlplane.wire.jobs import MAX_BULK, MAX_BULK_BYTES, JobBulk, JobBulkAnswer, JobReceipt, JobRefusal
from controlplane.wire.jobspec import JobSpec

ITEMS: Final = TypeAdapter(list[JobReceipt | JobRefusal])


class Envelope(Document):
    """What is checked of a bulk request as a whole: its jobs are checked one by one."""

    jobs: list[Any] = Field(min_length=1, max_length=MAX_BULK)  # JSON values


class BulkRoute(DeedRoute):
    """Takes larger bodies, of few calls at once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            # Before a byte of a large body is read; beside that, a second hop to a thread is nothing.
            await run_in_threadpool((await read_call(request)).principal)
            call = await call_of(request, MAX_BULK_BYTES)
            room = call.site.bulk_calls
            # Nobody waits for a place: a thread that waits is lost to all other calls.
            if not room.acquire(blocking=False):
                raise TooBusy("as many bulk calls as this server takes at once are under way")
            try:
                return await run_in_threadpool(endpoint, call)
            finally:
                room.release()

        return handle


router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=dict(PROBLEMS), route_class=BulkRoute)


@router.post("/bulk", response_model=JobBulkAnswer, openapi_extra=takes(JobBulk))
def submit_each(call: Whole) -> Response:
    """Each job is accepted or refused by itself; the answer has a receipt or a refusal for each, in order.

    Sent again with the same idempotency key after it broke off, it goes on where it stopped.
    """
    who, documents = call.principal(), call.parse_but_texts(Envelope).jobs
    parts = bulk.submit_each(call.context, who, _entries(documents), _items, once=call.once(who, 200))
    body = ",".join(part[1:-1] for part in parts)
    return Response(f'{{"items":[{body}]}}', media_type="application/json")


def _entries(documents: Iterable[object]) -> Iterator[bulk.Entry]:
    for document in documents:
        yield _entry(document)


def _entry(document: object) -> bulk.Entry:
    body = to_json(document)
    try:
        spec = JobSpec.model_validate_json(body)
        if b"\\u0000" in body:
            check_text("", document)
    except ValidationError as error:
        return refused(error, body)
    except Invalid as unfit:
        return unfit
    return spec, body.decode()


def _items(verdicts: Sequence[bulk.Verdict]) -> str:
    """A JSON list."""
    return ITEMS.dump_json([_item(each) for each in verdicts]).decode()


def _item(verdict: Job | UserError) -> JobReceipt | JobRefusal:
    if isinstance(verdict, Job):
        return JobReceipt(id=verdict.id, name=verdict.name, state=verdict.state.value)
    problem = problem_of(verdict)
    return JobRefusal(code=problem.code, detail=problem.detail, fields=problem.fields)
