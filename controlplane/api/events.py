"""Routes of the change feed."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Response

from controlplane.api import documents
from controlplane.api.calls import Read, respond
from controlplane.api.following import EventFollower
from controlplane.api.openapi import EVENT_STREAM, PROBLEMS
from controlplane.api.pages import DEFAULT_PAGE, After, Limit
from controlplane.operations import events
from controlplane.wire.base import Page
from controlplane.wire.jobs import EventDocument

router = APIRouter(prefix="/v1/events", tags=["events"], responses=dict(PROBLEMS))

JobId = Annotated[str | None, Query(max_length=63, description="Of one job only.")]


@router.get("", response_model=Page[EventDocument])
def list_events(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE, job: JobId = None) -> Response:
    """Oldest first, from the beginning or from behind `after`, which may be any event's `cursor`."""
    found, cursor = events.after(call.context, call.principal(), after, limit=limit, job_id=job)
    items = [documents.event(each, event) for each, event in found]
    return respond(Page(items=items, next=cursor if len(found) == limit else None))


@router.get("/stream", response_class=Response, responses=dict(EVENT_STREAM))
async def follow_events(
    call: Read,
    after: After = None,
    job: JobId = None,
    last_event_id: Annotated[str | None, Header(max_length=4096)] = None,
) -> Response:
    """`EventDocument`s as they happen, until the reader leaves."""
    follower = EventFollower(call=call, job_id=job, cursor=last_event_id or after)
    await run_sync(follower.begin)
    return call.site.streams.respond(follower.look)
