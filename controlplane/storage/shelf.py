"""A shelf of buckets on disk: objects, uploads and their checksums. What our S3 and our OSS server share.

Bytes stream to files and stay there; only the index is in memory, so an object may be larger than that. An object
made of parts is read from the files of its parts. Nothing outlives the server.
"""

import hashlib
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from controlplane.storage.checksums import Crc64, combine, start

PIECE_BYTES: Final = 256 * 1024
MOST_PARTS: Final = 10_000


class Refusal(Exception):
    """What the protocol answers instead: its code, the HTTP code and a sentence."""

    def __init__(self, http_code: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.http_code = http_code
        self.code = code


class Adds(Protocol):
    def update(self, data: bytes, /) -> object: ...


class Crc32:
    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes, /) -> None:
        self.value = zlib.crc32(data, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes as they arrived, and what they sum up to."""

    path: Path
    size_bytes: int
    md5: bytes
    sums: Mapping[str, bytes]
    """By name: sha256, crc32, crc64ecma, crc64nvme; those that were asked for."""

    def crc64(self, form: Crc64) -> int | None:
        return int.from_bytes(self.sums[form], "big") if form in self.sums else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    key: str
    segments: tuple[Body, ...]
    etag: str
    modified_at: datetime
    headers: Mapping[str, str]
    """Sent back as they came: content type, metadata, encryption."""

    sealed_with: str | None = None
    """MD5 of the customer's key."""

    crc64: Mapping[Crc64, int] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self.segments)


@dataclass(slots=True, kw_only=True)
class Upload:
    id: str
    bucket: str
    key: str
    begun_at: datetime
    headers: Mapping[str, str]
    sealed_with: str | None
    parts: dict[int, Body] = field(default_factory=dict)
    times: dict[int, datetime] = field(default_factory=dict)


Allow = Callable[[Stored | None], None]
"""Sees what the key holds, under the shelf's lock, and raises the `Refusal` of a condition that does not hold."""


def anything(_: Stored | None) -> None:
    """No condition."""


