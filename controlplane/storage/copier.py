"""Copies one object from any store to any other, in parts that survive the copier.

The source is pinned by its etag, so no part of another version gets in. Each part is read once and hashed on its way
(SHA-256 for our table, MD5 for the store's own check, CRC-64 in the target's form), and its receipt is compared. What
is sent is what the caller keeps (`keep`); after a crash the parts that both the target and the caller know are not
sent again. The object appears at once and whole, and its size and combined checksum are compared before it counts.

Memory is `IN_FLIGHT` buffers of at most `BUFFER_BYTES`; larger parts go through files.
"""

import hashlib
import io
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from controlplane.domain.errors import Ambiguous, NotFound, Rejected, Transient
from controlplane.storage.base import (
    Limits,
    ObjectInfo,
    Objects,
    ObjectStore,
    Part,
    PartReceipt,
    UploadId,
)
from controlplane.storage.checksums import Digest, combine, start
from controlplane.storage.pace import Pace
from controlplane.storage.streams import pieces_of

PART_BYTES: Final = 32 * 1024**2
MOST_PARTS: Final = 9000
"""Fewer than any store allows, so that a size told a little too small does not hit the limit."""

BUFFER_BYTES: Final = PART_BYTES
IN_FLIGHT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """How an object is cut."""

    size_bytes: int
    part_bytes: int

    @property
    def numbers(self) -> range:
        return range(1, -(-self.size_bytes // self.part_bytes) + 1)

    def extent(self, number: int) -> tuple[int, int]:
        """Offset and length."""
        offset = (number - 1) * self.part_bytes
        return offset, min(self.part_bytes, self.size_bytes - offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPart:
    """A part that the target has confirmed."""

    number: int
    size_bytes: int
    sha256: str
    etag: str
    crc64: int | None = None
    """In the target's form."""

    @property
    def receipt(self) -> PartReceipt:
        return PartReceipt(number=self.number, size_bytes=self.size_bytes, etag=self.etag, crc64=self.crc64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One object on its way."""

    source: Objects
    source_key: str
    source_etag: str
    target: ObjectStore
    target_key: str
    upload_id: UploadId
    plan: PartPlan


def plan(size_bytes: int, limits: Limits, *, part_bytes: int = PART_BYTES) -> PartPlan:
    """Raises `Rejected` for what does not fit into the target's parts."""
    wanted = max(part_bytes, limits.smallest_part_bytes, -(-size_bytes // MOST_PARTS))
    planned = PartPlan(size_bytes=size_bytes, part_bytes=wanted)
    if len(planned.numbers) > limits.most_parts:
        raise Rejected(f"{len(planned.numbers)} parts, the store takes {limits.most_parts}")
    return planned


def arrived(transfer: Transfer, known: Mapping[int, SentPart]) -> dict[int, SentPart]:
    """The parts that need not be sent again: the target holds what we wrote down. Raises `NotFound` with the upload."""
    held = {
        receipt.number: receipt
        for receipt in transfer.target.list_parts(transfer.target_key, transfer.upload_id)
    }
    return {
        number: part
        for number, part in known.items()
        if (receipt := held.get(number)) is not None
        and (receipt.etag, receipt.size_bytes) == (part.etag, part.size_bytes)
    }


def send_parts(
    transfer: Transfer,
    numbers: Sequence[int],
    *,
    keep: Callable[[SentPart], None],
    goes_on: Callable[[], bool],
    pace: Pace,
) -> None:
    """Sends until all are sent or `goes_on` says no. `keep` is called for each in this thread, as it is confirmed.

    The first error ends it, once the parts that are under way have been kept.
    """
    buffers = _Buffers(transfer.plan.part_bytes)
    waiting = list(reversed(numbers))
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="part") as pool:
        under_way: set[Future[SentPart]] = set()
        problem: BaseException | None = None
        while under_way or (waiting and problem is None and goes_on()):
            while waiting and problem is None and len(under_way) < IN_FLIGHT and goes_on():
                under_way.add(pool.submit(_send, transfer, waiting.pop(), buffers, pace))
            over, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for sent in over:
                problem = problem or sent.exception()
                if sent.exception() is None:
                    keep(sent.result())
    if problem is not None:
        raise problem


def complete(transfer: Transfer, parts: Mapping[int, SentPart]) -> ObjectInfo:
    """Makes the object and compares it with what was sent. A lost answer is looked into.

    Raises `Transient` if nobody knows yet, `Rejected` if what is there now is something else: then it is taken away
    again, if it is still what this call made.
    """
    ordered = [parts[number] for number in transfer.plan.numbers]
    try:
        info = transfer.target.complete_parts(
            transfer.target_key, transfer.upload_id, [part.receipt for part in ordered]
        )
    except (Ambiguous, NotFound):
        found = made_already(transfer, parts)
        if found is None:
            raise
        return found
    if not _is_whole(transfer, ordered, info):
        if transfer.target.head(transfer.target_key).etag == info.etag:
            transfer.target.delete(transfer.target_key)
        raise Rejected(f"{transfer.target_key} is not what was sent; it was taken away again")
    return info


def made_already(transfer: Transfer, parts: Mapping[int, SentPart]) -> ObjectInfo | None:
    """The object at the target, if it is the one that these parts make."""
    if set(parts) != set(transfer.plan.numbers):
        return None
    try:
        info = transfer.target.head(transfer.target_key)
    except NotFound:
        return None
    ordered = [parts[number] for number in transfer.plan.numbers]
    if not _is_whole(transfer, ordered, info):
        return None
    # Without a checksum of the store's own, the size alone proves nothing.
    return info if info.crc64 is not None or reread(transfer, ordered, info.etag) else None


def reread(transfer: Transfer, parts: Sequence[SentPart], etag: str) -> bool:
    """Reads the target back, and tells whether every part is what was sent."""
    for part in parts:
        offset, length = transfer.plan.extent(part.number)
        sha256 = hashlib.sha256()
        with transfer.target.read(transfer.target_key, offset, length, if_match=etag) as file:
            for piece in pieces_of(file):
                sha256.update(piece)
        if sha256.hexdigest() != part.sha256:
            return False
    return True


def _is_whole(transfer: Transfer, parts: Sequence[SentPart], info: ObjectInfo) -> bool:
    form = transfer.target.limits.crc64
    if info.size_bytes != transfer.plan.size_bytes:
        return False
    if form is None or info.crc64 is None:
        return True
    return info.crc64 == combine(form, [(part.crc64 or 0, part.size_bytes) for part in parts])


def _send(transfer: Transfer, number: int, buffers: "_Buffers", pace: Pace) -> SentPart:
    offset, length = transfer.plan.extent(number)
    form = transfer.target.limits.crc64
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    crc64: Digest | None = start(form) if form else None
    with buffers.one() as buffer:
        with transfer.source.read(transfer.source_key, offset, length, if_match=transfer.source_etag) as file:
            for piece in pieces_of(file):
                pace.take(len(piece))
                buffer.write(piece)
                sha256.update(piece)
                md5.update(piece)
                if crc64:
                    crc64.update(piece)
        buffer.truncate()
        if buffer.tell() != length:
            raise Transient(f"{transfer.source_key}: {buffer.tell()} of {length} bytes came of part {number}")
        crc = crc64.value if crc64 else None
        part = Part(number=number, data=buffer, size_bytes=length, md5=md5.digest(), crc64=crc)
        receipt = transfer.target.put_part(transfer.target_key, transfer.upload_id, part)
    if receipt.size_bytes != length or (receipt.crc64 is not None and receipt.crc64 != crc):
        raise Transient(f"{transfer.target_key}: the store does not hold part {number} as it was sent")
    return SentPart(number=number, size_bytes=length, sha256=sha256.hexdigest(), etag=receipt.etag, crc64=crc)


class _Buffers:
    """Used again and again, so that memory does not depend on how many parts there are."""

    def __init__(self, part_bytes: int) -> None:
        self._in_memory = part_bytes <= BUFFER_BYTES
        self._free: list[io.BytesIO] = []
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[BinaryIO]:
        if not self._in_memory:
            with tempfile.TemporaryFile() as file:
                yield cast("BinaryIO", file)
            return
        with self._lock:
            buffer = self._free.pop() if self._free else io.BytesIO()
        buffer.seek(0)
        try:
            yield buffer
        finally:
            with self._lock:
                self._free.append(buffer)
