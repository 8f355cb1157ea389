"""An OSS of our own: the real SDK speaks to it, and it is as strict as the real service.

OSS4-HMAC-SHA256 is verified (header and presigned), Content-MD5 too; errors carry EC and a request id; bodies have no
XML namespace; every answer tells the CRC-64 of the bytes as they are stored. Bodies stream to disk. Start one in a
test with `OssServer(folder, ...)`, or by hand with `python -m controlplane.storage.oss_server FOLDER`.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from controlplane.storage.base import Credentials
from controlplane.storage.checksums import Crc64
from controlplane.storage.exchanges import Answer, Port, Request
from controlplane.storage.faults import Faults, Vice
from controlplane.storage.ranges import asked_range
from controlplane.storage.serving import serve
from controlplane.storage.shelf import (
    Body,
    Refusal,
    Shelf,
    Stored,
    Upload,
    check_part_number,
    pieces_of,
)
from controlplane.storage.signatures import Oss4, verify
from controlplane.storage.xml_text import Fields, document, named_parts

SMALLEST_PART_BYTES: Final = 100 * 1024
MOST_PER_PAGE: Final = 1000
DEFAULT_PER_PAGE: Final = 100
CRC: Final = "x-oss-hash-crc64ecma"
ENCRYPTION: Final = "x-oss-server-side-encryption"
KEPT: Final = ("content-type", "content-encoding", "cache-control", ENCRYPTION, f"{ENCRYPTION}-key-id")
ENCRYPTIONS: Final = frozenset({"AES256", "KMS", "SM4"})

EXPLANATIONS: Final[Mapping[str, str]] = {
    "AccessDenied": "0003-00000001",
    "EntityTooSmall": "0042-00000102",
    "FileAlreadyExists": "0026-00000002",
    "InvalidAccessKeyId": "0002-00000902",
    "InvalidDigest": "0007-00000022",
    "NoSuchBucket": "0015-00000101",
    "NoSuchKey": "0026-00000001",
    "NoSuchUpload": "0042-00000002",
    "PreconditionFailed": "0029-00000002",
    "RequestTimeTooSkewed": "0002-00000503",
    "SignatureDoesNotMatch": "0002-00000040",
    "SlowDown": "0047-00000001",
}


class OssServer:
    """A context manager. `faults` is the table of what goes wrong; `now` skews the clock."""

    def __init__(
        self,
        folder: Path,
        *,
        credentials: Credentials,
        buckets: Sequence[str],
        region: str = "cn-hangzhou",
        port: int = 0,
        most_per_page: int = MOST_PER_PAGE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.faults = Faults()
        shelf = Shelf(folder, smallest_part_bytes=SMALLEST_PART_BYTES, now=now)
        for bucket in buckets:
            shelf.make(bucket)
        service = _Oss(shelf, self.faults, {credentials.access_key_id: credentials.secret}, region, now)
        service.most_per_page = most_per_page
        self._port = Port(service, port=port)
        self.url = self._port.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._port.close()


class _Oss:
    def __init__(
        self,
        shelf: Shelf,
        faults: Faults,
        secrets: Mapping[str, str],
        region: str,
        now: Callable[[], datetime],
    ) -> None:
        self.faults = faults
        self.most_per_page = MOST_PER_PAGE
        self._shelf = shelf
        self._secrets = secrets
        self._region = region
        self._now = now
        self._requests = count(1)

    def answer(self, request: Request) -> Answer:
        verify(request, Oss4(), self._secrets, self._region, self._now())
        return self._route(request)(request)

    def refuse(self, request: Request, refusal: Refusal) -> Answer:
        request_id = f"{next(self._requests):024X}"
        explanation = EXPLANATIONS.get(refusal.code, "0000-00000000")
        body = document(
            "Error",
            (
                ("Code", refusal.code),
                ("Message", str(refusal)),
                ("RequestId", request_id),
                ("HostId", request.headers.get("host", "")),
                ("EC", explanation),
            ),
        )
        headers = {"Content-Type": "application/xml", "x-oss-request-id": request_id, "x-oss-ec": explanation}
        if request.verb == "HEAD":
            # The answer to HEAD has no body, so its error travels in a header.
            return Answer(
                http_code=refusal.http_code, headers={**headers, "x-oss-err": base64.b64encode(body).decode()}
            )
        return Answer(http_code=refusal.http_code, headers=headers, body=body)

    def _route(self, request: Request) -> Callable[[Request], Answer]:
        marks = [mark for mark in ("uploads", "uploadId", "partNumber", "list-type") if request.has(mark)]
        routes: Mapping[tuple[str, bool, str], Callable[[Request], Answer]] = {
            ("GET", False, "uploads"): self._list_uploads,
            ("GET", False, "list-type"): self._list,
            ("PUT", False, ""): self._make_bucket,
            ("POST", True, "uploads"): self._begin,
            ("PUT", True, "uploadId+partNumber"): self._put_part,
            ("GET", True, "uploadId"): self._list_parts,
            ("POST", True, "uploadId"): self._complete,
            ("DELETE", True, "uploadId"): self._abort,
            ("PUT", True, ""): self._put,
            ("GET", True, ""): self._get,
            ("HEAD", True, ""): self._head,
            ("DELETE", True, ""): self._delete,
        }
        route = routes.get((request.verb, bool(request.key), "+".join(marks)))
        if route is None:
            raise Refusal(501, "NotImplemented", f"{request.verb} of this is not implemented.")
        return route

    def _make_bucket(self, request: Request) -> Answer:
        self._shelf.make(request.bucket)
        return Answer()

    def _put(self, request: Request) -> Answer:
        body = self._receive(request)
        crc = body.crc64(Crc64.ECMA)
        stored = Stored(
            key=request.key,
            segments=(body,),
            etag=body.md5.hex().upper(),
            modified_at=self._now(),
            headers=_kept(request),
            crc64={Crc64.ECMA: crc} if crc is not None else {},
        )
        stored = self._shelf.keep(request.bucket, stored, _condition(request))
        md5 = base64.b64encode(body.md5).decode()
        return Answer(headers={"ETag": _etag(stored.etag), "Content-MD5": md5, **_told(stored)})

    def _get(self, request: Request) -> Answer:
        stored = self._shelf.find(request.bucket, request.key)
        _check_match(request, stored)
        asked = request.headers.get("range")
        try:
            first, length = asked_range(asked, stored.size_bytes)
        except Refusal:
            # Unless told otherwise, OSS takes a range that it cannot serve for none.
            if request.headers.get("x-oss-range-behavior") == "standard":
                raise
            asked, first, length = None, 0, stored.size_bytes
        headers = dict(_headers(stored))
        if asked is not None:
            headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{stored.size_bytes}"
        return Answer(
            http_code=200 if asked is None else 206,
            headers=headers,
            stream=pieces_of(stored, first, length),
            stream_bytes=length,
        )

    def _head(self, request: Request) -> Answer:
        stored = self._shelf.find(request.bucket, request.key)
        _check_match(request, stored)
        return Answer(headers={**_headers(stored), "Content-Length": str(stored.size_bytes)})

    def _delete(self, request: Request) -> Answer:
        self._shelf.remove(request.bucket, request.key)
        return Answer(http_code=204)

    def _list(self, request: Request) -> Answer:
        most = min(int(request.asked("max-keys", str(DEFAULT_PER_PAGE))), self.most_per_page)
        token = request.asked("continuation-token")
        after = base64.b64decode(token).decode() if token else request.asked("start-after")
        found, is_more = self._shelf.page(request.bucket, request.asked("prefix"), after, most)
        following = base64.b64encode(found[-1].key.encode()).decode() if is_more else ""
        return _xml(
            "ListBucketResult",
            (
                ("Name", request.bucket),
                ("Prefix", _shown(request, request.asked("prefix"))),
                ("MaxKeys", most),
                ("EncodingType", request.asked("encoding-type")),
                ("IsTruncated", is_more),
                ("NextContinuationToken", _shown(request, following)),
                ("KeyCount", len(found)),
                *(("Contents", _entry(request, stored)) for stored in found),
            ),
        )

    def _begin(self, request: Request) -> Answer:
        upload = self._shelf.begin(request.bucket, request.key, _kept(request), None)
        return _xml(
            "InitiateMultipartUploadResult",
            (("Bucket", request.bucket), ("Key", _shown(request, request.key)), ("UploadId", upload.id)),
        )

    def _put_part(self, request: Request) -> Answer:
        number = check_part_number(request.asked("partNumber"))
        upload = self._upload(request)
        body = self._receive(request)
        self._shelf.keep_part(upload, number, body)
        return Answer(
            headers={
                "ETag": _etag(body.md5.hex()),
                "Content-MD5": base64.b64encode(body.md5).decode(),
                CRC: str(body.crc64(Crc64.ECMA)),
            }
        )

    def _list_parts(self, request: Request) -> Answer:
        upload = self._upload(request)
        after = int(request.asked("part-number-marker") or 0)
        most = min(int(request.asked("max-parts", str(self.most_per_page))), self.most_per_page)
        numbers = sorted(number for number in upload.parts if number > after)
        shown = numbers[:most]
        return _xml(
            "ListPartsResult",
            (
                ("Bucket", request.bucket),
                ("Key", _shown(request, request.key)),
                ("UploadId", upload.id),
                ("MaxParts", most),
                ("IsTruncated", len(shown) < len(numbers)),
                *((("NextPartNumberMarker", shown[-1]),) if shown else ()),
                *(("Part", _part(upload, number)) for number in shown),
            ),
        )

    def _complete(self, request: Request) -> Answer:
        upload = self._upload(request)
        stored = self._shelf.complete(upload, named_parts(request.text()), _condition(request))
        answer = _xml(
            "CompleteMultipartUploadResult",
            (
                ("Bucket", request.bucket),
                ("Key", _shown(request, request.key)),
                ("ETag", _etag(stored.etag)),
            ),
        )
        return Answer(headers={**answer.headers, **_told(stored)}, body=answer.body)

    def _abort(self, request: Request) -> Answer:
        self._shelf.abort(request.bucket, request.key, request.asked("uploadId"))
        return Answer(http_code=204)

    def _list_uploads(self, request: Request) -> Answer:
        most = min(int(request.asked("max-uploads", str(self.most_per_page))), self.most_per_page)
        after = (request.asked("key-marker"), request.asked("upload-id-marker"))
        found, is_more = self._shelf.uploads(request.bucket, request.asked("prefix"), after, most)
        last = found[-1] if is_more else None
        return _xml(
            "ListMultipartUploadsResult",
            (
                ("Bucket", request.bucket),
                ("EncodingType", request.asked("encoding-type")),
                ("IsTruncated", is_more),
                ("NextKeyMarker", _shown(request, last.key if last else "")),
                ("NextUploadIdMarker", last.id if last else ""),
                *(("Upload", _open(request, upload)) for upload in found),
            ),
        )

    def _upload(self, request: Request) -> Upload:
        return self._shelf.upload(request.bucket, request.key, request.asked("uploadId"))

    def _receive(self, request: Request) -> Body:
        claimed = _claimed(request)
        body = self._shelf.receive(request.body, {Crc64.ECMA})
        if claimed not in {None, body.md5}:
            self._shelf.discard(body)
            raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if request.fault and request.fault.vice is Vice.FLIP_STORED:
            return self._shelf.spoil(body, request.fault.at_byte)
        return body


def _claimed(request: Request) -> bytes | None:
    text = request.headers.get("content-md5")
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.") from error


def _condition(request: Request) -> Callable[[Stored | None], None]:
    def allow(there: Stored | None) -> None:
        if there and request.headers.get("x-oss-forbid-overwrite", "").lower() == "true":
            raise Refusal(
                409,
                "FileAlreadyExists",
                "The object you specified already exists and can not be overwritten.",
            )

    return allow


def _check_match(request: Request, stored: Stored) -> None:
    if_match = request.headers.get("if-match")
    if if_match is not None and if_match.strip('"').upper() != stored.etag.upper():
        raise Refusal(
            412, "PreconditionFailed", "At least one of the preconditions you specified did not hold."
        )


def _kept(request: Request) -> Mapping[str, str]:
    if request.headers.get(ENCRYPTION, "AES256") not in ENCRYPTIONS:
        raise Refusal(400, "InvalidEncryptionAlgorithmError", "The encryption algorithm is not supported.")
    return {
        name: value
        for name, value in request.headers.items()
        if name in KEPT or name.startswith("x-oss-meta-")
    }


def _headers(stored: Stored) -> Mapping[str, str]:
    return {
        "ETag": _etag(stored.etag),
        "Last-Modified": format_datetime(stored.modified_at.astimezone(UTC), usegmt=True),
        "Accept-Ranges": "bytes",
        "x-oss-object-type": "Multipart" if "-" in stored.etag else "Normal",
        **stored.headers,
        **_told(stored),
    }


def _told(stored: Stored) -> Mapping[str, str]:
    crc = stored.crc64.get(Crc64.ECMA)
    encryption = {name: value for name, value in stored.headers.items() if name.startswith(ENCRYPTION)}
    return {**encryption, **({CRC: str(crc)} if crc is not None else {})}


def _entry(request: Request, stored: Stored) -> Fields:
    return (
        ("Key", _shown(request, stored.key)),
        ("LastModified", _iso(stored.modified_at)),
        ("ETag", _etag(stored.etag)),
        ("Type", "Multipart" if "-" in stored.etag else "Normal"),
        ("Size", stored.size_bytes),
        ("StorageClass", "Standard"),
    )


def _part(upload: Upload, number: int) -> Fields:
    body = upload.parts[number]
    return (
        ("PartNumber", number),
        ("LastModified", _iso(upload.times[number])),
        ("ETag", _etag(body.md5.hex())),
        ("HashCrc64ecma", str(body.crc64(Crc64.ECMA))),
        ("Size", body.size_bytes),
    )


def _open(request: Request, upload: Upload) -> Fields:
    return (
        ("Key", _shown(request, upload.key)),
        ("UploadId", upload.id),
        ("Initiated", _iso(upload.begun_at)),
    )


def _etag(etag: str) -> str:
    return f'"{etag.upper()}"'


def _shown(request: Request, text: str) -> str:
    return quote(text, safe="") if request.asked("encoding-type") == "url" else text


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _xml(root: str, fields: Fields) -> Answer:
    """Without a namespace: the SDK reads a list that has one as empty."""
    return Answer(headers={"Content-Type": "application/xml"}, body=document(root, fields))


if __name__ == "__main__":
    serve(OssServer)
