"""Routes of what happened to a job: attempts, logs, metrics, checkpoints, and why it is where it is."""

from typing import Annotated, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Response

from controlplane.api import documents
from controlplane.api.calls import Read, respond
from controlplane.api.following import LogFollower
from controlplane.api.openapi import EVENT_STREAM, PROBLEMS
from controlplane.api.pages import DEFAULT_PAGE, LARGEST_PAGE, After, Limit, page, slice_of
from controlplane.operations import attempts, explain, logs
from controlplane.wire.base import MAX_INT, Page
from controlplane.wire.jobs import AttemptDocument, CheckpointDocument, Explanation, LogChunk, MetricPoint

LARGEST_CHUNK_BYTES: Final = 1024**2
DEFAULT_CHUNK_BYTES: Final = 256 * 1024
SMALLEST_CHUNK_BYTES: Final = 4
"""Room for any one character."""

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], responses=dict(PROBLEMS))

AttemptName = Annotated[
    str | None, Query(max_length=63, description="Id or number; the newest one if absent.")
]
Rank = Annotated[int, Query(ge=-1, le=100_000)]


@router.get("/attempts", response_model=Page[AttemptDocument])
def list_attempts(call: Read, job_id: str, after: After = None, limit: Limit = LARGEST_PAGE) -> Response:
    """Oldest first."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("attempts", after)
    rows = slice_of(attempts.of_job(call.context, who, job_id), place, limit)
    return respond(
        page(
            rows,
            limit,
            lambda row: documents.attempt(row[1]),
            lambda row: cursors.write("attempts", (row[0] + 1,)),
        )
    )


@router.get("/logs", response_model=LogChunk)
def read_logs(
    call: Read,
    job_id: str,
    *,
    attempt: AttemptName = None,
    rank: Rank = 0,
    offset: Annotated[int, Query(ge=0, le=MAX_INT)] = 0,
    limit: Annotated[int, Query(ge=SMALLEST_CHUNK_BYTES, le=LARGEST_CHUNK_BYTES)] = DEFAULT_CHUNK_BYTES,
) -> Response:
    """A piece of one task's output, by byte offset."""
    who = call.principal()
    chunk = logs.read(
        call.context, who, job_id, attempt_name=attempt, rank=rank, offset=offset, limit_bytes=limit
    )
    return respond(chunk)


@router.get("/logs/stream", response_class=Response, responses=dict(EVENT_STREAM))
async def follow_logs(
    call: Read,
    job_id: str,
    attempt: AttemptName = None,
    rank: Annotated[int | None, Query(ge=-1, le=100_000, description="All tasks if absent.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=65_536)] = None,
) -> Response:
    """`LogChunk`s as they come in, on into later attempts unless one is named, until the job has finished."""
    follower = LogFollower(call=call, job_id=job_id, attempt_name=attempt, rank=rank)
    await run_sync(follower.begin, last_event_id)
    return call.site.streams.respond(follower.look)


@router.get("/metrics", response_model=Page[MetricPoint])
def list_metrics(call: Read, job_id: str, after: After = None, limit: Limit = LARGEST_PAGE) -> Response:
    """By attempt, rank and order of reporting."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("metrics", after)
    last = None if place is None else (int(place[0]), int(place[1]), int(place[2]))
    rows = attempts.metrics(call.context, who, job_id, after=last, limit=limit + 1)
    return respond(
        page(
            rows,
            limit,
            documents.metric,
            lambda row: cursors.write("metrics", (row.number, row.metric.rank, row.metric.seq)),
        )
    )


@router.get("/checkpoints", response_model=Page[CheckpointDocument])
def list_checkpoints(call: Read, job_id: str, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """Oldest first."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("checkpoints", after)
    rows = slice_of(attempts.checkpoints(call.context, who, job_id), place, limit)
    return respond(
        page(
            rows,
            limit,
            lambda row: documents.checkpoint(row[1]),
            lambda row: cursors.write("checkpoints", (row[0] + 1,)),
        )
    )


@router.get("/explain", response_model=Explanation)
def explain_job(call: Read, job_id: str) -> Response:
    """Why it is where it is, and what would change that."""
    return respond(explain.explain(call.context, call.principal(), job_id))
