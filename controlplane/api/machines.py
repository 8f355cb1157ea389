"""The route at which bought machines speak: the machine protocol."""

from fastapi import APIRouter, Response

from controlplane.api.calls import DeedRoute, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.operations import machines
from controlplane.wire.machines import CheckInAnswer, CheckInRequest

router = APIRouter(
    prefix="/v1/machines", tags=["machine protocol"], responses=dict(PROBLEMS), route_class=DeedRoute
)


@router.post("/check-in", response_model=CheckInAnswer, openapi_extra=takes(CheckInRequest))
def check_in(call: Whole) -> Response:
    """From the machine's boot program, with its launch's own token. 410: end at once."""
    return respond(machines.check_in(call.context, call.bearer, call.parse(CheckInRequest)))
