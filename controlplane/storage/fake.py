"""An object store in memory, with the vices of a real one: it loses answers after the deed, and goes away."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import BinaryIO, Final, TypeVar

from controlplane.domain.errors import Ambiguous, Conflict, NotFound, Rejected, Transient
from controlplane.storage.base import (
    Limits,
    ObjectInfo,
    OpenUpload,
    Part,
    PartReceipt,
    UploadId,
    check_key,
    check_range,
)
from controlplane.storage.checksums import Crc64, of

T = TypeVar("T")

LIMITS: Final = Limits(smallest_part_bytes=1, most_parts=10_000, crc64=Crc64.ECMA)
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Upload:
    key: str
    begun_at: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class FakeStore:
    """All vices are off at first."""

    is_away: bool = False
    lost_answers: int = 0
    """So many deeds are done and not answered: `Transient`, or `Ambiguous` where doing it twice would differ."""

    flipped_parts: int = 0
    """So many parts are stored with a wrong bit that the store's own checksum tells."""

    objects: dict[str, bytes] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: BEGINNING
    limits: Limits = LIMITS
    _times: dict[str, datetime] = field(default_factory=dict)
    _uploads: dict[UploadId, _Upload] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        check_key(key)
        whole = data.read()

        def deed() -> int:
            if if_absent and key in self.objects:
                raise Conflict(f"{key} exists")
            self._keep(key, whole)
            return len(whole)

        return self._answer(deed, repeatable=not if_absent)

    def replace(self, key: str, data: BinaryIO, *, if_match: str) -> int:
        check_key(key)
        whole = data.read()

        def deed() -> int:
            if key not in self.objects or _etag(self.objects[key]) != if_match:
                raise Conflict(f"{key} is no longer {if_match}")
            self._keep(key, whole)
            return len(whole)

        return self._answer(deed, repeatable=False)

    def get(self, key: str) -> BinaryIO:
        return io.BytesIO(self._whole(key))

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        check_range(offset, length)
        whole = self._whole(key)
        if if_match is not None and _etag(whole) != if_match:
            raise Conflict(f"{key} is no longer {if_match}")
        return io.BytesIO(whole[offset : offset + length])

    def head(self, key: str) -> ObjectInfo:
        whole = self._whole(key)
        return ObjectInfo(
            key=key,
            size_bytes=len(whole),
            etag=_etag(whole),
            modified_at=self._times.get(key, BEGINNING),
            crc64=of(Crc64.ECMA, whole),
        )

    def exists(self, key: str) -> bool:
        self._check_there()
        return key in self.objects

    def list(self, prefix: str) -> Iterator[str]:
        self._check_there()
        yield from sorted(key for key in self.objects if key.startswith(prefix))

    def entries(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        for key in self.list(prefix):
            if key > after:
                yield ObjectInfo(
                    key=key,
                    size_bytes=len(self.objects[key]),
                    etag=_etag(self.objects[key]),
                    modified_at=self._times.get(key, BEGINNING),
                )

    def delete(self, key: str) -> None:
        def deed() -> None:
            self.objects.pop(key, None)
            self._times.pop(key, None)

        self._answer(deed)

    def begin_parts(self, key: str) -> UploadId:
        check_key(key)
        upload_id = UploadId(f"upload-{next(self._numbers)}")

        def deed() -> UploadId:
            self._uploads[upload_id] = _Upload(key=key, begun_at=self.now())
            return upload_id

        return self._answer(deed)

    def put_part(self, key: str, upload_id: UploadId, part: Part) -> PartReceipt:
        part.data.seek(0)
        data = part.data.read(part.size_bytes)
        if hashlib.md5(data, usedforsecurity=False).digest() != part.md5:
            raise Transient(f"part {part.number} of {key} arrived changed")
        if self.flipped_parts:
            self.flipped_parts -= 1
            data = bytes([data[0] ^ 1]) + data[1:]

        def deed() -> PartReceipt:
            self._upload(key, upload_id).parts[part.number] = data
            return _receipt(part.number, data)

        return self._answer(deed)

    def list_parts(self, key: str, upload_id: UploadId) -> Sequence[PartReceipt]:
        self._check_there()
        parts = self._upload(key, upload_id).parts
        return tuple(_receipt(number, parts[number]) for number in sorted(parts))

    def complete_parts(
        self, key: str, upload_id: UploadId, parts: Sequence[PartReceipt], *, if_absent: bool = False
    ) -> ObjectInfo:
        self._check_there()
        held = self._upload(key, upload_id).parts
        if not parts or any(
            part.number not in held or _etag(held[part.number]) != part.etag for part in parts
        ):
            raise Rejected(f"the parts of {key} are not those that were sent")

        def deed() -> ObjectInfo:
            if if_absent and key in self.objects:
                raise Conflict(f"{key} exists")
            self._keep(key, b"".join(held[part.number] for part in parts))
            del self._uploads[upload_id]
            return self.head(key)

        return self._answer(deed, repeatable=False)

    def abort_parts(self, key: str, upload_id: UploadId) -> None:
        def deed() -> None:
            upload = self._uploads.get(upload_id)
            if upload and upload.key == key:
                del self._uploads[upload_id]

        self._answer(deed)

    def list_uploads(self, prefix: str) -> Iterator[OpenUpload]:
        self._check_there()
        for upload_id, upload in sorted(self._uploads.items()):
            if upload.key.startswith(prefix):
                yield OpenUpload(key=upload.key, upload_id=upload_id, begun_at=upload.begun_at)

    def _keep(self, key: str, whole: bytes) -> None:
        self.objects[key] = whole
        self._times[key] = self.now()

    def _whole(self, key: str) -> bytes:
        self._check_there()
        if key not in self.objects:
            raise NotFound(f"there is no object {key}")
        return self.objects[key]

    def _upload(self, key: str, upload_id: UploadId) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise NotFound(f"there is no upload {upload_id} of {key}")
        return upload

    def _answer(self, deed: Callable[[], T], *, repeatable: bool = True) -> T:
        self._check_there()
        answer = deed()
        if self.lost_answers:
            self.lost_answers -= 1
            lost = Transient if repeatable else Ambiguous
            raise lost("the object store did not answer in time")
        return answer

    def _check_there(self) -> None:
        if self.is_away:
            raise Transient("the object store does not answer")


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _receipt(number: int, data: bytes) -> PartReceipt:
    return PartReceipt(number=number, size_bytes=len(data), etag=_etag(data), crc64=of(Crc64.ECMA, data))
