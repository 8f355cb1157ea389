"""Builds Ray clusters on booked nodes, and takes them down: with KubeRay, or from plain pods where there is none."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from cloud_adapters.base import (
    CLAIM_LABEL,
    LaunchOrder,
    Leftover,
    LeftoverKind,
    NoCapacity,
    OwnedMachine,
    QuotaExceeded,
    Rejected,
    Termination,
    Transient,
)
from cloud_adapters.kubernetes import manifests
from cloud_adapters.kubernetes.namespace import CUSTOM, Namespace
from cloud_adapters.kubernetes.orders import (
    CLUSTER_LABEL,
    LAUNCH_LABEL,
    RELEASED_KEY,
    Order,
    Record,
    config_map_of,
    id_of,
    label_value,
    member_name,
    object_name,
    order_of,
    record_of,
)
from cloud_adapters.kubernetes.owned import Group, groups, orphans, owned
from cloud_adapters.kubernetes.refusals import Exists
from cloud_adapters.kubernetes.settings import KubeRay, Settings, settings_of
from cloud_adapters.kubernetes.translate import machine_of, tolerations_for

Json: TypeAlias = Mapping[str, Any]

KINDS: Final = (CUSTOM, "pods", "services", "secrets", "configmaps")
"""All that a launch may consist of; its record last, since it vouches for the others."""

TOKEN_BYTES: Final = 32


def ensure(space: Namespace, launch: LaunchOrder, settings: Settings) -> tuple[OwnedMachine, ...]:
    """Idempotent: whoever comes second finds the record of the first, and completes what that one began."""
    record = _found(space, launch) or _recorded(space, launch, settings)
    if record.is_going:
        raise Rejected(f"launch {launch.launch_id} was ended before")
    try:
        custom = _build(space, record)
    except (NoCapacity, QuotaExceeded, Rejected):
        _take_down(space, {LAUNCH_LABEL: label_value(launch.launch_id)})
        raise
    found = space.list("pods", {LAUNCH_LABEL: label_value(launch.launch_id)})
    return owned(groups([record], found, custom))


def release(space: Namespace, cluster_id: str, claim_id: str, members: Sequence[str]) -> None:
    for config_map in space.list("configmaps", _of_claim(cluster_id, claim_id)):
        record = record_of(config_map)
        order = record.order
        named = {place.member for place in record.kept if member_name(order, place.member) in members}
        if not named:
            continue
        if len(named) == len(record.kept):
            _take_down(space, {LAUNCH_LABEL: label_value(order.launch_id)})
        else:
            _give_back(space, config_map, record, named)


def terminate(space: Namespace, cluster_id: str, claim_id: str) -> Termination:
    """Never gone: what has ended leaves no trace here, so it cannot be told from what never was."""
    return Termination.GOING if _take_down(space, _of_claim(cluster_id, claim_id)) else Termination.UNSEEN


def list_owned(space: Namespace, cluster_id: str) -> tuple[OwnedMachine, ...]:
    """The pods are read first and compared with records that are younger."""
    ours = {CLUSTER_LABEL: label_value(cluster_id)}
    pods = space.list("pods", ours)
    customs = space.list(CUSTOM, ours)
    records = [record_of(each) for each in space.list("configmaps", ours)]
    machines = (*owned(groups(records, pods, customs)), *orphans(records, pods))
    return tuple(sorted(machines, key=lambda machine: machine.name))


def newest_group(space: Namespace, cluster_id: str, claim_id: str) -> Group:
    """The claim's last launch. Raises `Transient` while there is none."""
    records = [record_of(each) for each in space.list("configmaps", _of_claim(cluster_id, claim_id))]
    standing = [record for record in records if not record.is_going]
    if not standing:
        raise Transient(f"claim {claim_id} has no Ray cluster yet")
    record = max(standing, key=lambda each: (each.created_at, each.order.launch_id))
    pods = space.list("pods", {LAUNCH_LABEL: label_value(record.order.launch_id)})
    return groups([record], pods)[0]


def leftovers(space: Namespace, cluster_id: str) -> tuple[Leftover, ...]:
    ours = {CLUSTER_LABEL: label_value(cluster_id)}
    found = ((what, thing) for what in KINDS if what != "pods" for thing in space.list(what, ours))
    seen = (
        Leftover(
            kind=LeftoverKind.OBJECT,
            name=f"{what}/{thing['metadata']['name']}",
            zone=space.name,
            claim_id=id_of(thing, CLAIM_LABEL),
            created_at=datetime.fromisoformat(thing["metadata"]["creationTimestamp"]),
        )
        for what, thing in found
    )
    return tuple(sorted(seen, key=lambda each: each.name))


