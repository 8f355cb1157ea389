"""The route on which attempts speak: the job protocol."""

from fastapi import APIRouter, Response

from controlplane.api.calls import DeedRoute, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.operations import records
from controlplane.wire.protocol import RecordAnswer, RecordBatch

router = APIRouter(
    prefix="/v1/attempts", tags=["job protocol"], responses=dict(PROBLEMS), route_class=DeedRoute
)


@router.post("/{attempt}/records", response_model=RecordAnswer, openapi_extra=takes(RecordBatch))
def push_records(call: Whole, attempt: str) -> Response:
    """From the wrapper, with the attempt's own token. 410: end at once."""
    records.admit(call.context, attempt, call.bearer)  # before a stranger's body is read
    return respond(records.ingest(call.context, attempt, call.bearer, call.parse(RecordBatch)))
