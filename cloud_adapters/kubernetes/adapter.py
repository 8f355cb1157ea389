"""Kubernetes: a cluster that lends its nodes, and builds Ray clusters on those that were booked."""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cloud_adapters.admissions import Admits, admitting
from cloud_adapters.base import (
    Built,
    ClusterRef,
    Endpoint,
    Inventory,
    LaunchOrder,
    Leftover,
    Machine,
    Member,
    Offer,
    OwnedMachine,
    Termination,
    Transient,
)
from cloud_adapters.kubernetes import building, owned
from cloud_adapters.kubernetes.connections import Connections
from cloud_adapters.kubernetes.kubeconfig import Permissions
from cloud_adapters.kubernetes.manifests import DASHBOARD_PORT, TOKEN_KEY
from cloud_adapters.kubernetes.namespace import Namespace
from cloud_adapters.kubernetes.orders import HEAD, Order, member_name
from cloud_adapters.kubernetes.settings import Reach
from cloud_adapters.ray_state import RayState

if TYPE_CHECKING:
    from cloud_adapters.kubernetes.sites import Site

LIST_LAG: Final = timedelta(seconds=5)
"""Reads are as young as the call. What lags is a launch that is made of several objects, one after the other."""


class KubernetesAdapter:
    """Keeps connections and watches of each cluster, and drops those of a cluster that nobody asks for any more."""

    def __init__(
        self, permissions: Permissions | None = None, *, admitting: Callable[[str], Admits] = admitting
    ) -> None:
        self._connections = Connections(permissions or Permissions.read(), admitting)

    @property
    def list_lag(self) -> timedelta:
        return LIST_LAG

    def close(self) -> None:
        """Ends all threads and connections."""
        self._connections.close()

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        """From watches, after one call that shows that the cluster answers.

        The first look may take longer than a deadline: it then goes on behind, and a later call has it.
        """
        until = time.monotonic() + deadline
        site = self._connections.site(cluster, deadline)
        session = site.session(until=until)
        missing = site.missing_rights(until=until)
        machines, unseen = site.machines(session, until=until)
        known = tuple(each for each in unseen if not any(told.startswith(each) for told in missing))
        is_blind = bool(unseen)
        return Inventory(
            machines=tuple(_lent_out(each) for each in machines) if is_blind else machines,
            complete=not is_blind,
            session=session,
            problems=(*missing, *known),
        )

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:  # noqa: ARG002 # nothing to ask
        """None: what can be had here is what the inventory shows."""
        return ()

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        site, space = self._space(launch.cluster, deadline)
        return building.ensure(space, launch, site.settings)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        building.release(self._space(cluster, deadline)[1], cluster.id, claim_id, members)

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        return building.terminate(self._space(cluster, deadline)[1], cluster.id, claim_id)

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        return building.list_owned(self._space(cluster, deadline)[1], cluster.id)

    def leftovers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Leftover, ...]:
        return building.leftovers(self._space(cluster, deadline)[1], cluster.id)

    def remove(self, cluster: ClusterRef, leftover: Leftover, *, deadline: float) -> None:
        building.remove(self._space(cluster, deadline)[1], leftover)

    def built(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Built:
        until = time.monotonic() + deadline
        site, space = self._space(cluster, deadline)
        group = building.newest_group(space, cluster.id, claim_id)
        order = group.record.order
        for member in (HEAD, *(place.member for place in group.record.kept)):
            _expect_ready(group, member)
        endpoint = replace(_endpoint(site, space, order), session=None)
        ray = RayState().inventory(endpoint, deadline=max(0.0, until - time.monotonic()))
        nodes = {machine.host: machine.name for machine in ray.machines}
        return Built(
            endpoint=replace(endpoint, session=ray.session),
            members=tuple(_member(group, place.member, nodes) for place in group.record.kept),
        )

    def _space(self, cluster: ClusterRef, deadline: float) -> tuple["Site", Namespace]:
        until = time.monotonic() + deadline
        site = self._connections.site(cluster, deadline)
        return site, Namespace(site.api, site.settings.namespace, until=until)


def _lent_out(machine: Machine) -> Machine:
    """Whoever cannot see what others use must take it that they use everything."""
    return replace(machine, used=machine.allocatable, ours=None)


def _expect_ready(group: owned.Group, member: str) -> None:
    pod = group.present(member)
    if pod is not None and owned.is_ready(pod):
        return
    latest = pod or group.latest(member)
    why = owned.trouble(latest) if latest is not None else "it has no pod"
    name = member_name(group.record.order, member)
    raise Transient(f"{name} is not up yet: {why or 'it is starting'}")


def _endpoint(site: "Site", space: Namespace, order: Order) -> Endpoint:
    secret = space.get("secrets", order.name)
    if secret is None:
        raise Transient(f"the token of {order.name} is gone")
    token = base64.b64decode(secret["data"][TOKEN_KEY]).decode()
    if site.settings.reach is Reach.DIRECT and site.settings.direct_url is not None:
        url = site.settings.direct_url.replace("{service}", order.service)
        return Endpoint(url=url.replace("{namespace}", space.name), token=token)
    authorization = site.api.authorization()
    headers = (("Authorization", authorization),) if authorization is not None else ()
    path = f"/api/v1/namespaces/{space.name}/services/{order.service}:{DASHBOARD_PORT}/proxy"
    return Endpoint(
        url=f"{site.api.access.server}{path}",
        token=token,
        token_header="X-Ray-Authorization",  # noqa: S106 # a name
        route=replace(site.api.route, headers=headers),
    )


def _member(group: owned.Group, member: str, nodes: dict[str, str]) -> Member:
    """By the pod's address, which Ray knows the node by."""
    pod = group.present(member)
    name = member_name(group.record.order, member)
    host = pod["status"].get("podIP", "") if pod is not None else ""
    if pod is None or host not in nodes:
        raise Transient(f"{name} has not joined its Ray cluster yet; {len(nodes)} nodes have")
    return Member(name=name, ray_node_id=nodes[host], node_name=pod["spec"]["nodeName"])