def remove(space: Namespace, leftover: Leftover) -> None:
    what, _, name = leftover.name.partition("/")
    if what not in KINDS or not name:
        raise Rejected(f"{leftover.name!r} is no Kubernetes object of ours")
    space.delete(what, name)


def _found(space: Namespace, launch: LaunchOrder) -> Record | None:
    config_map = space.get("configmaps", object_name(launch.launch_id))
    if config_map is None:
        return None
    record = record_of(config_map)
    if not record.order.asks_the_same(order_of(launch, is_kuberay=record.order.is_kuberay)):
        raise Rejected(f"launch {launch.launch_id} was ordered before with other parameters")
    return record


def _recorded(space: Namespace, launch: LaunchOrder, settings: Settings) -> Record:
    """Checks all that can be checked before anything exists."""
    is_kuberay = space.has_kuberay() if settings.kuberay is KubeRay.AUTO else settings.kuberay is KubeRay.YES
    plain = order_of(launch, is_kuberay=is_kuberay)
    for place in plain.places:
        manifests.requests_of(place.amounts, settings)
    order = order_of(launch, is_kuberay=is_kuberay, tolerations=_tolerations(space, plain, settings))
    try:
        return record_of(space.create("configmaps", config_map_of(order, space.name)))
    except Exists as twice:
        record = _found(space, launch)
        if record is None:
            raise Transient(f"launch {launch.launch_id} is being ended") from twice
        return record


def _tolerations(space: Namespace, order: Order, settings: Settings) -> Iterable[tuple[str, str, str]]:
    """Of every booked node. Raises `NoCapacity` for one that is gone, or takes nothing new."""
    wanted = set()
    for place in order.places:
        node = space.node(place.node_name)
        if node is None:
            raise NoCapacity(f"node {place.node_name} is gone")
        machine = machine_of(node, settings)
        if not machine.is_schedulable:
            raise NoCapacity(f"node {place.node_name} is cordoned or not ready")
        if not place.amounts.fits_in(machine.allocatable):
            raise NoCapacity(
                f"node {place.node_name} has {dict(machine.allocatable.named())}, "
                f"and {dict(place.amounts.named())} is wanted of it"
            )
        wanted |= set(tolerations_for(machine.taints))
    return sorted(wanted)


def _build(space: Namespace, record: Record) -> tuple[Json, ...]:
    """The RayCluster, or nothing without KubeRay. What is there already stays as it is."""
    settings = settings_of(record.order.settings)
    _create(space, "secrets", manifests.token_secret(record, settings, secrets.token_hex(TOKEN_BYTES)))
    if record.order.is_kuberay:
        return (space.apply(CUSTOM, manifests.ray_cluster(record, settings)),)
    _create(space, "services", manifests.head_service(record, settings))
    for pod in manifests.pods(record, settings):
        _create(space, "pods", pod)
    return ()


def _create(space: Namespace, what: str, thing: Json) -> None:
    """Its name has the launch in it, so one that exists is ours."""
    try:
        space.create(what, thing)
    except Exists:
        return


def _give_back(space: Namespace, config_map: Json, record: Record, named: set[str]) -> None:
    order = record.order
    released = sorted(record.released | named)
    change = {
        # Whoever changed it meanwhile gave back something else: this then comes again.
        "metadata": {"resourceVersion": config_map["metadata"]["resourceVersion"]},
        "data": {RELEASED_KEY: ",".join(released)},
    }
    changed = record_of(space.merge("configmaps", order.name, change))
    if order.is_kuberay:
        space.apply(CUSTOM, manifests.ray_cluster(changed, settings_of(order.settings)))
    else:
        for member in sorted(named):
            space.delete("pods", member_name(order, member))


def _take_down(space: Namespace, labels: Mapping[str, str]) -> bool:
    """Whether anything was there. An operator's pods are left until their RayCluster is gone: it would make new ones.

    Kubernetes deletes them too, but learns of a new kind of owner only after a while.
    """
    found = [(what, thing) for what in KINDS for thing in space.list(what, labels)]
    standing = {thing["metadata"]["uid"] for what, thing in found if what == CUSTOM}
    for what, thing in found:
        owners = {owner["uid"] for owner in thing["metadata"].get("ownerReferences") or ()}
        if "deletionTimestamp" not in thing["metadata"] and not owners & standing:
            space.delete(what, thing["metadata"]["name"])
    return bool(found)


def _of_claim(cluster_id: str, claim_id: str) -> dict[str, str]:
    return {CLUSTER_LABEL: label_value(cluster_id), CLAIM_LABEL: label_value(claim_id)}
