"""Requests that survive lost answers, restarts and dead replicas."""

import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Final, NoReturn, Self, TypeVar

import httpx
from pydantic import BaseModel

from controlplane.sdk.endpoint import Endpoint
from controlplane.sdk.errors import ServerFault, Unreachable, refusal
from controlplane.sdk.patience import Patience
from controlplane.wire.base import Page, Problem

Params = Mapping[str, str | int | Sequence[str] | None]
"""None leaves a parameter out; a sequence repeats it."""

Body = str | bytes | BinaryIO
T = TypeVar("T", bound=BaseModel)

PAGE_SIZE: Final = 200
CONNECT_TIMEOUT_SECONDS: Final = 5.0
STREAM_SILENCE_SECONDS: Final = 60.0
"""A stream that says nothing for so long, not even a keep-alive, is taken for lost."""

_COME_BACK: Final = frozenset({429, 502, 503, 504})


class Transport:
    """One control plane behind one or more addresses. May be shared by threads."""

    def __init__(self, endpoint: Endpoint, *, timeout_seconds: float, patience_seconds: float) -> None:
        self._urls = endpoint.urls
        self._turn = 0
        self._patience_seconds = patience_seconds
        self._timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {},
            timeout=self._timeout,
            trust_env=not endpoint.is_local,  # no proxy leads to this machine
            verify=_certificates(endpoint),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(
        self, path: str, *, params: Params | None = None, patience_seconds: float | None = None
    ) -> httpx.Response:
        return self._send("GET", path, params=params, patience_seconds=patience_seconds)

    def exists(self, path: str) -> bool:
        return self._send("HEAD", path, accepted=frozenset({404})).is_success

    def post(
        self,
        path: str,
        body: Body | None = None,
        *,
        media_type: str = "application/json",
        patience_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        """Each call has one key, sent with every try: the server does it once.

        `timeout_seconds` is for what takes the server longer than the client's own limit.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        if body is not None:
            headers["Content-Type"] = media_type
        return self._send(
            "POST",
            path,
            body=body,
            headers=headers,
            patience_seconds=patience_seconds,
            timeout_seconds=timeout_seconds,
        )

    def items(
        self, path: str, page: type[Page[T]], *, params: Params | None = None, after: str | None = None
    ) -> Iterator[T]:
        """All items of a list; pages are asked for as they are needed."""
        while True:
            answer = self.get(path, params={"limit": PAGE_SIZE, **(params or {}), "after": after})
            part = parse(page, answer)
            yield from part.items
            if part.next is None:
                return
            after = part.next

    @contextmanager
    def stream(self, path: str, *, params: Params, last_id: str | None) -> Iterator[Iterator[bytes]]:
        """One connection, no second try. Whatever ends it but its own end is `Unreachable`."""
        url = self._url()
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        timeout = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
        try:
            with self._http.stream(
                "GET", url + path, params=_present(params), headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    self._refuse(response, url=url)
                yield response.iter_bytes()
        except httpx.TransportError as failure:
            raise self._lost(url, failure) from failure

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        accepted: frozenset[int] = frozenset(),
        patience_seconds: float | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        timeout = self._timeout
        if timeout_seconds is not None:
            timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        patience = Patience(self._patience_seconds if patience_seconds is None else patience_seconds)
        while True:
            url = self._url()
            if body is not None and not isinstance(body, str | bytes):
                body.seek(0)
            try:
                response = self._http.request(
                    method,
                    url + path,
                    params=_present(params or {}),
                    content=body,
                    headers=headers,
                    timeout=timeout,
                )
                if not response.is_success and response.status_code not in accepted:
                    self._refuse(response, url=url)
                return response
            except httpx.TransportError as failure:
                patience.pause(self._lost(url, failure))
            except Unreachable as failure:
                patience.pause(failure)

    def _url(self) -> str:
        return self._urls[self._turn % len(self._urls)]

    def _lost(self, url: str, failure: httpx.TransportError) -> Unreachable:
        self._leave(url)
        return Unreachable(f"{url} does not answer: {str(failure) or type(failure).__name__}")

    def _leave(self, url: str) -> None:
        """The next try goes elsewhere, unless another thread moved on before."""
        if url == self._url():
            self._turn += 1

    def _refuse(self, response: httpx.Response, *, url: str) -> NoReturn:
        refused = refusal(response)
        if response.status_code not in _COME_BACK:
            raise refused
        if response.is_server_error:
            self._leave(url)
        raise Unreachable(
            f"{url} asks to come back later ({response.status_code}): {refused}",
            retry_after_seconds=_seconds(response.headers.get("Retry-After", "")),
        )


def _certificates(endpoint: Endpoint) -> ssl.SSLContext:
    """Loading them takes longer than a whole plain request; an empty context trusts nobody."""
    uses_tls = any(url.startswith("https:") for url in endpoint.urls)
    return httpx.create_ssl_context() if uses_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def parse(kind: type[T], response: httpx.Response) -> T:
    """An answer that is not what the API promises is the server's fault."""
    try:
        return kind.model_validate_json(response.content)
    except ValueError as error:
        raise ServerFault(
            Problem(
                type="/problems/not-understood",
                title="The answer is not what the API promises",
                status=response.status_code,
                detail=f"{response.request.method} {response.request.url} was answered with something else: {error}",
                code="not_understood",
            )
        ) from error


def _present(params: Params) -> httpx.QueryParams:
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in params.items():
        if isinstance(value, str | int):
            pairs.append((name, value))
        elif value is not None:
            pairs.extend((name, each) for each in value)
    return httpx.QueryParams(pairs)


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
