"""Our S3 server takes what SDKs send by default: bodies in chunks, signed or with a digest behind the last."""

import base64
import hashlib
import hmac
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as Keys
from botocore.exceptions import ClientError

from controlplane.storage.base import Credentials
from controlplane.storage.s3_server import S3Server
from controlplane.storage.shelf import Refusal
from controlplane.storage.signatures import Signed
from controlplane.storage.signed_chunks import NOTHING, Chain, chain_of
from controlplane.storage.testing import pattern

KEYS: Final = Credentials(access_key_id="AK", secret="the-secret")
CONTENT: Final = pattern(200_000)
STREAMING: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    url: str
    plain: Any
    behind_tls: Any
    """What it sends is what the SDK would send behind TLS."""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """With the SDK's defaults, but for one attempt."""
    folder = tmp_path_factory.mktemp("served")
    session = boto3.session.Session(
        aws_access_key_id=KEYS.access_key_id, aws_secret_access_key=KEYS.secret, region_name="us-east-1"
    )
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    with S3Server(folder, credentials=KEYS, buckets=["bucket"]) as server:
        plain = session.client("s3", endpoint_url=server.url, config=config)
        behind_tls = session.client("s3", endpoint_url=server.url.replace("http", "https"), config=config)
        behind_tls.meta.events.register("before-send.s3", send_plainly)
        yield Door(url=server.url, plain=plain, behind_tls=behind_tls)
        plain.close()
        behind_tls.close()


def send_plainly(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's own
    request.url = request.url.replace("https://", "http://")


@pytest.mark.parametrize("way", ["plain", "behind_tls"])
def test_the_sdks_defaults_are_taken(door: Door, way: str) -> None:
    s3 = getattr(door, way)
    s3.put_object(Bucket="bucket", Key="whole", Body=CONTENT, ContentEncoding="gzip")
    s3.upload_fileobj(io.BytesIO(CONTENT), "bucket", "stream")
    for key in ("whole", "stream"):
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == CONTENT
    assert s3.head_object(Bucket="bucket", Key="whole")["ContentEncoding"] == "gzip"


def test_a_digest_behind_the_body_that_is_not_the_bodys_is_refused(door: Door) -> None:
    def lie(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's own
        sent = request.body.read()
        assert b"x-amz-checksum-crc32:" in sent
        request.body = re.sub(rb"(x-amz-checksum-crc32:)[^\r]*", rb"\1AAAAAA==", sent)

    door.behind_tls.meta.events.register("before-send.s3", lie)
    with pytest.raises(ClientError, match="BadDigest"):
        door.behind_tls.put_object(Bucket="bucket", Key="lied-about", Body=io.BytesIO(CONTENT))
    door.behind_tls.meta.events.unregister("before-send.s3", lie)
    with pytest.raises(ClientError, match="NoSuchKey"):
        door.plain.get_object(Bucket="bucket", Key="lied-about")


class Seed(S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """Signs the head of a request whose body is signed in chunks."""

    def payload(self, request: AWSRequest) -> str:
        return STREAMING + ("-TRAILER" if "X-Amz-Trailer" in request.headers else "")


def put_in_chunks(door: Door, *, trailer: str | None = None, spoilt: bytes = b"") -> httpx.Response:
    """Three chunks of the content; `trailer`: its SHA-256 in base64, said after them."""
    headers = {"X-Amz-Decoded-Content-Length": str(len(CONTENT)), "Content-Encoding": "aws-chunked"}
    if trailer is not None:
        headers["X-Amz-Trailer"] = "x-amz-checksum-sha256"
    request = AWSRequest("PUT", f"{door.url}/bucket/key", headers=headers, data=b"")
    Seed(Keys(KEYS.access_key_id, KEYS.secret), "s3", "us-east-1").add_auth(request)
    moment = request.headers["X-Amz-Date"]
    scope = f"{moment[:8]}/us-east-1/s3/aws4_request"
    last = request.headers["Authorization"].rpartition("Signature=")[2]

    def sign(kind: str, *digests: str) -> str:
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", moment, scope, last, *digests))
        return hmac.new(signing_key(KEYS.secret, scope), text.encode(), hashlib.sha256).hexdigest()

    body = b""
    for piece in (CONTENT[:65_536], CONTENT[65_536:], b""):
        last = sign("PAYLOAD", NOTHING, hashlib.sha256(piece).hexdigest())
        sent = spoilt + piece[len(spoilt) :] if piece else b""
        body += f"{len(piece):x};chunk-signature={last}\r\n".encode() + sent + (b"\r\n" if piece else b"")
    if trailer is not None:
        line = f"x-amz-checksum-sha256:{trailer}"
        signature = sign("TRAILER", hashlib.sha256(f"{line}\n".encode()).hexdigest())
        body += f"{line}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
    return httpx.put(request.url, content=body + b"\r\n", headers=dict(request.headers.items()))


def signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


@pytest.mark.parametrize("trailer", [None, "right"])
def test_signed_chunks_are_one_object(door: Door, trailer: str | None) -> None:
    said = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode() if trailer else None
    answer = put_in_chunks(door, trailer=said)
    assert (answer.status_code, answer.text) == (200, "")
    found = door.plain.get_object(Bucket="bucket", Key="key")
    assert (found["Body"].read(), found.get("ContentEncoding")) == (CONTENT, None)


def test_a_chunk_that_was_changed_is_refused(door: Door) -> None:
    answer = put_in_chunks(door, spoilt=b"other")
    assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)


def test_a_trailer_that_does_not_fit_the_bytes_is_refused(door: Door) -> None:
    answer = put_in_chunks(door, trailer="A" * 43 + "=")
    assert (answer.status_code, "BadDigest" in answer.text) == (400, True)


def test_signatures_are_those_of_amazons_own_example() -> None:
    """66,560 letters in chunks of 64 KiB, from the description of the protocol."""
    scope = "20130524/us-east-1/s3/aws4_request"
    chain: Chain = chain_of(
        Signed(
            access_key_id="AKIAIOSFODNN7EXAMPLE",
            scope=scope,
            headers=(),
            signature="4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            moment=datetime(2013, 5, 24, tzinfo=UTC),
            expires=None,
            key=signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope),
        )
    )
    for length, signature in (
        (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1_024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ):
        chain.check("PAYLOAD", (NOTHING, hashlib.sha256(b"a" * length).hexdigest()), signature)
    with pytest.raises(Refusal):
        chain.check("PAYLOAD", (NOTHING, NOTHING), "0" * 64)
