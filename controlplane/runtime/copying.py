"""Brings the objects of one copy to their target, as far as the time goes; what arrived is written down at once.

It may be killed between any two calls. What it finds then is the rows: an object that was begun, the parts that the
target confirmed, and perhaps one upload that began and was not written down, which is swept before a new one begins.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from io import BytesIO
from typing import Final

from controlplane.domain.data_copies import CopiedObject, CopiedPart, Copy, manifest_key
from controlplane.domain.errors import NotFound, Rejected
from controlplane.operations.object_stores import Located
from controlplane.storage.base import ObjectInfo, UploadId
from controlplane.storage.copier import (
    IN_FLIGHT,
    PartPlan,
    SentPart,
    Transfer,
    arrived,
    complete,
    made_already,
    plan,
    reread,
    send_parts,
)
from controlplane.storage.pace import Pace
from controlplane.storage.streams import from_pieces
from controlplane.store import Store, Tx

PACED_SECONDS: Final = 5
"""A part of a copy with a limited pace takes about so long for itself: the loop comes by between parts."""

SKEW: Final = timedelta(minutes=1)
"""Between our clock and the target's."""

PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What one copy goes between, and how."""

    store: Store
    copy: Copy
    source: Located
    target: Located
    part_bytes: int
    pace: Pace
    goes_on: Callable[[], bool]


def bring(way: Way) -> bool:
    """Returns whether all of it is there now. Raises what the stores raise."""
    coming = _coming(way)
    while way.goes_on():
        with way.store.read() as tx:
            last = tx.copied_objects.last(way.copy.id)
        if last is None or last.finished_at is not None:
            last = _begun(way, coming, last)
        if last is None:
            _write_manifest(way)
            return True
        _bring_object(way, last)
    return False


def call_off(way: Way) -> None:
    """Aborts the upload that is under way. What is whole stays."""
    with way.store.read() as tx:
        last = tx.copied_objects.last(way.copy.id)
    if last is not None and last.finished_at is None:
        _sweep(way, last)
        if last.upload_id is not None:
            way.target.store.abort_parts(last.target_key, UploadId(last.upload_id))


def _coming(way: Way) -> Iterator[str]:
    """Keys at the source that were not begun yet."""
    with way.store.read() as tx:
        last = tx.copied_objects.last(way.copy.id)
    if not _is_prefix(way):
        yield from [] if last is not None else [way.source.key]
        return
    after = last.source_key if last is not None else ""
    for info in way.source.store.entries(way.source.key, after=after):
        # A key that ends with `/` is how some tools draw a folder; it holds nothing.
        if not info.key.endswith("/"):
            yield info.key


def _begun(way: Way, coming: Iterator[str], last: CopiedObject | None) -> CopiedObject | None:
    """Writes the next object down, before anything of it exists at the target."""
    key = next(coming, None)
    if key is None:
        return None
    info = way.source.store.head(key)
    planned = plan(info.size_bytes, way.target.store.limits, part_bytes=_part_bytes(way))

    def unit(tx: Tx) -> CopiedObject:
        each = CopiedObject(
            copy_id=way.copy.id,
            ordinal=last.ordinal + 1 if last is not None else 1,
            source_key=key,
            target_key=_target_key(way, key),
            size_bytes=info.size_bytes,
            source_etag=info.etag,
            part_bytes=planned.part_bytes,
            created_at=tx.now,
        )
        tx.copied_objects.add(each)
        return each

    return way.store.write(unit)


def _bring_object(way: Way, each: CopiedObject) -> None:
    if each.size_bytes == 0:
        way.target.store.put(each.target_key, BytesIO())
        _finish(way, each, way.target.store.head(each.target_key))
        return
    if each.upload_id is None:
        each = _upload_begun(way, each)
    transfer = _transfer(way, each)
    with way.store.read() as tx:
        known = {part.number: _sent(part) for part in tx.copied_objects.parts(each)}
    try:
        kept = arrived(transfer, known)
    except NotFound:
        _found_or_anew(way, each, transfer, known)
        return
    _send_rest(way, each, transfer, kept)


def _send_rest(way: Way, each: CopiedObject, transfer: Transfer, kept: dict[int, SentPart]) -> None:
    def keep(part: SentPart) -> None:
        way.store.write(lambda tx: tx.copied_objects.keep_part(_copied(each, part)))
        kept[part.number] = part

    missing = [number for number in transfer.plan.numbers if number not in kept]
    send_parts(transfer, missing, keep=keep, goes_on=way.goes_on, pace=way.pace)
    if len(kept) < len(transfer.plan.numbers):
        return
    try:
        info = complete(transfer, kept)
    except NotFound:
        _found_or_anew(way, each, transfer, kept)
        return
    if way.copy.rereads:
        _compare(transfer, kept, info)
    _finish(way, each, info)


def _compare(transfer: Transfer, parts: Mapping[int, SentPart], info: ObjectInfo) -> None:
    if reread(transfer, [parts[number] for number in transfer.plan.numbers], info.etag):
        return
    transfer.target.delete(transfer.target_key)
    raise Rejected(f"{transfer.target_key} reads back as something else; it was taken away again")


def _upload_begun(way: Way, each: CopiedObject) -> CopiedObject:
    _sweep(way, each)
    upload_id = way.target.store.begin_parts(each.target_key)
    begun = replace(each, upload_id=upload_id)
    way.store.write(lambda tx: tx.copied_objects.save(begun))
    return begun


def _sweep(way: Way, each: CopiedObject) -> None:
    """Aborts what began under this very key since it was ours, and nobody wrote down.

    Another copy may go to the same key, below a prefix that both have: what it wrote down is spared, else each would
    end the other's upload for ever.
    """
    with way.store.read() as tx:
        known = {*tx.copied_objects.uploads_of_others(way.copy.id, each.target_key), each.upload_id}
    for upload in way.target.store.list_uploads(each.target_key):
        is_ours = upload.key == each.target_key and upload.begun_at >= each.created_at - SKEW
        if is_ours and upload.upload_id not in known:
            way.target.store.abort_parts(upload.key, upload.upload_id)


def _found_or_anew(way: Way, each: CopiedObject, transfer: Transfer, known: Mapping[int, SentPart]) -> None:
    """The upload is gone: it was completed by a call whose answer got lost, or somebody aborted it."""
    info = made_already(transfer, known)
    if info is not None:
        _finish(way, each, info)
        return

    def unit(tx: Tx) -> None:
        last = tx.copied_objects.last(way.copy.id)
        if last is not None and last.upload_id == each.upload_id:
            tx.copied_objects.forget(each)

    way.store.write(unit)


def _finish(way: Way, each: CopiedObject, info: ObjectInfo) -> None:
    def unit(tx: Tx) -> None:
        tx.copied_objects.save(replace(each, etag=info.etag, finished_at=tx.now))

    way.store.write(unit)


def _write_manifest(way: Way) -> None:
    """Written last: where it is, everything that it names is whole."""
    if _is_prefix(way):
        way.target.store.put(manifest_key(way.copy, way.target.key), from_pieces(_manifest(way)))


def _manifest(way: Way) -> Iterator[bytes]:
    head = {"copy": way.copy.id, "source": way.copy.source, "target": way.copy.target}
    yield json.dumps(head)[:-1].encode() + b', "objects": ['
    after, separator = 0, b"\n"
    while True:
        with way.store.read() as tx:
            page = tx.copied_objects.of_copy(way.copy.id, after, PAGE)
            lines = [
                {
                    "key": each.target_key,
                    "size_bytes": each.size_bytes,
                    "etag": each.etag,
                    "part_bytes": each.part_bytes,
                    "sha256_of_parts": [part.sha256 for part in tx.copied_objects.parts(each)],
                }
                for each in page
            ]
        for line in lines:
            yield separator + json.dumps(line).encode()
            separator = b",\n"
        if len(page) < PAGE:
            break
        after = page[-1].ordinal
    yield b"\n]}\n"


def _transfer(way: Way, each: CopiedObject) -> Transfer:
    return Transfer(
        source=way.source.store,
        source_key=each.source_key,
        source_etag=each.source_etag,
        target=way.target.store,
        target_key=each.target_key,
        upload_id=UploadId(each.upload_id or ""),
        plan=PartPlan(size_bytes=each.size_bytes, part_bytes=each.part_bytes),
    )


def _part_bytes(way: Way) -> int:
    limited = way.copy.bytes_per_second
    return (
        way.part_bytes if limited is None else min(way.part_bytes, limited * PACED_SECONDS // IN_FLIGHT + 1)
    )


def _target_key(way: Way, key: str) -> str:
    return way.target.key + key.removeprefix(way.source.key) if _is_prefix(way) else way.target.key


def _is_prefix(way: Way) -> bool:
    return way.copy.source.endswith("/")


def _sent(part: CopiedPart) -> SentPart:
    return SentPart(
        number=part.number,
        size_bytes=part.size_bytes,
        sha256=part.sha256,
        etag=part.etag,
        crc64=part.crc64,
    )


def _copied(each: CopiedObject, part: SentPart) -> CopiedPart:
    return CopiedPart(copy_id=each.copy_id, ordinal=each.ordinal, **asdict(part))
