"""S3Store: objects in a bucket of AWS S3, or of anything that speaks its protocol (boto3).

Integrity does not rest on boto3's own checksums, which other stores refuse: every body carries Content-MD5, which all
check. On AWS itself parts carry CRC-64/NVME as well, and the whole is checked against their combination.
"""

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from functools import cached_property
from typing import Any, BinaryIO, Final

from controlplane.domain.errors import Conflict, NotFound
from controlplane.storage.base import (
    Encryption,
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
from controlplane.storage.checksums import Crc64, as_base64, combine, from_base64, of, start
from controlplane.storage.parted import PART_BYTES, put_in_parts
from controlplane.storage.s3_errors import BeyondEnd, translated
from controlplane.storage.streams import PIECE_BYTES, checked, exactly, stream

SMALLEST_PART_BYTES: Final = 5 * 1024**2
MOST_PARTS: Final = 10_000
AWS: Final = re.compile(r"\.amazonaws\.com(\.cn)?(:\d+)?/?$")

Sdk = Any
"""boto3 makes its classes at run time."""

Answer = dict[str, Any]
"""boto3 gives dictionaries; what is read from one is checked by its use."""


class S3Store:
    """Shared by threads. boto3 is imported by the first call."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._is_aws = place.endpoint is None or bool(AWS.search(place.endpoint))
        self._has_crc64 = self._is_aws if place.has_crc64 is None else place.has_crc64
        self.limits = Limits(
            smallest_part_bytes=SMALLEST_PART_BYTES,
            most_parts=MOST_PARTS,
            crc64=Crc64.NVME if self._has_crc64 else None,
        )

    def __repr__(self) -> str:
        return f"S3Store(bucket={self._place.bucket!r}, endpoint={self._place.endpoint!r})"

    def close(self) -> None:
        """Ends kept-alive connections; the next call opens new ones."""
        for name in ("_client", "_client_once"):
            if client := self.__dict__.pop(name, None):
                client.close()

    def put(self, key: str, data: BinaryIO, *, if_absent: bool = False) -> int:
        check_key(key)
        first = exactly(data, PART_BYTES)
        if len(first) == PART_BYTES:
            return put_in_parts(self, key, first, data, if_absent=if_absent)
        return self._put_whole(key, first, {"IfNoneMatch": "*"} if if_absent else {})

    def replace(self, key: str, data: BinaryIO, *, if_match: str) -> int:
        check_key(key)
        # A condition is met once: the whole goes in one call.
        return self._put_whole(key, data.read(), {"IfMatch": _quoted(if_match)})

    def get(self, key: str) -> BinaryIO:
        return self._open(key, {})

    def read(self, key: str, offset: int, length: int, *, if_match: str | None = None) -> BinaryIO:
        check_range(offset, length)
        condition = {"IfMatch": _quoted(if_match)} if if_match is not None else {}
        try:
            return self._open(key, {"Range": f"bytes={offset}-{offset + length - 1}", **condition})
        except BeyondEnd:
            return io.BytesIO()

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        asked = {"ChecksumMode": "ENABLED"} if self._has_crc64 else {}
        answer = self._call("head_object", key, **asked, **self._key_headers)
        return _info(key, answer)

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
        asked: dict[str, Any] = {"Prefix": prefix, **({"StartAfter": after} if after else {})}
        while True:
            answer = self._call("list_objects_v2", **asked)
            for entry in answer.get("Contents", ()):
                yield ObjectInfo(
                    key=entry["Key"],
                    size_bytes=entry["Size"],
                    etag=_bare(entry["ETag"]),
                    modified_at=entry["LastModified"].astimezone(UTC),
                )
            if not answer.get("IsTruncated"):
                return
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, key: str) -> None:
        check_key(key)
        self._call("delete_object", key)

    def begin_parts(self, key: str) -> UploadId:
        check_key(key)
        whole = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if self._has_crc64 else {}
        answer = self._call("create_multipart_upload", key, **whole, **self._write_headers)
        return UploadId(answer["UploadId"])

    def put_part(self, key: str, upload_id: UploadId, part: Part) -> PartReceipt:
        part.data.seek(0)
        crc = (
            {"ChecksumCRC64NVME": as_base64(part.crc64)} if part.crc64 is not None and self._has_crc64 else {}
        )
        answer = self._call(
            "upload_part",
            key,
            UploadId=upload_id,
            PartNumber=part.number,
            Body=part.data,
            ContentLength=part.size_bytes,
            ContentMD5=base64.b64encode(part.md5).decode(),
            **crc,
            **self._key_headers,
        )
        return PartReceipt(
            number=part.number, size_bytes=part.size_bytes, etag=_bare(answer["ETag"]), crc64=_crc(answer)
        )

    def list_parts(self, key: str, upload_id: UploadId) -> Sequence[PartReceipt]:
        receipts: list[PartReceipt] = []
        asked: dict[str, Any] = {"UploadId": upload_id}
        while True:
            answer = self._call("list_parts", key, **asked)
            receipts += [
                PartReceipt(
                    number=part["PartNumber"],
                    size_bytes=part["Size"],
                    etag=_bare(part["ETag"]),
                    crc64=_crc(part),
                )
                for part in answer.get("Parts", ())
            ]
            if not answer.get("IsTruncated"):
                return tuple(receipts)
            asked["PartNumberMarker"] = answer["NextPartNumberMarker"]

    def complete_parts(
        self, key: str, upload_id: UploadId, parts: Sequence[PartReceipt], *, if_absent: bool = False
    ) -> ObjectInfo:
        # radosgw 16 completes whatever the condition says: there the look before is all there is.
        if if_absent and self.exists(key):
            raise Conflict(f"{self._place.bucket}/{key}: an object is there already")
        self._call_once(
            "complete_multipart_upload",
            key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [self._named(part) for part in parts]},
            **self._whole_checksum(parts),
            **({"IfNoneMatch": "*"} if if_absent else {}),
        )
        return self.head(key)

    def abort_parts(self, key: str, upload_id: UploadId) -> None:
        try:
            self._call("abort_multipart_upload", key, UploadId=upload_id)
        except NotFound:
            return

    def list_uploads(self, prefix: str) -> Iterator[OpenUpload]:
        asked: dict[str, Any] = {"Prefix": prefix}
        while True:
            answer = self._call("list_multipart_uploads", **asked)
            for upload in answer.get("Uploads", ()):
                yield OpenUpload(
                    key=upload["Key"],
                    upload_id=UploadId(upload["UploadId"]),
                    begun_at=upload["Initiated"].astimezone(UTC),
                )
            if not answer.get("IsTruncated"):
                return
            asked |= {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    def presign(self, key: str, verb: Verb, expires: timedelta) -> str:
        check_key(key)
        with translated(f"{self._place.bucket}/{key}", repeatable=True):
            url: str = self._client.generate_presigned_url(
                "get_object" if verb is Verb.GET else "put_object",
                Params={"Bucket": self._place.bucket, "Key": key},
                ExpiresIn=int(expires.total_seconds()),
            )
        return url

    def _put_whole(self, key: str, whole: bytes, condition: Mapping[str, str]) -> int:
        md5 = base64.b64encode(hashlib.md5(whole, usedforsecurity=False).digest()).decode()
        crc = {"ChecksumCRC64NVME": as_base64(of(Crc64.NVME, whole))} if self._has_crc64 else {}
        call = self._call_once if condition else self._call
        call(
            "put_object",
            key,
            Body=io.BytesIO(whole),
            ContentLength=len(whole),
            ContentMD5=md5,
            **crc,
            **condition,
            **self._write_headers,
        )
        return len(whole)

    def _open(self, key: str, asked: Mapping[str, str]) -> BinaryIO:
        check_key(key)
        summed = {"ChecksumMode": "ENABLED"} if self._has_crc64 and not asked else {}
        answer = self._call("get_object", key, **asked, **summed, **self._key_headers)
        crc = _crc(answer) if summed else None
        body, what = answer["Body"], f"{self._place.bucket}/{key}"
        pieces = checked(
            _pieces(body, what),
            what,
            answer["ContentLength"],
            (start(Crc64.NVME), crc) if crc is not None else None,
        )
        return stream(pieces, body.close)

    def _named(self, part: PartReceipt) -> dict[str, object]:
        named: dict[str, object] = {"PartNumber": part.number, "ETag": _quoted(part.etag)}
        if part.crc64 is not None:
            named["ChecksumCRC64NVME"] = as_base64(part.crc64)
        return named

    def _whole_checksum(self, parts: Sequence[PartReceipt]) -> dict[str, object]:
        """The store itself then refuses to complete anything but the bytes that we hashed."""
        known = [(part.crc64, part.size_bytes) for part in parts if part.crc64 is not None]
        if not known or len(known) < len(parts):
            return {}
        whole = as_base64(combine(Crc64.NVME, known))
        return {"ChecksumCRC64NVME": whole, "ChecksumType": "FULL_OBJECT"}

    def _call(self, operation: str, key: str | None = None, **asked: object) -> Answer:
        return self._ask(self._client, operation, key, asked, repeatable=True)

    def _call_once(self, operation: str, key: str, **asked: object) -> Answer:
        return self._ask(self._client_once, operation, key, asked, repeatable=False)

    def _ask(
        self, client: Sdk, operation: str, key: str | None, asked: Mapping[str, object], *, repeatable: bool
    ) -> Answer:
        named = {"Bucket": self._place.bucket, **({"Key": key} if key is not None else {})}
        what = self._place.bucket if key is None else f"{self._place.bucket}/{key}"
        with translated(what, repeatable=repeatable):
            answer: Answer = getattr(client, operation)(**named, **asked)
        return answer

    @property
    def _write_headers(self) -> dict[str, object]:
        match self._place.encryption:
            case None:
                return {}
            case Encryption(by=ServerSide.STORE):
                return {"ServerSideEncryption": "AES256"}
            case Encryption(by=ServerSide.SERVICE, key_id=key_id):
                return {"ServerSideEncryption": "aws:kms", **({"SSEKMSKeyId": key_id} if key_id else {})}
            case _:
                return self._key_headers

    @property
    def _key_headers(self) -> dict[str, object]:
        """What a key of the customer's needs on every call, reads included."""
        encryption = self._place.encryption
        if encryption is None or encryption.by is not ServerSide.CUSTOMER:
            return {}
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": encryption.customer_key}

    @cached_property
    def _client(self) -> Sdk:
        return self._dial(self._place.attempts)

    @cached_property
    def _client_once(self) -> Sdk:
        """For what may not be done twice: a retry would meet its own deed and call it a conflict."""
        return self._dial(1)

    def _dial(self, attempts: int) -> Sdk:
        import boto3  # noqa: PLC0415 - 0.7 s that only users of S3 pay
        from botocore.config import Config  # noqa: PLC0415

        place, credentials = self._place, self._place.credentials
        known = (
            {
                "aws_access_key_id": credentials.access_key_id,
                "aws_secret_access_key": credentials.secret,
                "aws_session_token": credentials.session_token,
            }
            if credentials
            else {}
        )
        return boto3.session.Session(region_name=place.region, **known).client(
            "s3",
            endpoint_url=place.endpoint,
            config=Config(
                signature_version="s3v4",
                connect_timeout=place.connect_seconds,
                read_timeout=place.answer_seconds,
                retries={"mode": "standard", "total_max_attempts": attempts},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=16,
                s3={"addressing_style": "auto" if self._is_aws else "path"},
            ),
        )


def _pieces(body: Sdk, what: str) -> Iterator[bytes]:
    with translated(what, repeatable=True):
        while piece := body.read(PIECE_BYTES):
            yield piece


def _info(key: str, answer: Answer) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size_bytes=answer["ContentLength"],
        etag=_bare(answer["ETag"]),
        modified_at=answer["LastModified"].astimezone(UTC),
        version=answer.get("VersionId"),
        crc64=_crc(answer),
    )


def _crc(answer: Answer) -> int | None:
    text = answer.get("ChecksumCRC64NVME")
    return from_base64(text) if text else None


def _bare(etag: str) -> str:
    return etag.strip('"')


def _quoted(etag: str) -> str:
    return f'"{etag}"'
