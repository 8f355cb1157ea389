"""Traffic: what a gateway is told of services, and what it tells of them."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from controlplane.domain.addresses import is_loopback, is_metadata, is_own_machine
from controlplane.domain.clusters import DIRECT, Cluster, Route
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, RevisionId, ServiceId
from controlplane.domain.residency import Rules
from controlplane.domain.sites import Site
from controlplane.domain.traffic import (
    FRESH,
    LATENCY_EDGES_MS,
    Backend,
    Load,
    RevisionRoute,
    ServiceRoute,
    is_of_now,
)
from controlplane.identity.replica_keys import replica_key
from controlplane.operations import service_specs
from controlplane.operations.agents import route_of
from controlplane.operations.context import Context
from controlplane.operations.dialable import may_dial_itself
from controlplane.operations.endpoints import site_route
from controlplane.operations.residency import outside
from controlplane.store import OpenRevision, ReadyReplica, Tx

LATEST: Final = timedelta(minutes=5)
"""How late a gateway may tell what it saw, an outage being over; it counts for releases then, and not for scaling."""

HOST: Final = re.compile(r"[a-z0-9._:-]+")
"""Nothing that means something else to one of those who read an address."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Land:
    """Rows that say where replicas are, and how they are dialled."""

    rules: Rules
    clusters: Mapping[ClusterId, Cluster]
    sites: Mapping[ClaimId, Site]
    hosts: Mapping[AttemptId, frozenset[str]]
    """Of the nodes that an attempt sits on."""

    stores: Mapping[AttemptId, tuple[str, ...]]
    """Where what it reads lies, of those that read anything."""


def routes(context: Context) -> tuple[ServiceRoute, ...]:
    """Every service that takes requests, by id, with the replicas that may be asked at this moment."""
    with context.store.read() as tx:
        revisions, ready = tx.revisions.open(), tx.replicas.ready()
        land = _land(tx, ready)
        dialled = [(each, _route(context, tx, each, land)) for each in ready]
    found = {each.revision.id: each for each in revisions}
    backends: dict[RevisionId, list[Backend]] = {}
    for each, route in dialled:
        revision = found.get(each.revision_id)
        if revision is None or not _may_be_asked(each, revision, land):
            continue
        if not _is_forbidden_here(context, each, route):
            backends.setdefault(each.revision_id, []).append(_backend(each, revision.revision.ca_pem, route))
    services: dict[ServiceId, list[OpenRevision]] = {}
    for revision in revisions:
        services.setdefault(revision.service_id, []).append(revision)
    return tuple(_service(context, each, backends) for each in services.values())


def report(context: Context, loads: Sequence[Load]) -> None:
    """Takes what one gateway saw. Saying it again changes nothing. Raises `Invalid`."""
    for load in loads:
        _check(load)

    def unit(tx: Tx) -> None:
        near = [load for load in loads if tx.now - LATEST <= load.until <= tx.now + FRESH]
        if loads and not any(is_of_now(load, tx.now) for load in loads):
            newest = max(loads, key=lambda load: load.until)
            seconds = (newest.until - tx.now).total_seconds()
            log.warning("loads.not_of_now", extra={"gateway": newest.gateway, "ahead_seconds": seconds})
        tx.loads.add_many(near)
        # A service without a replica is not looked at otherwise before somebody waits for it.
        tx.work.poke_many("service", [load.service_id for load in near if load.waiting])

    if loads:
        context.store.write(unit)


def _service(
    context: Context, found: Sequence[OpenRevision], backends: Mapping[RevisionId, Sequence[Backend]]
) -> ServiceRoute:
    first = found[0]
    spec = service_specs.stored(found[-1].revision.spec)
    taking = [each for each in found if each.revision.weight_ppm]
    return ServiceRoute(
        service_id=first.service_id,
        project_id=first.project_id,
        project=first.project,
        name=first.name,
        is_open=spec.is_open,
        limits=service_specs.limits_of(spec),
        revisions=tuple(_revision(context, each, backends.get(each.revision.id, ())) for each in taking),
    )


def _revision(context: Context, found: OpenRevision, backends: Sequence[Backend]) -> RevisionRoute:
    revision = found.revision
    return RevisionRoute(
        revision_id=revision.id,
        number=revision.number,
        weight_ppm=revision.weight_ppm,
        key=replica_key(context.server_key, revision.id),
        backends=tuple(backends),
        concurrency=service_specs.stored(revision.spec).concurrency,
    )


