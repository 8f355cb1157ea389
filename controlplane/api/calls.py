"""Calls: one request, read once on the event loop and answered in one hop to a thread.

A call is authenticated in that hop, not before: a second hop would cost more than the look into the cache. Those with
large bodies, uploads and bulk calls, are authenticated before these are read as well.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Annotated, Any, Final, Generic, TypeVar, cast

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from controlplane.api.cursors import Cursors
from controlplane.api.problems import UnsupportedMediaType, refused
from controlplane.api.streams import Streams
from controlplane.domain.errors import Invalid, TooLarge
from controlplane.identity.principals import Principal
from controlplane.operations.authentication import Authenticator
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once
from controlplane.tunnels.hub import Hub
from controlplane.wire.base import Answer
from controlplane.wire.base import Request as Document

D = TypeVar("D", bound=Document)
T = TypeVar("T")

MAX_BODY_BYTES: Final = 4 * 1024**2
LONGEST_KEY: Final = 255
MOST_BULK_CALLS: Final = 4
"""That are worked on at once: each holds a thread, and all its jobs in memory."""

MOST_PUBLISH_CALLS: Final = 4
"""That are worked on at once: each holds a thread for as long as its artifacts are read."""

BEARER: Final = "Bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all requests of one app share."""

    context: Context
    authenticator: Authenticator
    cursors: Cursors
    streams: Streams
    hub: Hub
    bulk_calls: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MOST_BULK_CALLS))
    publish_calls: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(MOST_PUBLISH_CALLS))


class Empty(Document):
    """The body of a deed that needs no words: nothing, or `{}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    site: Site
    request: Request
    body: bytes

    @property
    def context(self) -> Context:
        return self.site.context

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def bearer(self) -> str | None:
        header = self.request.headers.get("authorization", "")
        return header.removeprefix(BEARER) if header.startswith(BEARER) else None

    @property
    def text(self) -> str:
        """The body, once it has been parsed."""
        return self.body.decode()

    def principal(self) -> Principal:
        return self.site.authenticator.principal(self.bearer)

    def parse(self, model: type[D]) -> D:
        """Straight from the bytes. Raises what becomes a problem that names every field that is refused."""
        document = self.parse_but_texts(model)
        if b"\\u0000" in self.body:
            check_text("", json.loads(self.body))
        return document

    def parse_but_texts(self, model: type[D]) -> D:
        """The same, for those who look for NUL characters themselves."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType(
                "send application/json", field="Content-Type", value=kind, limit="application/json"
            )
        try:
            return model.model_validate_json(self.body)
        except ValidationError as error:
            raise refused(error, self.body) from error

    def parse_nothing(self) -> None:
        """A body that says something would be ignored, so it is refused."""
        if self.body:
            self.parse(Empty)

    def deed(self, principal: Principal, code: int, document: Callable[[T], Answer]) -> "Deed[T]":
        """`document` makes the answer of what the operation returns."""
        return Deed(code=code, document=document, names=self._names(principal))

    def once(self, principal: Principal, code: int) -> Once[str] | None:
        """For an operation that returns its answer, or parts of it, as text."""
        names = self._names(principal)
        return None if names is None else _once(names, code, str)

    def _names(self, principal: Principal) -> tuple[Principal, str, bytes] | None:
        key = self.request.headers.get("idempotency-key")
        if key is None:
            return None
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            raise Invalid(
                "must be 1 to 255 printable ASCII characters", field="Idempotency-Key", limit=LONGEST_KEY
            )
        start = f"{self.request.method} {self.request.url.path}?{self.request.url.query}\n"
        return principal, key, hashlib.sha256(start.encode() + self.body).digest()


class Deed(Generic[T]):
    """The answer of a POST: rendered once, in the transaction that remembers it."""

    def __init__(
        self, *, code: int, document: Callable[[T], Answer], names: tuple[Principal, str, bytes] | None
    ) -> None:
        self._code = code
        self._document = document
        self._names = names
        self._rendered: Answer | None = None
        self._body = ""

    @property
    def once(self) -> Once[T] | None:
        return None if self._names is None else _once(self._names, self._code, self._render)

    def answer(self, result: T) -> Response:
        if self._rendered is None:
            self._render(result)
        return respond(cast("Answer", self._rendered), code=self._code, body=self._body)

    def _render(self, result: T) -> str:
        self._rendered = self._document(result)
        self._body = self._rendered.model_dump_json()
        return self._body


def _once(names: tuple[Principal, str, bytes], code: int, render: Callable[[T], str]) -> Once[T]:
    principal, key, request_hash = names
    return Once(token_id=principal.token_id, key=key, request_hash=request_hash, code=code, render=render)


def respond(document: BaseModel, *, code: int = 200, body: str | None = None) -> Response:
    """A JSON answer; a document's version is its ETag."""
    version = getattr(document, "version", None)
    headers = {"ETag": f'"{version}"'} if isinstance(version, int) else None
    text = document.model_dump_json() if body is None else body
    return Response(text, status_code=code, media_type="application/json", headers=headers)


async def read_call(request: Request) -> Call:
    """Without a body."""
    _check_parameters(request)
    return Call(site=request.app.state.site, request=request, body=b"")


async def whole_call(request: Request) -> Call:
    return await call_of(request, MAX_BODY_BYTES)


async def call_of(request: Request, limit_bytes: int) -> Call:
    _check_parameters(request)
    pieces = [piece async for piece in limited(request, limit_bytes)]
    return Call(site=request.app.state.site, request=request, body=b"".join(pieces))


Read = Annotated[Call, Depends(read_call)]
Whole = Annotated[Call, Depends(whole_call)]


class DeedRoute(APIRoute):
    """A route whose endpoint takes the whole call and its path alone, so there is nothing for FastAPI to solve.

    Solving it all the same took a fifth of a submit's time.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            call = await whole_call(request)
            return await run_in_threadpool(endpoint, call, **request.path_params)

        return handle


async def limited(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body, piece by piece, up to a limit."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(int(announced), limit_bytes)
    size_bytes = 0
    async for piece in request.stream():
        size_bytes += len(piece)
        if size_bytes > limit_bytes:
            raise _too_large(size_bytes, limit_bytes)
        yield piece


def _too_large(size_bytes: int, limit_bytes: int) -> TooLarge:
    return TooLarge(f"is larger than {limit_bytes} bytes", field="body", value=size_bytes, limit=limit_bytes)


def _check_parameters(request: Request) -> None:
    """A filter that is misspelt would be ignored; and no database takes a NUL."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Invalid("unknown parameter", field=name, limit=", ".join(sorted(known)) or None)
        check_text(name, value)
    for name, value in request.path_params.items():
        check_text(name, value)


def check_text(path: str, value: Any) -> None:  # noqa: ANN401 - JSON values
    """Raises `Invalid` where a text holds what no database takes."""
    match value:
        case str() if "\0" in value:
            raise Invalid("holds a NUL character", field=path, value=value.replace("\0", "\\0"))
        case dict():
            for name, each in value.items():
                check_text(path, name)
                check_text(f"{path}.{name}".lstrip("."), each)
        case list():
            for position, each in enumerate(value):
                check_text(f"{path}.{position}", each)
        case _:
            pass
