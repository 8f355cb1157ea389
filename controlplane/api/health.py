"""Routes that tell whether this process lives, and whether it can serve."""

from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, Response

from controlplane.api.calls import Read, respond
from controlplane.operations import readiness
from controlplane.wire.admin import Health, Readiness

VERSION: Final = version("crossdock")

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """Asks nobody: answers as long as the event loop turns."""
    return respond(Health(ok=True, version=VERSION))


@router.get("/readyz", response_model=Readiness)
def readyz(call: Read) -> Response:
    """503 while the database is away or no scheduling loop holds its lease."""
    checks = readiness.checks(call.context)
    ready = all(each == readiness.OK for each in checks.values())
    return respond(Readiness(ready=ready, checks=dict(checks)), code=200 if ready else 503)