def _backend(ready: ReadyReplica, ca_pem: str, route: Route) -> Backend:
    is_plain = ready.url.startswith("http://")
    return Backend(
        attempt_id=ready.attempt.id,
        cluster_id=ready.attempt.cluster_id,
        url=ready.url,
        grpc=ready.grpc,
        proxy_url=route.proxy_url,
        ca_pem=None if is_plain else ca_pem,
        server_name=None if is_plain else service_specs.SERVER_NAME,
    )


def _land(tx: Tx, ready: Sequence[ReadyReplica]) -> _Land:
    seats = tx.attempts.seats_of([each.attempt.id for each in ready])
    nodes = tx.nodes.by_ids(sorted({seat.node_id for each in seats.values() for seat in each}))
    rules = tx.residencies.rules()
    asks = tx.asks.many([each.attempt.ask_id for each in ready]) if rules.data else {}
    claims = sorted({each.attempt.claim_id for each in ready if each.attempt.claim_id is not None})
    return _Land(
        rules=rules,
        clusters={each.id: each for each in tx.clusters.list()},
        sites=tx.sites.many(claims),
        hosts={
            attempt_id: frozenset(nodes[seat.node_id].host for seat in each if seat.node_id in nodes)
            for attempt_id, each in seats.items()
        },
        stores={
            each.attempt.id: ask.traits.stores
            for each in ready
            if (ask := asks.get(each.attempt.ask_id)) is not None
        },
    )


def _route(context: Context, tx: Tx, ready: ReadyReplica, land: _Land) -> Route:
    attempt = ready.attempt
    if attempt.claim_id is not None:
        site = land.sites.get(attempt.claim_id)
        return DIRECT if site is None else site_route(context, tx, site)
    cluster = land.clusters.get(attempt.cluster_id)
    return DIRECT if cluster is None else route_of(context, cluster)


def _may_be_asked(ready: ReadyReplica, revision: OpenRevision, land: _Land) -> bool:
    """What a replica says of itself is the word of a user's code, and this server would call whatever it names."""
    attempt = ready.attempt
    cluster = land.clusters.get(attempt.cluster_id)
    reads = land.stores.get(attempt.id, ())
    if cluster is None or outside(land.rules, revision.project_id, cluster, stores=reads) is not None:
        return False
    host = _host(ready)
    if host is None:
        return False
    site = None if attempt.claim_id is None else land.sites.get(attempt.claim_id)
    # Ray's own nodes are where it listens; a member of a built cluster has an address that only it knows.
    if (site is None or not site.members) and host not in land.hosts.get(attempt.id, frozenset()):
        return False
    return not is_metadata(host) and (is_loopback(host) or not ready.url.startswith("http://"))


def _is_forbidden_here(context: Context, ready: ReadyReplica, route: Route) -> bool:
    """Whether it is on this server's own machine, and nothing that users name may be."""
    # Beside an agent, it is the agent's machine. In a pod it would be the agent's pod, which is none of a user's.
    is_beside_agent = route.proxy_url is not None and ready.attempt.claim_id is None
    return (
        not is_beside_agent and is_own_machine(_host(ready) or "") and not may_dial_itself(context.settings)
    )


def _host(ready: ReadyReplica) -> str | None:
    """The one host that both its addresses name; None: there is no such host, so nobody may ask it."""
    try:
        parts = urlsplit(ready.url.lower())
        host, port = parts.hostname or "", parts.port
    except ValueError:  # one that is malformed must not keep the others from being asked
        return None
    written = f"[{host}]" if ":" in host else host
    is_plain = HOST.fullmatch(host) and parts.netloc in (written, f"{written}:{port}")
    if not is_plain or (ready.grpc is not None and ready.grpc.lower().rpartition(":")[0] != written):
        return None
    return host


def _check(load: Load) -> None:
    if load.until < load.since:
        raise Invalid("ends before it begins", field="until", value=str(load.until), limit=str(load.since))
    if len(load.latency_ms) != len(LATENCY_EDGES_MS) + 1:
        raise Invalid(
            f"has {len(load.latency_ms)} counts",
            field="latency_ms",
            value=len(load.latency_ms),
            limit=len(LATENCY_EDGES_MS) + 1,
        )
    counts = (load.in_flight, load.waiting, load.requests, load.errors, *load.latency_ms)
    if min(counts) < 0:
        raise Invalid("counts below 0", field="loads", value=min(counts), limit=0)
