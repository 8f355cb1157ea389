"""What a claim has in the cluster, read off its launches and their pods. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cloud_adapters.base import CLAIM_LABEL, MachineState, OwnedMachine
from cloud_adapters.kubernetes.orders import (
    HEAD,
    LAUNCH_LABEL,
    MEMBER_LABEL,
    Place,
    Record,
    id_of,
    label_value,
    member_name,
)
from cloud_adapters.kubernetes.translate import OVER, condition_of, is_true

Json: TypeAlias = Mapping[str, Any]

WAITS_FOR_NOTHING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons for which every container waits for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The pods of one launch, by member; newest first, as the operator may have replaced some."""

    record: Record
    pods: Mapping[str, Sequence[Json]]
    custom: Json | None
    """The RayCluster, where there is one."""

    def present(self, member: str) -> Json | None:
        """The pod that stands for the member now: one that is not on its way out, or over."""
        return next((pod for pod in self.pods.get(member, ()) if not is_leaving(pod)), None)

    def latest(self, member: str) -> Json | None:
        return next(iter(self.pods.get(member, ())), None)


def groups(
    records: Iterable[Record], pods: Iterable[Json], customs: Iterable[Json] = ()
) -> tuple[Group, ...]:
    """Puts together what belongs together. Read the pods last: they are what is to be acted on."""
    by_launch: dict[str, dict[str, list[Json]]] = {}
    for pod in sorted(pods, key=_age, reverse=True):
        labels = pod["metadata"].get("labels") or {}
        members = by_launch.setdefault(labels.get(LAUNCH_LABEL, ""), {})
        members.setdefault(labels.get(MEMBER_LABEL, HEAD), []).append(pod)
    named = {custom["metadata"]["name"]: custom for custom in customs}
    return tuple(
        Group(
            record=record,
            pods=by_launch.get(label_value(record.order.launch_id), {}),
            custom=named.get(record.order.name),
        )
        for record in records
    )


def owned(found: Iterable[Group]) -> tuple[OwnedMachine, ...]:
    """One machine a member, sorted by name: also of those that have no pod yet, or only one that ends."""
    machines = (machine for group in found for machine in _owned(group))
    return tuple(sorted(machines, key=lambda machine: machine.name))


def orphans(records: Iterable[Record], pods: Iterable[Json]) -> tuple[OwnedMachine, ...]:
    """Members whose launch is gone already, while they are still ending; on a lost node that takes long."""
    known = {label_value(record.order.launch_id) for record in records}
    return tuple(
        OwnedMachine(
            name=pod["metadata"]["name"],
            zone="",
            claim_id=id_of(pod, CLAIM_LABEL) or "",
            launch_id=id_of(pod, LAUNCH_LABEL) or "",
            state=MachineState.STOPPING,
            host=pod.get("status", {}).get("podIP"),
            problem=trouble(pod),
        )
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(LAUNCH_LABEL) not in known
    )


def is_leaving(pod: Json) -> bool:
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in OVER


def is_ready(pod: Json | None) -> bool:
    return pod is not None and not is_leaving(pod) and is_true(pod.get("status", {}), "Ready")


def trouble(pod: Json) -> str | None:
    """Why it does not come up, or is being taken back, in Kubernetes' words."""
    told = pod.get("status", {})
    disrupted = condition_of(told, "DisruptionTarget")
    if disrupted is not None and disrupted.get("status") == "True":
        return _said(disrupted)
    if told.get("phase") in OVER or told.get("reason"):
        return _said(told) if told.get("reason") else _ended(told)
    scheduled = condition_of(told, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return _said(scheduled)
    return _waiting(told)


def _owned(group: Group) -> Iterable[OwnedMachine]:
    record, lost = group.record, _lost_head(group)
    for place in record.order.places:
        pod = group.present(place.member) or group.latest(place.member)
        if pod is None and not _is_to_come(group, place):
            continue
        yield OwnedMachine(
            name=member_name(record.order, place.member),
            zone=record.order.zone,
            claim_id=record.order.claim_id,
            launch_id=record.order.launch_id,
            state=MachineState.STOPPING if lost else _state(record, place, pod),
            host=(pod or {}).get("status", {}).get("podIP"),
            problem=_problem(group, place, pod) or lost,
        )


def _lost_head(group: Group) -> str | None:
    """Why nothing can come of the members any more: a head that is over, or was deleted, and that nobody replaces."""
    # It is created before any member.
    if group.record.order.is_kuberay or not group.pods or group.present(HEAD) is not None:
        return None
    pod = group.latest(HEAD)
    why = "it was deleted" if pod is None else trouble(pod) or "its pod was deleted"
    return f"the head of its Ray cluster is gone: {why}"


def _is_to_come(group: Group, place: Place) -> bool:
    """Whether the operator has yet to make the member's pod. Nobody else makes one later."""
    return (
        group.custom is not None and not group.record.is_going and place.member not in group.record.released
    )


def _state(record: Record, place: Place, pod: Json | None) -> MachineState:
    if record.is_going or place.member in record.released:
        return MachineState.STOPPING
    if pod is None:
        return MachineState.PENDING
    if is_leaving(pod):
        # The operator puts another pod in its place; without it, a pod that ended is not replaced.
        return MachineState.PENDING if record.order.is_kuberay else MachineState.STOPPING
    return MachineState.RUNNING if is_ready(pod) else MachineState.PENDING


def _problem(group: Group, place: Place, pod: Json | None) -> str | None:
    if pod is None:
        return None if group.custom is None else _no_pod(group.custom)
    really = pod.get("spec", {}).get("nodeName")
    if really and really != place.node_name:
        return f"it is on node {really}, and not on {place.node_name} as booked"
    if "deletionTimestamp" in pod["metadata"]:
        return trouble(pod) or "its pod was deleted"
    return None if is_ready(pod) else trouble(pod)


def _no_pod(custom: Json) -> str:
    told = custom.get("status") or {}
    if custom["spec"].get("suspend"):
        return "its RayCluster is suspended: it waits for its queue"
    failure = condition_of(told, "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return _said(failure)
    return str(told.get("reason") or "the KubeRay operator has made no pod for it yet")


def _said(told: Json) -> str:
    parts = (str(told.get("reason") or ""), str(told.get("message") or ""))
    return ": ".join(filter(None, parts))


def _ended(told: Json) -> str:
    for each in told.get("containerStatuses") or ():
        ended = (each.get("state") or {}).get("terminated")
        if ended:
            return f"its container ended with {ended.get('exitCode')}: {_said(ended)}".rstrip(": ")
    return f"its pod is over: {told.get('phase')}"


def _waiting(told: Json) -> str | None:
    for each in (*(told.get("initContainerStatuses") or ()), *(told.get("containerStatuses") or ())):
        waiting = (each.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in WAITS_FOR_NOTHING:
            return _said(waiting)
    return None


def _age(pod: Json) -> tuple[bool, str, str]:
    """Those that stay count as younger than those on their way out."""
    metadata = pod["metadata"]
    return (not is_leaving(pod), metadata.get("creationTimestamp", ""), metadata["name"])
