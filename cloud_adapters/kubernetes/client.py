"""Speaks to one API server: raw JSON through the connection pool of the official client.

Its generated calls are left alone: they differ between versions, and would build a model of every pod in the cluster.
Importing this module takes half a second, so only a call about a Kubernetes cluster does.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote, urlencode, urlsplit

import urllib3
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import KubeConfigLoader

from cloud_adapters import dialling
from cloud_adapters.base import AuthFailed, Rejected, Route, Transient
from cloud_adapters.kubernetes.kubeconfig import Access
from cloud_adapters.kubernetes.refusals import Call, lost, refusal

Json: TypeAlias = Mapping[str, Any]
"""An object as the API server tells it: checked where it enters our own values."""

FIELD_MANAGER: Final = "crossdock"
CHUNK_BYTES: Final = 2**16
CONNECTIONS: Final = 8
MOST_BYTES: Final = 2**28
"""Of one answer; a page of 500 objects is far below."""

TOKEN_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 # a path
CA_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"


class Api:
    """Safe for threads. Retries nothing and follows no redirect."""

    def __init__(self, configuration: Configuration, access: Access) -> None:
        self.access = access
        self._configuration = configuration
        self._pool = ApiClient(configuration).rest_client.pool_manager
        if not access.needs_loader:
            self._show_certificates()

    def enter(self, access: Access) -> None:
        """From now on with these credentials, at the same server; what streams already goes on."""
        old, self.access = self.access, access
        if (access.ca_pem, access.client_pem) != (old.ca_pem, old.client_pem):
            self._show_certificates()
            self._pool.clear()

    def _show_certificates(self) -> None:
        """The official client would write the key of a client certificate to a file; a context needs none."""
        self._pool.connection_pool_kw["ssl_context"] = dialling.tls(self.route)

    @property
    def route(self) -> Route:
        """To the server itself, for whoever dials through it."""
        access, ca_file = self.access, self._configuration.ssl_ca_cert
        ca_pem = access.ca_pem or (Path(ca_file).read_text(encoding="ascii") if ca_file else None)
        return Route(
            ca_pem=ca_pem,
            server_name=access.server_name,
            client_pem=access.client_pem,
            proxy_url=access.proxy_url,
        )

    def authorization(self) -> str | None:
        """Asked at each call: a service account's token is renewed on disk every hour."""
        if self.access.authorization is not None:
            return self.access.authorization
        settings: Mapping[str, Any] = self._configuration.auth_settings()
        return next((each["value"] for each in settings.values() if each["value"]), None)

    def get(self, call: Call, path: str, query: Mapping[str, str], *, until: float) -> Json:
        return self._asked(call, "GET", path, query, until=until)

    def create(self, call: Call, path: str, body: Json, *, until: float) -> Json:
        return self._asked(call, "POST", path, {"fieldManager": FIELD_MANAGER}, body=body, until=until)

    def apply(self, call: Call, path: str, body: Json, *, until: float) -> Json:
        """Server-side apply. What others set on the object stays theirs; what we set becomes ours again."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._asked(
            call, "PATCH", path, query, body=body, kind="application/apply-patch+yaml", until=until
        )

    def merge(self, call: Call, path: str, body: Json, *, until: float) -> Json:
        query = {"fieldManager": FIELD_MANAGER}
        return self._asked(
            call, "PATCH", path, query, body=body, kind="application/merge-patch+json", until=until
        )

    def delete(self, call: Call, path: str, body: Json, *, until: float) -> Json:
        return self._asked(call, "DELETE", path, {}, body=body, until=until)

    def lines(
        self, call: Call, path: str, query: Mapping[str, str], stream: "Stream", *, stall_seconds: float
    ) -> Iterator[bytes]:
        """The lines of an answer without end, after an empty one as soon as it begins.

        Raises `Transient` when none comes for so long.
        """
        timeout = urllib3.Timeout(connect=stream.connect_seconds, read=stall_seconds)
        answer = self._sent(call, "GET", f"{path}?{urlencode(query)}", timeout=timeout)
        rest = b""
        with stream.holding(answer):
            yield rest
            try:
                for chunk in answer.stream(CHUNK_BYTES, decode_content=True):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
            except (urllib3.exceptions.HTTPError, OSError) as problem:
                raise Transient(f"{call}: the stream broke: {type(problem).__name__}") from problem

    def close(self) -> None:
        self._pool.clear()

    def _asked(
        self,
        call: Call,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Json | None = None,
        kind: str = "application/json",
        until: float,
    ) -> Json:
        remaining = until - time.monotonic()
        if remaining <= 0:
            raise Transient(f"{call}: no time is left for it")
        url = f"{path}?{urlencode(query)}" if query else path
        sent = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": kind}
        timeout = urllib3.Timeout(total=remaining)
        answer = self._sent(call, method, url, body=sent, headers=headers, timeout=timeout)
        text = _read(call, answer, until)
        try:
            return cast("Json", json.loads(text))
        except ValueError as problem:
            raise Rejected(f"{call}: {self.access.server} does not answer like Kubernetes") from problem

    def _sent(
        self,
        call: Call,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: urllib3.Timeout,
    ) -> urllib3.BaseHTTPResponse:
        authorization = self.authorization()
        told = {"Accept": "application/json", "Accept-Encoding": "gzip", **(headers or {})}
        if authorization is not None:
            told["Authorization"] = authorization
        try:
            answer = self._pool.request(
                method,
                f"{self.access.server}{url}",
                body=body,
                headers=told,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.SSLError as problem:
            raise AuthFailed(f"{call}: TLS with {self.access.server} failed: {problem}") from problem
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as problem:
            raise Transient(f"{call}: {self.access.server} cannot be reached") from problem
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise lost(call, f"no answer: {type(problem).__name__}") from problem
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            text = answer.read(CHUNK_BYTES, decode_content=True)
            answer.close()
            raise refusal(call, answer.status, text, answer.headers)
        return answer


class Stream:
    """Lets another thread end a read that waits for an answer."""

    def __init__(self, *, connect_seconds: float) -> None:
        self.connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._answer: urllib3.BaseHTTPResponse | None = None
        self._is_cut = False

    def holding(self, answer: urllib3.BaseHTTPResponse) -> "Stream":
        with self._lock:
            self._answer = answer
            if self._is_cut:
                _end(answer)
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        with self._lock:
            answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def cut(self) -> None:
        """For good."""
        with self._lock:
            self._is_cut = True
            if self._answer is not None:
                _end(self._answer)


def _end(answer: urllib3.BaseHTTPResponse) -> None:
    # An answer that was read to its end has given its connection back, or closed it, while we looked.
    with suppress(OSError, RuntimeError):
        answer.shutdown()


def dialled(access: Access, kubeconfig: str) -> Api:
    """By what the kubeconfig itself says; its commands are run, and its files read, by the official client."""
    dialling.refuse_plain_http(access.server)
    configuration = Configuration()
    if access.needs_loader:
        loader = KubeConfigLoader(yaml.safe_load(kubeconfig), active_context=access.context)
        try:
            loader.load_and_set(configuration)
        except ConfigException as problem:
            raise AuthFailed(f"the kubeconfig's credentials cannot be loaded: {problem}") from problem
        if not configuration.auth_settings() and configuration.cert_file is None:
            # The loader logs that the command failed, and goes on.
            raise AuthFailed("the kubeconfig's command gave no credentials")
    return Api(_plain(configuration, access), access)


def dialled_from_within(
    server: str | None = None, *, token_file: str = TOKEN_FILE, ca_file: str = CA_FILE
) -> Api:
    """With the service account of the pod that the control plane itself runs in."""
    configuration = Configuration()
    try:
        InClusterConfigLoader(token_filename=token_file, cert_filename=ca_file).load_and_set(configuration)
    except ConfigException as problem:
        raise Rejected(
            f"the cluster was registered without a kubeconfig, and the server runs in no pod: {problem}"
        ) from problem
    ca_pem = Path(ca_file).read_text(encoding="ascii")
    access = Access(server=server or configuration.host, ca_pem=ca_pem)
    return Api(_plain(configuration, access), access)


def _plain(configuration: Configuration, access: Access) -> Configuration:
    """Without the proxies of the environment, and without retries that would hide errors."""
    configuration.host = access.server
    configuration.proxy = access.proxy_url
    configuration.proxy_headers = _proxy_headers(access.proxy_url)
    configuration.no_proxy = None
    configuration.retries = False
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration


def _proxy_headers(proxy_url: str | None) -> Mapping[str, str] | None:
    """The official client does not say the password that stands in a proxy's address."""
    parts = urlsplit(proxy_url or "")
    if not parts.scheme.startswith("http") or parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return urllib3.make_headers(proxy_basic_auth=pair)


def _read(call: Call, answer: urllib3.BaseHTTPResponse, until: float) -> bytes:
    """A server that trickles is bounded too."""
    chunks, size = [], 0
    with closing(answer):  # one that was read to its end has gone back to the pool
        try:
            for chunk in answer.stream(CHUNK_BYTES, decode_content=True):
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() > until:
                    raise lost(call, "the answer did not end in time")
                if size > MOST_BYTES:
                    raise Rejected(f"{call}: the answer is longer than {MOST_BYTES} bytes")
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise lost(call, f"the answer broke off: {type(problem).__name__}") from problem
    return b"".join(chunks)
