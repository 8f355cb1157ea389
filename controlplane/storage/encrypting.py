"""EncryptingObjects: objects that leave this process as ciphertext, over any store.

Each object has its own data key, wrapped by the master key (`secrets.Sealer`) in a header of fixed size. The content
is sealed in chunks with AES-256-GCM; the nonce of a chunk counts, and its last byte marks the last chunk (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizar, 2015), so chunks cannot be cut off, swapped or left out, while
a range costs only the chunks that it touches. The header is associated data of every chunk. An object may be moved or
copied as it is: its key is no part of what is authenticated.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controlplane.domain.ids import SecretId
from controlplane.secrets.sealer import Envelope, Sealer, Unsealable
from controlplane.storage.base import ObjectInfo, Objects, check_range
from controlplane.storage.streams import exactly, from_pieces, stream

MAGIC: Final = b"crossdock-sealed-1\n"
HEADER_BYTES: Final = 1024
CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
COUNTER_BYTES: Final = 11
SEALED_CHUNK: Final = CHUNK_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptingObjects:
    """Reads raise `Unsealable` under another master key, and for what was changed, reordered or cut."""

    inner: Objects
    sealer: Sealer

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        """Returns the size as it is stored."""
        return self.inner.put(key, from_pieces(self._sealed(data)), if_absent=if_absent)

    def get(self, key: str) -> BinaryIO:
        file = self.inner.get(key)
        return stream(self._plain(key, file), file.close)

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        check_range(offset, length)
        # One version throughout: the header of one and chunks of another would not open anyway.
        info = self.inner.head(key)
        pin = if_match if if_match is not None else info.etag
        with self.inner.read(key, 0, HEADER_BYTES, if_match=pin) as file:
            opener = self._opener(key, exactly(file, HEADER_BYTES))
        chunks = _chunks_of(info.size_bytes)
        end = min(offset + length, _plain_size(info.size_bytes))
        if offset >= end:
            return from_pieces(iter(()))
        first, last = offset // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        start, size_bytes = HEADER_BYTES + first * SEALED_CHUNK, (last + 1 - first) * SEALED_CHUNK
        file = self.inner.read(key, start, size_bytes, if_match=pin)
        pieces = (
            opener.open(number, exactly(file, SEALED_CHUNK), is_last=number == chunks - 1)
            for number in range(first, last + 1)
        )
        return stream(_cut(pieces, offset - first * CHUNK_BYTES, end - offset), file.close)

    def head(self, key: str) -> ObjectInfo:
        return _as_plain(self.inner.head(key))

    def exists(self, key: str) -> bool:
        return self.inner.exists(key)

    def list(self, prefix: str) -> Iterator[str]:
        return self.inner.list(prefix)

    def entries(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        return (_as_plain(info) for info in self.inner.entries(prefix, after=after))

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def _sealed(self, data: BinaryIO) -> Iterator[bytes]:
        data_key = secrets.token_bytes(KEY_BYTES)
        header = _header(self.sealer, data_key)
        sealer = _Chunks(what="", aead=AESGCM(data_key), header=header)
        yield header
        number, chunk = 0, exactly(data, CHUNK_BYTES)
        while following := exactly(data, CHUNK_BYTES) if len(chunk) == CHUNK_BYTES else b"":
            yield sealer.seal(number, chunk, is_last=False)
            number, chunk = number + 1, following
        yield sealer.seal(number, chunk, is_last=True)

    def _plain(self, key: str, file: BinaryIO) -> Iterator[bytes]:
        opener = self._opener(key, exactly(file, HEADER_BYTES))
        number, chunk = 0, exactly(file, SEALED_CHUNK)
        while following := exactly(file, SEALED_CHUNK):
            yield opener.open(number, chunk, is_last=False)
            number, chunk = number + 1, following
        yield opener.open(number, chunk, is_last=True)

    def _opener(self, key: str, header: bytes) -> "_Chunks":
        try:
            if not header.startswith(MAGIC) or len(header) != HEADER_BYTES:
                raise Unsealable(f"{key} does not begin as a sealed object does")
            fields = json.loads(header[len(MAGIC) :])
            envelope = Envelope(
                key_id=fields["key_id"],
                wrapped_key=base64.b64decode(fields["wrapped_key"]),
                nonce=base64.b64decode(fields["nonce"]),
                ciphertext=base64.b64decode(fields["data_key"]),
            )
            data_key = self.sealer.unseal(SecretId(fields["id"]), envelope)
        except (ValueError, KeyError, TypeError) as error:
            raise Unsealable(f"{key} has a header that cannot be read") from error
        return _Chunks(what=key, aead=AESGCM(data_key), header=header)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunks:
    what: str
    aead: AESGCM = field(repr=False)
    header: bytes = field(repr=False)

    def seal(self, number: int, plain: bytes, *, is_last: bool) -> bytes:
        return self.aead.encrypt(_nonce(number, is_last=is_last), plain, self._associated)

    def open(self, number: int, sealed: bytes, *, is_last: bool) -> bytes:
        try:
            return self.aead.decrypt(_nonce(number, is_last=is_last), sealed, self._associated)
        except InvalidTag as error:
            raise Unsealable(
                f"chunk {number} of {self.what} was changed or cut since it was sealed"
            ) from error

    @property
    def _associated(self) -> bytes:
        return hashlib.sha256(self.header).digest()


def _header(sealer: Sealer, data_key: bytes) -> bytes:
    object_id = SecretId(secrets.token_hex(16))
    envelope = sealer.seal(object_id, data_key)
    fields = {
        "id": object_id,
        "key_id": envelope.key_id,
        "wrapped_key": base64.b64encode(envelope.wrapped_key).decode(),
        "nonce": base64.b64encode(envelope.nonce).decode(),
        "data_key": base64.b64encode(envelope.ciphertext).decode(),
    }
    return (MAGIC + json.dumps(fields).encode()).ljust(HEADER_BYTES)


def _nonce(number: int, *, is_last: bool) -> bytes:
    """The data key seals one object alone, so a counter never repeats under it."""
    return number.to_bytes(COUNTER_BYTES, "big") + bytes([is_last])


def _chunks_of(stored_bytes: int) -> int:
    return max(1, -(-(stored_bytes - HEADER_BYTES) // SEALED_CHUNK))


def _plain_size(stored_bytes: int) -> int:
    return max(0, stored_bytes - HEADER_BYTES - TAG_BYTES * _chunks_of(stored_bytes))


def _as_plain(info: ObjectInfo) -> ObjectInfo:
    """The store's checksum is of the ciphertext."""
    return replace(info, size_bytes=_plain_size(info.size_bytes), crc64=None)


def _cut(pieces: Iterator[bytes], skip: int, length: int) -> Iterator[bytes]:
    for piece in pieces:
        kept = piece[skip : skip + length]
        skip, length = 0, length - len(kept)
        yield kept
