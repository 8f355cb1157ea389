"""Routes of uploads: archives that jobs use as their working directory."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Final, cast

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from controlplane.api import documents
from controlplane.api.calls import Call, Read, limited, respond
from controlplane.api.openapi import PROBLEMS
from controlplane.api.problems import UnsupportedMediaType
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import uploads
from controlplane.wire.jobs import UploadDocument

MEDIA_TYPE: Final = "application/zip"
IN_MEMORY_BYTES: Final = 1024**2
BODY: Final = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], responses=dict(PROBLEMS))


@router.post("", status_code=201, response_model=UploadDocument, openapi_extra={"requestBody": BODY})
async def upload_archive(call: Read) -> Response:
    """A zip archive. The same content is kept once, so sending it again is safe."""
    who = await run_sync(_admit, call)
    limit_bytes = call.context.settings.upload_limit_bytes
    async with _spooled(call.request, limit_bytes) as (file, sha256, size_bytes):
        row = await run_sync(
            lambda: uploads.accept(call.context, who, file, sha256=sha256, size_bytes=size_bytes)
        )
    return respond(documents.upload(row), code=201)


@router.head("/{digest}", status_code=200)
def look_for_upload(call: Read, digest: str) -> Response:
    """200 if the server holds it, else 404."""
    uploads.get(call.context, call.principal(), digest)
    return Response()


def _admit(call: Call) -> Principal:
    """Before a byte of the body is read."""
    who = call.principal()
    authorize(who, Action.UPLOAD)
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise UnsupportedMediaType(f"send {MEDIA_TYPE}", field="Content-Type", value=kind, limit=MEDIA_TYPE)
    return who


@asynccontextmanager
async def _spooled(request: Request, limit_bytes: int) -> AsyncIterator[tuple[BinaryIO, str, int]]:
    """The body as a file, with its digest and size."""
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
        file = cast("BinaryIO", spool)
        async for piece in limited(request, limit_bytes):
            digest.update(piece)
            file.write(piece)
        size_bytes = file.tell()
        file.seek(0)
        yield file, digest.hexdigest(), size_bytes
