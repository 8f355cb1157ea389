"""Signed chunks: bodies in AWS's chunked form (`aws-chunked`), each chunk with a signature or the last with digests.

SDKs send them by default: signed chunks where the connection is plain, unsigned ones with a digest behind TLS. Written
from AWS's public description "Signature calculations for the Authorization header: transferring payload in multiple
chunks".
"""

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from controlplane.storage.exchanges import Request
from controlplane.storage.shelf import Refusal
from controlplane.storage.signatures import TIME, Signed

MARK: Final = "STREAMING-"
ENCODING: Final = "aws-chunked"
UNSIGNED: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED: Final = frozenset(
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
)
SIZE: Final = re.compile(r"[0-9a-fA-F]{1,8}")
LONGEST_LINE: Final = 8192
NOTHING: Final = hashlib.sha256(b"").hexdigest()


@dataclass(slots=True, kw_only=True)
class Chain:
    """Each signature is over the one before; the first is the request's own."""

    key: bytes
    moment: str
    scope: str
    last: str

    def check(self, kind: str, digests: tuple[str, ...], signature: str) -> None:
        """Raises `Refusal` unless it is the next one. `kind`: `PAYLOAD` or `TRAILER`."""
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", self.moment, self.scope, self.last, *digests))
        expected = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            raise Refusal(403, "SignatureDoesNotMatch", "The signature of a chunk does not match it.")
        self.last = expected


def chain_of(signed: Signed) -> Chain:
    return Chain(
        key=signed.key, moment=signed.moment.strftime(TIME), scope=signed.scope, last=signed.signature
    )


def unchunked(request: Request, signed: Signed) -> Request:
    """The request as if its body had been sent plainly; its trailer joins the headers once the body was read."""
    form = request.headers.get("x-amz-content-sha256", "")
    if not form.startswith(MARK):
        return request
    if form != UNSIGNED and form not in SIGNED:
        raise Refusal(501, "NotImplemented", f"Bodies as {form} are not implemented.")
    codings = [each.strip() for each in request.headers.get("content-encoding", "").split(",")]
    headers = dict(request.headers) | {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    headers["content-encoding"] = ",".join(each for each in codings if each != ENCODING)
    if not headers["content-encoding"]:
        del headers["content-encoding"]
    body = _plain(_Bytes(request.body), headers, chain_of(signed) if form in SIGNED else None)
    return replace(request, headers=headers, body=body)


def _plain(sent: "_Bytes", headers: dict[str, str], chain: Chain | None) -> Iterator[bytes]:
    declared = headers.get("x-amz-decoded-content-length", "")
    if not declared.isdecimal():
        raise Refusal(411, "MissingContentLength", "You must provide the length of what is sent in chunks.")
    left = int(declared)
    while True:
        size, _, signature = sent.line().partition(";chunk-signature=")
        size_bytes, digest = _size(size), hashlib.sha256()
        left -= size_bytes
        for piece in sent.exactly(size_bytes):
            digest.update(piece)
            yield piece
        if chain is not None:
            chain.check("PAYLOAD", (NOTHING, digest.hexdigest()), signature)
        if not size_bytes:
            break
        sent.line()
    if left:
        raise Refusal(400, "IncompleteBody", "The body has not the length that was declared.")
    _take_trailer(sent, headers, chain)


def _take_trailer(sent: "_Bytes", headers: dict[str, str], chain: Chain | None) -> None:
    announced = {each.strip().lower() for each in headers.get("x-amz-trailer", "").split(",")} - {""}
    lines = {}
    while line := sent.line():
        name, _, value = line.partition(":")
        lines[name.lower()] = value.strip()
    signature = lines.pop("x-amz-trailer-signature", "")
    if lines.keys() != announced:
        raise Refusal(400, "MalformedTrailerError", "The trailer is not what x-amz-trailer announced.")
    if chain is not None and announced:
        canonical = "".join(f"{name}:{value}\n" for name, value in sorted(lines.items()))
        chain.check("TRAILER", (hashlib.sha256(canonical.encode()).hexdigest(),), signature)
    headers |= lines


def _size(text: str) -> int:
    if not SIZE.fullmatch(text):
        raise Refusal(400, "InvalidRequest", "The size of a chunk is not a number.")
    return int(text, 16)


class _Bytes:
    """Reads lines and stretches from what comes in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def line(self) -> str:
        """Without its end."""
        while b"\r\n" not in self._held:
            if len(self._held) > LONGEST_LINE or not self._more():
                raise Refusal(400, "IncompleteBody", "The body ended, or went on, inside a chunk's head.")
        line, _, self._held = self._held.partition(b"\r\n")
        return line.decode("latin-1")

    def exactly(self, left: int) -> Iterator[bytes]:
        while left:
            if not self._held and not self._more():
                raise Refusal(400, "IncompleteBody", "The body ended inside a chunk.")
            piece, self._held = self._held[:left], self._held[left:]
            left -= len(piece)
            yield piece

    def _more(self) -> bool:
        piece = next(self._pieces, b"")
        self._held += piece
        return bool(piece)
