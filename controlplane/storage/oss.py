"""OssStore: objects in a bucket of Alibaba Cloud OSS (alibabacloud_oss_v2).

The SDK checks the CRC-64 of what it uploads but not of what it streams down, so downloads of whole objects are checked
here. `is_bucket_exist` is never asked: it answers True to most errors. A list that was read as empty because the
answer was not OSS's (an XML namespace is enough) is told apart by the missing name of the bucket.
"""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from functools import cached_property
from typing import Any, BinaryIO, Final

from controlplane.domain.errors import NotFound, Rejected, Transient
from controlplane.storage.base import (
    Limits,
    ObjectInfo,
    OpenUpload,
    Part,
    PartReceipt,
    Place,
    ServerSide,
    UploadId,
    Verb,
    check_key,
    check_range,
)
from controlplane.storage.checksums import Crc64, start
from controlplane.storage.oss_errors import BeyondEnd, translated
from controlplane.storage.parted import PART_BYTES, put_in_parts
from controlplane.storage.streams import PIECE_BYTES, checked, exactly, stream

SMALLEST_PART_BYTES: Final = 100 * 1024
MOST_PARTS: Final = 10_000

Sdk = Any
"""The SDK ships no types; what is read from its models is checked by its use."""


class OssStore:
    """Shared by threads. The SDK is imported by the first call."""

    limits = Limits(smallest_part_bytes=SMALLEST_PART_BYTES, most_parts=MOST_PARTS, crc64=Crc64.ECMA)

    def __init__(self, place: Place) -> None:
        """Raises `Rejected` for a customer's key: OSS takes none."""
        if place.encryption and place.encryption.by is ServerSide.CUSTOMER:
            raise Rejected("OSS keeps no objects under a key of the customer's; encrypt before the upload")
        self._place = place

    def __repr__(self) -> str:
        return f"OssStore(bucket={self._place.bucket!r}, endpoint={self._place.endpoint!r})"

    def close(self) -> None:
        """Ends kept-alive connections; the next call opens new ones."""
        for name in ("_client", "_client_once"):
            if client := self.__dict__.pop(name, None):
                client._client._options.http_client.close()  # noqa: SLF001 - the SDK's client offers no way

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        check_key(key)
        whole = exactly(data, PART_BYTES)
        if len(whole) == PART_BYTES:
            return put_in_parts(self, key, whole, data, if_absent=if_absent)
        md5 = hashlib.md5(whole, usedforsecurity=False).digest()
        condition: dict[str, Any] = {"forbid_overwrite": True} if if_absent else {}
        self._call(
            "put_object",
            "PutObject",
            key,
            repeatable=not if_absent,
            body=whole,
            content_md5=base64.b64encode(md5).decode(),
            **condition,
            **self._encryption,
        )
        return len(whole)

    def get(self, key: str) -> BinaryIO:
        return self._open(key, {})

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        check_range(offset, length)
        condition = {"if_match": f'"{if_match}"'} if if_match is not None else {}
        asked = {"range_header": f"bytes={offset}-{offset + length - 1}", "range_behavior": "standard"}
        try:
            # Without the behaviour, OSS answers a range beyond the end with the whole object.
            return self._open(key, {**asked, **condition})
        except BeyondEnd:
            return io.BytesIO()

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        answer = self._call("head_object", "HeadObject", key)
        return ObjectInfo(
            key=key,
            size_bytes=answer.content_length,
            etag=_bare(answer.etag),
            modified_at=answer.last_modified.astimezone(UTC),
            version=answer.version_id,
            crc64=_crc(answer),
        )

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        for info in self.entries(prefix):
            yield info.key

    def entries(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        asked: dict[str, Any] = {"prefix": prefix, "encoding_type": "url", "max_keys": 1000}
        if after:
            asked["start_after"] = after
        while True:
            answer = self._call("list_objects_v2", "ListObjectsV2", **asked)
            self._check_ours(answer.name)
            for entry in answer.contents or ():
                yield ObjectInfo(
                    key=entry.key,
                    size_bytes=entry.size,
                    etag=_bare(entry.etag),
                    modified_at=entry.last_modified.astimezone(UTC),
                )
            if not answer.is_truncated:
                return
            asked["continuation_token"] = answer.next_continuation_token

    def delete(self, key: str) -> None:
        check_key(key)
        self._call("delete_object", "DeleteObject", key)

    def begin_parts(self, key: str) -> UploadId:
        check_key(key)
        answer = self._call("initiate_multipart_upload", "InitiateMultipartUpload", key, **self._encryption)
        if not answer.upload_id:
            raise Transient(f"{self._place.bucket}/{key}: the answer to a new upload holds no id")
        return UploadId(answer.upload_id)

    def put_part(self, key: str, upload_id: UploadId, part: Part) -> PartReceipt:
        part.data.seek(0)
        answer = self._call(
            "upload_part",
            "UploadPart",
            key,
            upload_id=upload_id,
            part_number=part.number,
            body=part.data,
            content_length=part.size_bytes,
            content_md5=base64.b64encode(part.md5).decode(),
        )
        return PartReceipt(
            number=part.number, size_bytes=part.size_bytes, etag=_bare(answer.etag), crc64=_crc(answer)
        )

    def list_parts(self, key: str, upload_id: UploadId) -> Sequence[PartReceipt]:
        receipts: list[PartReceipt] = []
        asked: dict[str, Any] = {"upload_id": upload_id, "max_parts": 1000}
        while True:
            answer = self._call("list_parts", "ListParts", key, **asked)
            self._check_ours(answer.bucket)
            receipts += [
                PartReceipt(
                    number=part.part_number, size_bytes=part.size, etag=_bare(part.etag), crc64=_crc(part)
                )
                for part in answer.parts or ()
            ]
            if not answer.is_truncated:
                return tuple(receipts)
            asked["part_number_marker"] = answer.next_part_number_marker

    def complete_parts(
        self, key: str, upload_id: UploadId, parts: Sequence[PartReceipt], *, if_absent: bool = False
    ) -> ObjectInfo:
        models = self._sdk.models
        named = [models.UploadPart(part_number=part.number, etag=f'"{part.etag}"') for part in parts]
        condition: dict[str, Any] = {"forbid_overwrite": True} if if_absent else {}
        self._call(
            "complete_multipart_upload",
            "CompleteMultipartUpload",
            key,
            repeatable=False,
            upload_id=upload_id,
            complete_multipart_upload=models.CompleteMultipartUpload(parts=named),
            **condition,
        )
        return self.head(key)

    def abort_parts(self, key: str, upload_id: UploadId) -> None:
        try:
            self._call("abort_multipart_upload", "AbortMultipartUpload", key, upload_id=upload_id)
        except NotFound:
            return

    def list_uploads(self, prefix: str) -> Iterator[OpenUpload]:
        asked: dict[str, Any] = {"prefix": prefix, "encoding_type": "url", "max_uploads": 1000}
        while True:
            answer = self._call("list_multipart_uploads", "ListMultipartUploads", **asked)
            self._check_ours(answer.bucket)
            for upload in answer.uploads or ():
                yield OpenUpload(
                    key=upload.key,
                    upload_id=UploadId(upload.upload_id),
                    begun_at=upload.initiated.astimezone(UTC),
                )
            if not answer.is_truncated:
                return
            asked |= {
                "key_marker": answer.next_key_marker,
                "upload_id_marker": answer.next_upload_id_marker,
            }

    def presign(self, key: str, verb: Verb, expires: timedelta) -> str:
        check_key(key)
        name = "GetObjectRequest" if verb is Verb.GET else "PutObjectRequest"
        request = getattr(self._sdk, name)(bucket=self._place.bucket, key=key)
        with translated(f"{self._place.bucket}/{key}", repeatable=True):
            url: str = self._client.presign(request, expires=expires).url
        return url

    def _open(self, key: str, asked: Mapping[str, Any]) -> BinaryIO:
        check_key(key)
        answer = self._call("get_object", "GetObject", key, **asked)
        crc = None if asked else _crc(answer)
        what = f"{self._place.bucket}/{key}"
        pieces = checked(
            _pieces(answer.body, what),
            what,
            answer.content_length,
            (start(Crc64.ECMA), crc) if crc is not None else None,
        )
        return stream(pieces, answer.body.close)

    def _call(
        self,
        operation: str,
        request: str,
        key: str | None = None,
        *,
        repeatable: bool = True,
        **asked: Sdk,
    ) -> Sdk:
        named = {"bucket": self._place.bucket, **({"key": key} if key is not None else {})}
        what = self._place.bucket if key is None else f"{self._place.bucket}/{key}"
        client = self._client if repeatable else self._client_once
        with translated(what, repeatable=repeatable):
            return getattr(client, operation)(getattr(self._sdk, f"{request}Request")(**named, **asked))

    def _check_ours(self, bucket: str | None) -> None:
        if bucket != self._place.bucket:
            raise Transient(f"{self._place.bucket}: the answer to a list names the bucket {bucket!r}")

    @property
    def _encryption(self) -> dict[str, Any]:
        encryption = self._place.encryption
        if encryption is None:
            return {}
        if encryption.by is ServerSide.STORE:
            return {"server_side_encryption": "AES256"}
        key = {"server_side_encryption_key_id": encryption.key_id} if encryption.key_id else {}
        return {"server_side_encryption": "KMS", **key}

    @cached_property
    def _sdk(self) -> Sdk:
        import alibabacloud_oss_v2  # noqa: PLC0415 - 2 s that only users of OSS pay

        return alibabacloud_oss_v2

    @cached_property
    def _client(self) -> Sdk:
        return self._dial(self._place.attempts)

    @cached_property
    def _client_once(self) -> Sdk:
        """For what may not be done twice: a retry would meet its own deed and call it a conflict."""
        return self._dial(1)

    def _dial(self, attempts: int) -> Sdk:
        oss, place = self._sdk, self._place
        config = oss.config.load_default()
        config.region = place.region
        config.endpoint = place.endpoint
        config.use_path_style = place.endpoint is not None and "aliyuncs.com" not in place.endpoint
        config.credentials_provider = self._credentials()
        config.retry_max_attempts = attempts
        config.connect_timeout = place.connect_seconds
        config.readwrite_timeout = place.answer_seconds
        # Parts carry Content-MD5, and their receipts' CRC-64 is compared by whoever sent them: one pass is enough.
        config.disable_upload_crc64_check = True
        return oss.Client(config)

    def _credentials(self) -> Sdk:
        known = self._place.credentials
        if known is None:
            return self._sdk.credentials.EnvironmentVariableCredentialsProvider()
        return self._sdk.credentials.StaticCredentialsProvider(
            known.access_key_id, known.secret, known.session_token
        )


def _pieces(body: Sdk, what: str) -> Iterator[bytes]:
    with translated(what, repeatable=True):
        yield from body.iter_bytes(block_size=PIECE_BYTES)


def _crc(answer: Sdk) -> int | None:
    text = getattr(answer, "hash_crc64", None)
    return int(text) if text else None


def _bare(etag: str) -> str:
    return etag.strip('"')
