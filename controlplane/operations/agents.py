"""Agents: who may connect from a site that nobody can dial, and how its cluster is reached then."""

from datetime import timedelta
from typing import Final

from controlplane.domain.clusters import DIRECT, Cluster, ClusterState, Route
from controlplane.domain.errors import Conflict, Invalid, Unauthenticated
from controlplane.domain.ids import ClusterId
from controlplane.identity.agent_tokens import agent_token, opened, tunnel_password
from controlplane.operations.context import Context
from controlplane.operations.lookups import cluster_for

VIA: Final = "via"
AGENT: Final = "agent"
"""A cluster with the setting `via=agent` is dialled through its agent's tunnel."""

VALIDITY: Final = timedelta(days=30)


def first_token(context: Context, id_or_name: str) -> str:
    """For the operator to carry to the site. Raises `NotFound`, or `Conflict` for a cluster that needs no agent."""
    with context.store.read() as tx:
        cluster = cluster_for(tx, id_or_name)
        now = tx.now
    if not is_via_agent(cluster):
        raise Conflict(f"cluster {cluster.name} is not dialled through an agent", field=VIA, limit=AGENT)
    return agent_token(context.server_key, cluster.id, expires_at=now + VALIDITY)


def admitted(context: Context, token: str | None) -> tuple[ClusterId, str]:
    """Whose agent this is, and the token that it shall come with from now on. Raises `Unauthenticated`."""
    with context.store.read() as tx:
        cluster_id = opened(context.server_key, token or "", now=tx.now)
        cluster = tx.clusters.get(cluster_id) if cluster_id is not None else None
        if cluster is None or cluster.state is ClusterState.DETACHED or not is_via_agent(cluster):
            raise Unauthenticated
        return cluster.id, agent_token(context.server_key, cluster.id, expires_at=tx.now + VALIDITY)


def is_via_agent(cluster: Cluster) -> bool:
    return dict(cluster.settings).get(VIA) == AGENT


def route_of(context: Context, cluster: Cluster) -> Route:
    """Of the cluster's own address."""
    if not is_via_agent(cluster):
        return DIRECT
    password = tunnel_password(context.server_key, cluster.id)
    return Route(proxy_url=f"http://{cluster.id}:{password}@127.0.0.1:{context.settings.tunnel_port}")


def check_via(context: Context, settings: dict[str, str]) -> bool:
    """Whether the cluster is dialled through an agent. Raises `Invalid`."""
    via = settings.get(VIA)
    if via is None:
        return False
    if via != AGENT:
        raise Invalid("is not a way to dial a cluster", field="settings.via", value=via, limit=AGENT)
    if not context.settings.tunnel_port:
        raise Invalid(
            "this server takes no agents: set CROSSDOCK_TUNNEL_PORT", field="settings.via", value=via
        )
    return True
