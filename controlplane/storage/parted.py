"""Stores a stream of unknown length: small ones at once, large ones in parts, so memory stays bounded."""

import hashlib
import io
from typing import BinaryIO, Final

from controlplane.domain.errors import PluginError
from controlplane.storage.base import ObjectStore, Part, PartReceipt, UploadId
from controlplane.storage.checksums import Crc64, of
from controlplane.storage.streams import exactly

PART_BYTES: Final = 16 * 1024**2


def part_of(number: int, data: bytes, form: Crc64 | None) -> Part:
    crc64 = of(form, data) if form else None
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return Part(number=number, data=io.BytesIO(data), size_bytes=len(data), md5=md5, crc64=crc64)


def put_in_parts(store: ObjectStore, key: str, first: bytes, rest: BinaryIO, *, if_absent: bool) -> int:
    """Stores `first`, then `rest`. Whatever breaks aborts the upload and leaves the key as it was."""
    upload_id = store.begin_parts(key)
    try:
        receipts = _send(store, key, upload_id, first, rest)
        store.complete_parts(key, upload_id, receipts, if_absent=if_absent)
    except BaseException:
        _give_up(store, key, upload_id)
        raise
    return sum(receipt.size_bytes for receipt in receipts)


def _send(
    store: ObjectStore, key: str, upload_id: UploadId, first: bytes, rest: BinaryIO
) -> list[PartReceipt]:
    receipts: list[PartReceipt] = []
    data = first
    while data:
        part = part_of(len(receipts) + 1, data, store.limits.crc64)
        receipts.append(store.put_part(key, upload_id, part))
        # Parts grow, so that the limit on their number is none on the size.
        data = exactly(rest, PART_BYTES * (1 + len(receipts) // 1000))
    return receipts


def _give_up(store: ObjectStore, key: str, upload_id: UploadId) -> None:
    """The first error is the one to tell; an upload that cannot be aborted now is swept later."""
    try:
        store.abort_parts(key, upload_id)
    except PluginError:
        return
