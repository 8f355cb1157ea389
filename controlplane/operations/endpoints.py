"""Endpoints: how Ray is dialled, at a cluster's address or a claim's site. Addresses are rows, secrets are sealed."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from cloud_adapters.base import ClusterRef
from controlplane.domain.clusters import DIRECT, Cluster, Endpoint, Route
from controlplane.domain.copies import replace
from controlplane.domain.ids import SecretId
from controlplane.domain.sites import Site
from controlplane.operations.agents import VIA, route_of
from controlplane.operations.context import Context
from controlplane.operations.transfers import EGRESS_PER_GIB
from controlplane.secrets.sealer import Envelope
from controlplane.store import Tx

OURS: Final = frozenset({VIA, EGRESS_PER_GIB})
"""Settings of clusters that are no plugin's."""


def endpoint_of(context: Context, cluster: Cluster) -> Endpoint | None:
    """None while nobody has said where the cluster listens, and where every claim has a site of its own."""
    if cluster.url is None:
        return None
    with context.store.read() as tx:
        token = unsealed(context, tx, cluster.secret_id)
    return Endpoint(
        url=cluster.url,
        token=token,
        route=route_of(context, cluster),
        gpu_resource=cluster.gpu_resource,
        session=cluster.session,
    )


def ref_of(context: Context, cluster: Cluster, endpoint: Endpoint | None = None) -> ClusterRef:
    """What an adapter is told. A cluster that listens itself has a token; any other opens with its secret."""
    ref = ClusterRef(id=cluster.id, name=cluster.name, endpoint=endpoint, settings=cluster.settings)
    if cluster.url is not None:
        return replace(ref, endpoint=endpoint or endpoint_of(context, cluster))
    settings = tuple((name, value) for name, value in cluster.settings if name not in OURS)
    with context.store.read() as tx:
        secret = unsealed(context, tx, cluster.secret_id)
    return replace(ref, secret=secret, settings=settings, route=route_of(context, cluster))


def keep_endpoint(context: Context, tx: Tx, cluster: Cluster, endpoint: Endpoint) -> Cluster:
    """Stores the token when it is new, and returns the cluster as it should be saved."""
    known = replace(cluster, url=endpoint.url, gpu_resource=endpoint.gpu_resource)
    if endpoint.token is None or endpoint.token == unsealed(context, tx, cluster.secret_id):
        return known
    return replace(known, secret_id=seal(context, tx, endpoint.token))


def site_endpoint(context: Context, cluster: Cluster, site: Site) -> Endpoint | None:
    """None while its head is not up, and when it has ended since the site was read."""
    if site.url is None:
        return None
    with context.store.read() as tx:
        secret = site_secret(context, tx, site)
    if not secret:
        return None
    return Endpoint(
        url=site.url,
        token=secret["token"],
        token_header=secret["token_header"],
        route=_route(secret["route"]),
        gpu_resource=cluster.gpu_resource,
        session=site.session,
    )


def site_with(context: Context, tx: Tx, site: Site, endpoint: Endpoint) -> Site:
    """As it should be kept, now that an adapter has said how it is dialled. Seals only what is new."""
    secret = {"token": endpoint.token, "token_header": endpoint.token_header, "route": asdict(endpoint.route)}
    known = site.secret_id is not None and _plain(site_secret(context, tx, site)) == _plain(secret)
    if not known:
        if site.secret_id is not None:
            tx.secrets.delete(site.secret_id)
        site = replace(site, secret_id=seal(context, tx, json.dumps(secret)))
    return replace(site, url=endpoint.url)


def end_site(tx: Tx, site: Site) -> None:
    """With its secret: nothing listens there any more."""
    tx.sites.end(site.claim_id)
    if site.secret_id is not None:
        tx.secrets.delete(site.secret_id)


def site_secret(context: Context, tx: Tx, site: Site) -> dict[str, Any]:  # JSON, as it was sealed
    opened = unsealed(context, tx, site.secret_id)
    return dict(json.loads(opened)) if opened is not None else {}


def site_route(context: Context, tx: Tx, site: Site) -> Route:
    """How whatever is beside its head is dialled."""
    secret = site_secret(context, tx, site)
    return _route(secret["route"]) if secret else DIRECT


def seal(context: Context, tx: Tx, text: str, *, secret_id: SecretId | None = None) -> SecretId:
    """As a new secret, or in the place of one: who has read a row that names it finds the one or the other there."""
    secret_id = secret_id or SecretId(context.ids.new("secret"))
    envelope = context.sealer.seal(secret_id, text.encode())
    tx.secrets.put(
        secret_id,
        key_id=envelope.key_id,
        wrapped_key=envelope.wrapped_key,
        nonce=envelope.nonce,
        ciphertext=envelope.ciphertext,
    )
    return secret_id


def unsealed(context: Context, tx: Tx, secret_id: SecretId | None) -> str | None:
    row = tx.secrets.get(secret_id) if secret_id else None
    if row is None:
        return None
    envelope = Envelope(
        key_id=row.key_id, wrapped_key=row.wrapped_key, nonce=row.nonce, ciphertext=row.ciphertext
    )
    return context.sealer.unseal(row.id, envelope).decode()


def _route(fields: Mapping[str, Any]) -> Route:  # JSON, as it was sealed
    return Route(**dict(fields) | {"headers": tuple((name, value) for name, value in fields["headers"])})


def _plain(secret: Mapping[str, Any]) -> object:  # JSON, tuples turned into lists
    return json.loads(json.dumps(secret))
