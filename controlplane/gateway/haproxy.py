"""HAProxy's configuration, written from the same routes that the embedded gateway goes by. Pure.

What HAProxy cannot do goes to the embedded gateway behind it: docs/adr/0007-haproxy.md.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final
from urllib.parse import urlsplit

from controlplane.domain.traffic import Backend, RevisionRoute, ServiceRoute
from controlplane.gateway.choosing import ALL_PPM
from controlplane.gateway.openai import GENERATIONS, MODELS
from controlplane.gateway.retries import INFERENCE, SAFE_METHODS

EVERYTHING: Final = "*"
"""In the map of tokens: of all projects."""

REVISION: Final = "revision_"
"""How the names of backends begin that are revisions."""

RATE_WINDOW_SECONDS: Final = 10
STREAM_SECONDS: Final = 3600
"""For which a connection outlives a new configuration, at least. It has no end of its own if it goes on flowing."""

MOST_RELOADS: Final = 50
"""Which a connection outlives at most: each may leave a process behind, and replicas may come and go each second."""

PLAIN: Final = re.compile(r"[A-Za-z0-9._:-]+")
"""Names that need no quoting; nothing else gets into a configuration."""

OWN_PATHS: Final = ("/healthz", "/readyz", "/metrics", MODELS, *GENERATIONS)
REFUSALS: Final = (
    (401, "unauthenticated", "No valid token was sent"),
    (413, "too_large", "The upload is larger than the limit"),
    (429, "too_many_requests", "There are more requests than the service takes"),
    (502, "broken_off", "The replica broke off before it answered"),
    (503, "no_replica", "No replica of the service could take the request in time"),
    (504, "deadline_exceeded", "The replica did not answer in time"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where HAProxy is and what lies around it."""

    bind: str
    """`host:port` of callers."""

    embedded: str
    """`host:port` of the embedded gateway."""

    folder: str
    """Of its files: the map of tokens, authorities, the socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Files by name, `haproxy.cfg` among them."""

    files: Mapping[str, str]


def write(site: Site, routes: Sequence[ServiceRoute], tokens: Mapping[str, str]) -> Written:
    """`tokens`: by the SHA-256 of each in capital hex digits, the project's id or `*`."""
    direct = [route for route in sorted(routes, key=lambda each: each.service_id) if _is_direct(route)]
    slowest = max((route.limits.timeout_seconds for route in routes), default=60.0)
    sections = [
        _head(site, slowest),
        "\n".join(_frontend(site, direct)),
        *(section for route in direct for section in _backends(site, route)),
        f"backend embedded\n    server embedded {site.embedded} check\n",
    ]
    authorities = {
        f"{revision.revision_id}.pem": pem
        for route in direct
        for revision in route.revisions
        for pem in {each.ca_pem for each in revision.backends if each.ca_pem is not None}
    }
    lines = [f"{digest} {projects}\n" for digest, projects in sorted(tokens.items())]
    return Written(files={"haproxy.cfg": "\n".join(sections), "tokens.map": "".join(lines), **authorities})


def _is_direct(route: ServiceRoute) -> bool:
    """All of it can be dialled by HAProxy, and there is somebody to dial."""
    backends = [each for revision in route.revisions for each in revision.backends]
    names: list[str] = [route.service_id, route.project_id, route.project, route.name]
    names += [each.attempt_id for each in backends]
    return (
        bool(backends)
        and all(each.proxy_url is None for each in backends)
        and all(PLAIN.fullmatch(name) for name in names)
    )


def _head(site: Site, slowest_seconds: float) -> str:
    errors = [
        f"    http-error status {status} content-type application/problem+json"
        f" hdr Retry-After 1 string '{_problem(status, code, title)}'"
        for status, code, title in REFUSALS
    ]
    return f"""global
    log stdout format raw local0
    stats socket {site.folder}/admin.sock mode 600 level operator expose-fd listeners
    hard-stop-after {max(STREAM_SECONDS, round(slowest_seconds) + 10)}s
    mworker-max-reloads {MOST_RELOADS}

defaults
    mode http
    log global
    log-format '{LOG_FORMAT}'
    timeout connect 3s
    timeout client {round(slowest_seconds * 1000)}ms
    timeout server {round(slowest_seconds * 1000)}ms
    timeout http-request 30s
    option redispatch 1
    retries 2
    retry-on conn-failure empty-response 500 502 503 504
{chr(10).join(errors)}
"""


LOG_FORMAT: Final = (
    '{"event": "request.served", "request_id": "%[unique-id]", "method": "%HM", "path": "%[var(txn.path),json(utf8s)]",'
    ' "code": %ST, "took_ms": %Ta, "backend": "%b", "server": "%s", "tries": "%rc", "waited_ms": %Tw,'
    ' "received_bytes": %U, "sent_bytes": %B}'
)


def _problem(status: int, code: str, title: str) -> str:
    document = {"type": f"/problems/{code}", "title": title, "status": status, "detail": title, "code": code}
    return json.dumps(document)


