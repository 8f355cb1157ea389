"""A strict S3 in a few hundred lines: it checks what most test doubles wave through.

Signatures (header and presigned), Content-MD5, `x-amz-content-sha256` and `x-amz-checksum-*` are verified, conditions
are kept, small parts and SSE-C reads without the key are refused. Bodies stream to disk. Start one in a test with
`S3Server(folder, ...)`, or by hand with `python -m controlplane.storage.s3_server FOLDER`.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from controlplane.storage.base import Credentials
from controlplane.storage.checksums import Crc64, as_base64
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
from controlplane.storage.signatures import Aws4, verify
from controlplane.storage.signed_chunks import unchunked
from controlplane.storage.xml_text import Fields, document, named_parts

SMALLEST_PART_BYTES: Final = 5 * 1024**2
MOST_PER_PAGE: Final = 1000
NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
CHECKSUM: Final = "x-amz-checksum-"
SUMS: Final = frozenset({"crc32", "crc64nvme", "sha256"})
ENCRYPTION: Final = "x-amz-server-side-encryption"
CUSTOMER: Final = f"{ENCRYPTION}-customer-"
KEPT: Final = (
    "content-type",
    "content-encoding",
    "cache-control",
    ENCRYPTION,
    f"{ENCRYPTION}-aws-kms-key-id",
)


class S3Server:
    """A context manager. `faults` is the table of what goes wrong; `now` skews the clock."""

    def __init__(
        self,
        folder: Path,
        *,
        credentials: Credentials,
        buckets: Sequence[str],
        region: str = "us-east-1",
        port: int = 0,
        most_per_page: int = MOST_PER_PAGE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.faults = Faults()
        self._shelf = Shelf(folder, smallest_part_bytes=SMALLEST_PART_BYTES, now=now)
        for bucket in buckets:
            self._shelf.make(bucket)
        service = _S3(self._shelf, self.faults, {credentials.access_key_id: credentials.secret}, region, now)
        service.most_per_page = most_per_page
        self._port = Port(service, port=port)
        self.url = self._port.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._port.close()


class _S3:
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

    def answer(self, request: Request) -> Answer:
        signed = verify(request, Aws4(), self._secrets, self._region, self._now())
        return self._route(request)(unchunked(request, signed))

    def refuse(self, request: Request, refusal: Refusal) -> Answer:
        body = document(
            "Error",
            (
                ("Code", refusal.code),
                ("Message", str(refusal)),
                ("Resource", request.path),
                ("RequestId", "strict-s3"),
            ),
        )
        return Answer(
            http_code=refusal.http_code,
            headers={"Content-Type": "application/xml", "x-amz-request-id": "strict-s3"},
            body=b"" if request.verb == "HEAD" else body,
        )

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
        stored = Stored(
            key=request.key,
            segments=(body,),
            etag=body.md5.hex(),
            modified_at=self._now(),
            headers=_kept(request),
            sealed_with=_sealed_with(request),
            crc64={form: crc for form in Crc64 if (crc := body.crc64(form)) is not None},
        )
        stored = self._shelf.keep(request.bucket, stored, _condition(request))
        return Answer(headers={"ETag": f'"{stored.etag}"', **_checksums(stored), **_encryption(stored)})

    def _get(self, request: Request) -> Answer:
        stored = self._shelf.find(request.bucket, request.key)
        _check_key(request, stored)
        _check_match(request, stored)
        first, length = asked_range(request.headers.get("range"), stored.size_bytes)
        whole = request.headers.get("range") is None
        headers = _headers(stored, checked=whole and "x-amz-checksum-mode" in request.headers)
        if not whole:
            headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{stored.size_bytes}"
        return Answer(
            http_code=200 if whole else 206,
            headers=headers,
            stream=pieces_of(stored, first, length),
            stream_bytes=length,
        )

    def _head(self, request: Request) -> Answer:
        stored = self._shelf.find(request.bucket, request.key)
        _check_key(request, stored)
        headers = _headers(stored, checked="x-amz-checksum-mode" in request.headers)
        return Answer(headers={**headers, "Content-Length": str(stored.size_bytes)})

    def _delete(self, request: Request) -> Answer:
        self._shelf.remove(request.bucket, request.key)
        return Answer(http_code=204)

    def _list(self, request: Request) -> Answer:
        most = min(int(request.asked("max-keys", str(self.most_per_page))), self.most_per_page)
        token = request.asked("continuation-token")
        after = base64.b64decode(token).decode() if token else request.asked("start-after")
        found, is_more = self._shelf.page(request.bucket, request.asked("prefix"), after, most)
        following = base64.b64encode(found[-1].key.encode()).decode() if is_more else ""
        return _xml(
            "ListBucketResult",
            (
                ("Name", request.bucket),
                ("Prefix", _shown(request, request.asked("prefix"))),
                ("KeyCount", len(found)),
                ("MaxKeys", most),
                *((("EncodingType", "url"),) if request.has("encoding-type") else ()),
                ("IsTruncated", is_more),
                *((("NextContinuationToken", following),) if is_more else ()),
                *(("Contents", _entry(request, stored)) for stored in found),
            ),
        )

    def _begin(self, request: Request) -> Answer:
        upload = self._shelf.begin(request.bucket, request.key, _kept(request), _sealed_with(request))
        return _xml(
            "InitiateMultipartUploadResult",
            (("Bucket", request.bucket), ("Key", request.key), ("UploadId", upload.id)),
        )

    def _put_part(self, request: Request) -> Answer:
        number = check_part_number(request.asked("partNumber"))
        upload = self._upload(request)
        if _sealed_with(request) != upload.sealed_with:
            raise Refusal(400, "InvalidRequest", "The upload was begun under another customer key.")
        body = self._receive(request)
        self._shelf.keep_part(upload, number, body)
        return Answer(headers={"ETag": f'"{body.md5.hex()}"', **_body_checksums(body)})

    def _list_parts(self, request: Request) -> Answer:
        upload = self._upload(request)
        after = int(request.asked("part-number-marker") or 0)
        numbers = sorted(number for number in upload.parts if number > after)
        shown = numbers[: self.most_per_page]
        return _xml(
            "ListPartsResult",
            (
                ("Bucket", request.bucket),
                ("Key", request.key),
                ("UploadId", upload.id),
                ("IsTruncated", len(shown) < len(numbers)),
                *((("NextPartNumberMarker", shown[-1]),) if shown else ()),
                *(("Part", _part(upload, number)) for number in shown),
            ),
        )

    def _complete(self, request: Request) -> Answer:
        upload = self._upload(request)
        named = named_parts(request.text())
        stored = self._shelf.complete(upload, named, _condition(request), _expected(request))
        return _xml(
            "CompleteMultipartUploadResult",
            (("Bucket", request.bucket), ("Key", request.key), ("ETag", f'"{stored.etag}"')),
        )

    def _abort(self, request: Request) -> Answer:
        self._shelf.abort(request.bucket, request.key, request.asked("uploadId"))
        return Answer(http_code=204)

    def _list_uploads(self, request: Request) -> Answer:
        after = (request.asked("key-marker"), request.asked("upload-id-marker"))
        found, is_more = self._shelf.uploads(
            request.bucket, request.asked("prefix"), after, self.most_per_page
        )
        last = found[-1] if is_more else None
        return _xml(
            "ListMultipartUploadsResult",
            (
                ("Bucket", request.bucket),
                ("IsTruncated", is_more),
                *((("NextKeyMarker", last.key), ("NextUploadIdMarker", last.id)) if last else ()),
                *(
                    (
                        "Upload",
                        (
                            ("Key", _shown(request, upload.key)),
                            ("UploadId", upload.id),
                            ("Initiated", _iso(upload.begun_at)),
                        ),
                    )
                    for upload in found
                ),
            ),
        )

    def _upload(self, request: Request) -> Upload:
        return self._shelf.upload(request.bucket, request.key, request.asked("uploadId"))

    def _receive(self, request: Request) -> Body:
        """Takes the body in, and refuses it unless it is what every digest of the request says."""
        announced = request.headers.get("x-amz-trailer", "").lower().removeprefix(CHECKSUM)
        sums = {name for name, _, _ in _claims(request) if name != "md5"} | ({announced} & SUMS)
        body = self._shelf.receive(request.body, sums)
        for name, claimed, code in _claims(request):  # again: a trailer has come with the body
            if claimed != (body.md5 if name == "md5" else body.sums[name]):
                self._shelf.discard(body)
                raise Refusal(400, code, f"The {name} you specified did not match what we received.")
        if request.fault and request.fault.vice is Vice.FLIP_STORED:
            return self._shelf.spoil(body, request.fault.at_byte)
        return body


def _claims(request: Request) -> list[tuple[str, bytes, str]]:
    """Name, value and the code that tells of a mismatch, for each digest that the request bears."""
    claims = []
    if md5 := request.headers.get("content-md5"):
        claims.append(("md5", _decoded(md5), "BadDigest"))
    sha256 = request.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    if sha256 != "UNSIGNED-PAYLOAD":
        claims.append(("sha256", bytes.fromhex(sha256), "XAmzContentSHA256Mismatch"))
    for name, value in request.headers.items():
        algorithm = name.removeprefix(CHECKSUM)
        if algorithm != name and algorithm in SUMS:
            claims.append((algorithm, _decoded(value), "BadDigest"))
    return claims


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refusal(400, "InvalidDigest", "A digest you specified is not base64.") from error


def _condition(request: Request) -> Callable[[Stored | None], None]:
    if_match, if_none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if if_none_match not in {None, "*"}:
        raise Refusal(501, "NotImplemented", "If-None-Match takes * alone.")

    def allow(there: Stored | None) -> None:
        if if_match is not None and there is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        is_other = there is not None and if_match is not None and if_match.strip('"') != there.etag
        if is_other or (if_none_match and there):
            raise Refusal(412, "PreconditionFailed", "At least one of the preconditions did not hold.")

    return allow


def _check_match(request: Request, stored: Stored) -> None:
    if_match = request.headers.get("if-match")
    if if_match is not None and if_match.strip('"') != stored.etag:
        raise Refusal(412, "PreconditionFailed", "At least one of the preconditions did not hold.")


def _check_key(request: Request, stored: Stored) -> None:
    sent = _sealed_with(request)
    if stored.sealed_with and sent is None:
        raise Refusal(400, "InvalidRequest", "The object was stored under a key that must be provided.")
    if sent != stored.sealed_with:
        raise Refusal(403, "AccessDenied", "The provided key is not the one of the object.")


def _expected(request: Request) -> Mapping[Crc64, int]:
    claimed = request.headers.get(f"{CHECKSUM}{Crc64.NVME}")
    return {} if claimed is None else {Crc64.NVME: int.from_bytes(_decoded(claimed), "big")}


def _sealed_with(request: Request) -> str | None:
    key, md5 = request.headers.get(f"{CUSTOMER}key"), request.headers.get(f"{CUSTOMER}key-md5")
    if key is None:
        return None
    actual = base64.b64encode(hashlib.md5(_decoded(key), usedforsecurity=False).digest()).decode()
    if actual != md5:
        raise Refusal(400, "InvalidArgument", "The MD5 of the customer key does not match.")
    return actual


def _kept(request: Request) -> Mapping[str, str]:
    return {
        name: value
        for name, value in request.headers.items()
        if name in KEPT or name.startswith("x-amz-meta-")
    }


def _encryption(stored: Stored) -> Mapping[str, str]:
    echoed = {name: value for name, value in stored.headers.items() if name.startswith(ENCRYPTION)}
    if stored.sealed_with:
        echoed |= {f"{CUSTOMER}algorithm": "AES256", f"{CUSTOMER}key-MD5": stored.sealed_with}
    return echoed


def _headers(stored: Stored, *, checked: bool) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": format_datetime(stored.modified_at.astimezone(UTC), usegmt=True),
        "Accept-Ranges": "bytes",
        **stored.headers,
        **_encryption(stored),
        **(_checksums(stored) if checked else {}),
    }


def _checksums(stored: Stored) -> Mapping[str, str]:
    crc = stored.crc64.get(Crc64.NVME)
    if crc is None:
        return {}
    return {f"{CHECKSUM}crc64nvme": as_base64(crc), f"{CHECKSUM}type": "FULL_OBJECT"}


def _body_checksums(body: Body) -> Mapping[str, str]:
    crc = body.crc64(Crc64.NVME)
    return {} if crc is None else {f"{CHECKSUM}crc64nvme": as_base64(crc)}


def _entry(request: Request, stored: Stored) -> tuple[tuple[str, str | int], ...]:
    return (
        ("Key", _shown(request, stored.key)),
        ("LastModified", _iso(stored.modified_at)),
        ("ETag", f'"{stored.etag}"'),
        ("Size", stored.size_bytes),
        ("StorageClass", "STANDARD"),
    )


def _part(upload: Upload, number: int) -> tuple[tuple[str, str | int], ...]:
    body = upload.parts[number]
    crc = body.crc64(Crc64.NVME)
    return (
        ("PartNumber", number),
        ("LastModified", _iso(upload.times[number])),
        ("ETag", f'"{body.md5.hex()}"'),
        ("Size", body.size_bytes),
        *((("ChecksumCRC64NVME", as_base64(crc)),) if crc is not None else ()),
    )


def _shown(request: Request, key: str) -> str:
    return quote(key, safe="/") if request.asked("encoding-type") == "url" else key


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _xml(root: str, fields: Fields) -> Answer:
    return Answer(
        headers={"Content-Type": "application/xml"},
        body=document(root, fields, namespace=NAMESPACE),
    )


if __name__ == "__main__":
    serve(S3Server)