class Shelf:
    """Shared by threads."""

    def __init__(self, root: Path, *, smallest_part_bytes: int, now: Callable[[], datetime]) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._smallest_part_bytes = smallest_part_bytes
        self._now = now
        self._buckets: dict[str, dict[str, Stored]] = {}
        self._uploads: dict[str, Upload] = {}
        self._numbers = count(1)
        self._lock = threading.RLock()

    def receive(self, pieces: Iterable[bytes], algorithms: Iterable[str]) -> Body:
        path = self._root / f"{next(self._numbers)}"
        digests = {name: _digest(name) for name in algorithms}
        md5, size_bytes = hashlib.md5(usedforsecurity=False), 0
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                    size_bytes += len(piece)
                    md5.update(piece)
                    for digest in digests.values():
                        digest.update(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        sums = {name: _value(digest) for name, digest in digests.items()}
        return Body(path=path, size_bytes=size_bytes, md5=md5.digest(), sums=sums)

    def spoil(self, body: Body, at_byte: int) -> Body:
        """The bytes rot after they were accepted; the shelf's sums are of what it holds."""
        data = bytearray(body.path.read_bytes())
        data[at_byte % len(data)] ^= 1
        body.path.unlink()
        return self.receive([bytes(data)], body.sums)

    def discard(self, body: Body) -> None:
        body.path.unlink(missing_ok=True)

    def make(self, bucket: str) -> None:
        with self._lock:
            self._buckets.setdefault(bucket, {})

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._buckets))

    def keep(self, bucket: str, stored: Stored, allow: Allow = anything) -> Stored:
        with self._lock:
            objects = self._bucket(bucket)
            try:
                allow(objects.get(stored.key))
            except Refusal:
                self._drop(stored)
                raise
            self._drop(objects.get(stored.key))
            objects[stored.key] = replace(stored, modified_at=self._now())
            return objects[stored.key]

    def find(self, bucket: str, key: str) -> Stored:
        with self._lock:
            stored = self._bucket(bucket).get(key)
        if stored is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return stored

    def remove(self, bucket: str, key: str) -> None:
        with self._lock:
            self._drop(self._bucket(bucket).pop(key, None))

    def page(self, bucket: str, prefix: str, after: str, most: int) -> tuple[Sequence[Stored], bool]:
        """Objects beyond `after` in order of their keys' UTF-8, and whether there are more."""
        with self._lock:
            found = [
                stored
                for key, stored in self._bucket(bucket).items()
                if key.startswith(prefix) and key.encode() > after.encode()
            ]
        found.sort(key=lambda stored: stored.key.encode())
        return found[:most], len(found) > most

    def begin(self, bucket: str, key: str, headers: Mapping[str, str], sealed_with: str | None) -> Upload:
        with self._lock:
            self._bucket(bucket)
            upload = Upload(
                id=f"upload-{next(self._numbers):06d}",
                bucket=bucket,
                key=key,
                begun_at=self._now(),
                headers=headers,
                sealed_with=sealed_with,
            )
            self._uploads[upload.id] = upload
            return upload

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        with self._lock:
            upload = self._uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise Refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload

    def keep_part(self, upload: Upload, number: int, body: Body) -> None:
        with self._lock:
            if upload.id not in self._uploads:
                self.discard(body)
                raise Refusal(404, "NoSuchUpload", "The specified upload does not exist.")
            older = upload.parts.get(number)
            upload.parts[number] = body
            upload.times[number] = self._now()
        if older:
            self.discard(older)

    def complete(
        self,
        upload: Upload,
        named: Sequence[tuple[int, str]],
        allow: Allow = anything,
        expected: Mapping[Crc64, int] = MappingProxyType({}),
    ) -> Stored:
        """`named` are numbers and etags, as the client lists them; `expected` is what the whole must sum up to."""
        with self._lock:
            self.upload(upload.bucket, upload.key, upload.id)
            segments = self._segments(upload, named)
            combined = _combined(segments)
            if any(combined.get(form) != crc for form, crc in expected.items()):
                raise Refusal(400, "BadDigest", "The checksum you specified is not that of the parts.")
            allow(self._bucket(upload.bucket).get(upload.key))
            whole = hashlib.md5(b"".join(part.md5 for part in segments), usedforsecurity=False)
            stored = Stored(
                key=upload.key,
                segments=tuple(segments),
                etag=f"{whole.hexdigest()}-{len(segments)}",
                modified_at=self._now(),
                headers=upload.headers,
                sealed_with=upload.sealed_with,
                crc64=combined,
            )
            del self._uploads[upload.id]
            for number, body in upload.parts.items():
                if number not in dict(named):
                    self.discard(body)
            return self.keep(upload.bucket, stored)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        with self._lock:
            upload = self.upload(bucket, key, upload_id)
            del self._uploads[upload_id]
        for body in upload.parts.values():
            self.discard(body)

    def uploads(
        self, bucket: str, prefix: str, after: tuple[str, str], most: int
    ) -> tuple[Sequence[Upload], bool]:
        """Uploads beyond (key, id) in that order, and whether there are more."""
        with self._lock:
            self._bucket(bucket)
            found = [
                upload
                for upload in self._uploads.values()
                if upload.bucket == bucket
                and upload.key.startswith(prefix)
                and (upload.key, upload.id) > after
            ]
        found.sort(key=lambda upload: (upload.key, upload.id))
        return found[:most], len(found) > most

    def _bucket(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self._buckets:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        return self._buckets[bucket]

    def _segments(self, upload: Upload, named: Sequence[tuple[int, str]]) -> list[Body]:
        numbers = [number for number, _ in named]
        if not numbers:
            raise Refusal(400, "MalformedXML", "No parts are listed.")
        if numbers != sorted(set(numbers)):
            raise Refusal(400, "InvalidPartOrder", "The parts are not in ascending order.")
        for number, etag in named:
            held = upload.parts.get(number)
            if held is None or held.md5.hex() != etag.lower():
                raise Refusal(400, "InvalidPart", f"Part {number} is absent or its etag differs.")
        segments = [upload.parts[number] for number in numbers]
        if any(body.size_bytes < self._smallest_part_bytes for body in segments[:-1]):
            raise Refusal(400, "EntityTooSmall", "A part is smaller than the smallest that is allowed.")
        return segments

    def _drop(self, stored: Stored | None) -> None:
        for segment in stored.segments if stored else ():
            self.discard(segment)


def pieces_of(stored: Stored, first: int, length: int) -> Iterator[bytes]:
    """Bytes `first` to `first + length` of the object."""
    for segment in stored.segments:
        if not length:
            return
        if first >= segment.size_bytes:
            first -= segment.size_bytes
            continue
        with segment.path.open("rb") as file:
            file.seek(first)
            while length and (piece := file.read(min(length, PIECE_BYTES))):
                length -= len(piece)
                yield piece
        first = 0


def check_part_number(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_PARTS:
        raise Refusal(400, "InvalidArgument", f"Part number must be an integer from 1 to {MOST_PARTS}.")
    return int(text)


def _combined(segments: Sequence[Body]) -> Mapping[Crc64, int]:
    combined = {}
    for form in Crc64:
        known = [(crc, body.size_bytes) for body in segments if (crc := body.crc64(form)) is not None]
        if len(known) == len(segments):
            combined[form] = combine(form, known)
    return combined


def _digest(name: str) -> Adds:
    if name == "crc32":
        return Crc32()
    if name in set(Crc64):
        return start(Crc64(name))
    return hashlib.new(name, usedforsecurity=False)


def _value(digest: Adds) -> bytes:
    match digest:
        case Crc32(value=value):
            return value.to_bytes(4, "big")
        case _ if hasattr(digest, "digest"):
            return bytes(digest.digest())
        case _:
            return int(digest.value).to_bytes(8, "big")  # type: ignore[attr-defined]
