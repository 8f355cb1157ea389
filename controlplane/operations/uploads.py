"""Uploads: archives by content. The same bytes are kept once."""

from typing import BinaryIO

from controlplane.domain.errors import NotFound, TooLarge
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import archives
from controlplane.operations.context import Context
from controlplane.store import Tx, UploadRow


def accept(
    context: Context, principal: Principal, file: BinaryIO, *, sha256: str, size_bytes: int
) -> UploadRow:
    """Takes a zip archive that lies whole in `file`. Sending it again changes nothing."""
    authorize(principal, Action.UPLOAD)
    limit_bytes = context.settings.upload_limit_bytes
    check_size(size_bytes, limit_bytes)
    archives.check(file, limit_bytes=limit_bytes)
    digest = f"sha256:{sha256}"
    file.seek(0)
    # The bytes first: a row promises that they are there.
    context.objects.put(upload_key(digest), file)

    def unit(tx: Tx) -> UploadRow:
        tx.uploads.add(digest, size_bytes, tx.now)
        return UploadRow(digest=digest, size_bytes=size_bytes, created_at=tx.now)

    return context.store.write(unit)


def get(context: Context, principal: Principal, digest: str) -> UploadRow:
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        row = tx.uploads.get(digest)
    if row is None:
        raise NotFound(f"there is no upload {digest!r}", field="digest", value=digest)
    return row


def check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise TooLarge(
            f"the archive is larger than {limit_bytes} bytes",
            field="body",
            value=size_bytes,
            limit=limit_bytes,
        )


def upload_key(digest: str) -> str:
    """Where the object store keeps it."""
    return f"uploads/{digest.removeprefix('sha256:')}"