def _frontend(site: Site, routes: Sequence[ServiceRoute]) -> Iterator[str]:
    yield "frontend inference"
    yield f"    bind {site.bind}"
    yield "    unique-id-format %{+X}o%pid%rt%Ts"
    yield "    unique-id-header x-request-id"
    yield f"    acl is_own path {' '.join(OWN_PATHS)}"
    yield "    acl is_special hdr_cnt(x-crossdock-split) gt 0"
    yield "    acl is_special hdr_cnt(x-request-timeout-seconds) gt 0"
    yield "    http-request set-var(txn.path) path"
    yield f"    http-request set-var(txn.draw) rand({ALL_PPM})"
    yield "    http-request set-var(txn.digest) http_auth_bearer,sha2(256),hex"
    yield f"    http-request set-var(txn.projects) var(txn.digest),map_str({site.folder}/tokens.map)"
    for route in routes:
        name = _name(route)
        yield f"    acl {name} path_beg /{route.project}/{route.name}/"
        yield f"    acl {name} path /{route.project}/{route.name}"
        yield from _rules(route, name)
    yield "    use_backend embedded if is_own or is_special"
    for route in routes:
        able = [each for each in route.revisions if each.backends]
        for revision, edge in zip(able, _edges(able), strict=True):
            yield f"    use_backend {_backend_name(revision)} if {_name(route)} {{ var(txn.draw) -m int lt {edge} }}"
    yield "    default_backend embedded\n"


def _rules(route: ServiceRoute, name: str) -> Iterator[str]:
    if not route.is_open:
        yield f"    acl {name}_known var(txn.projects) -m str {route.project_id} {EVERYTHING}"
        yield f"    http-request deny deny_status 401 if {name} !is_own !{name}_known"
    yield (
        f"    http-request deny deny_status 413 if {name} !is_own"
        f" {{ req.hdr_val(content-length) gt {route.limits.request_bytes} }}"
    )
    if route.limits.requests_per_second is not None:
        most = max(1, round(route.limits.requests_per_second * RATE_WINDOW_SECONDS))
        who = "src" if route.is_open else "var(txn.digest)"
        yield f"    http-request track-sc0 {who} table rate_{name} if {name} !is_own !is_special"
        yield (
            f"    http-request deny deny_status 429 if {name} !is_own !is_special"
            f" {{ sc_http_req_rate(0,rate_{name}) gt {most} }}"
        )


def _backends(site: Site, route: ServiceRoute) -> Iterator[str]:
    if route.limits.requests_per_second is not None:
        kind = "ipv6" if route.is_open else "string len 64"
        yield (
            f"backend rate_{_name(route)}\n    stick-table type {kind} size 100k expire 1m"
            f" store http_req_rate({RATE_WINDOW_SECONDS}s)\n"
        )
    for revision in route.revisions:
        if revision.backends:
            yield "\n".join(_backend(site, route, revision)) + "\n"


def _backend(site: Site, route: ServiceRoute, revision: RevisionRoute) -> Iterator[str]:
    milliseconds = round(route.limits.timeout_seconds * 1000)
    yield f"backend {_backend_name(revision)}"
    yield "    balance leastconn"
    yield f"    timeout server {milliseconds}ms"
    yield f"    timeout queue {milliseconds}ms"
    yield f"    acl is_safe method {' '.join(sorted(SAFE_METHODS))}"
    yield "    acl is_safe hdr_cnt(idempotency-key) gt 0"
    yield f"    acl is_inference path_reg ^/[^/]+/[^/]+{INFERENCE}$"
    yield "    http-request disable-l7-retry if !is_safe !METH_POST or !is_safe !is_inference"
    yield f'    http-request set-header authorization "Bearer {revision.key}"'
    yield r"    http-request replace-path ^/[^/]+/[^/]+/?(.*)$ /\1"
    yield f"    http-response set-header x-crossdock-revision {revision.number}"
    yield "    option httpchk"
    yield "    http-check connect"
    yield f'    http-check send meth GET uri /v2/health/ready hdr authorization "Bearer {revision.key}"'
    yield "    http-check expect status 200"
    for each in revision.backends:
        yield _server(site, revision, each)


def _server(site: Site, revision: RevisionRoute, backend: Backend) -> str:
    parts = urlsplit(backend.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    line = (
        f"    server {backend.attempt_id} {parts.hostname}:{port} maxconn {revision.concurrency}"
        " check inter 2s observe layer7 error-limit 5 on-error mark-down"
    )
    if backend.ca_pem is None:
        return line
    authority = f"{site.folder}/{revision.revision_id}.pem"
    named = (
        ""
        if backend.server_name is None
        else f" sni str({backend.server_name}) verifyhost {backend.server_name}"
    )
    return f"{line} ssl verify required ca-file {authority}{named}"


def _edges(revisions: Sequence[RevisionRoute]) -> list[int]:
    """Where each one's draws end, a revision without replicas having handed on its share."""
    whole = sum(each.weight_ppm for each in revisions)
    return (
        [ALL_PPM * each // whole for each in accumulate(one.weight_ppm for one in revisions)] if whole else []
    )


def _name(route: ServiceRoute) -> str:
    return f"service_{route.service_id}"


def _backend_name(revision: RevisionRoute) -> str:
    return f"{REVISION}{revision.revision_id}"
