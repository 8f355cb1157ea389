"""Nodes and pods of Kubernetes as machines and what is used of them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cloud_adapters.base import MILLI, Amounts, Machine, Taint, custom_amounts
from cloud_adapters.kubernetes.orders import CLUSTER_LABEL, HEAD, MEMBER_LABEL, label_value
from cloud_adapters.kubernetes.quantities import milli_had, milli_held
from cloud_adapters.kubernetes.settings import Settings

Json: TypeAlias = Mapping[str, Any]

OVER: Final = frozenset({"Succeeded", "Failed"})
"""Phases of pods that hold nothing any more."""

CONDITION_TAINTS: Final = "node.kubernetes.io/"
"""Kubernetes sets these itself, for as long as a node is ill or cordoned."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one pod holds of one node."""

    node_name: str
    amounts: Amounts
    is_ours: bool = False
    """A member's pod of the cluster, which a seat is booked for. Nobody books what a head takes."""


def machine_of(node: Json, settings: Settings) -> Machine:
    """Without what is used of it."""
    metadata, spec, told = node["metadata"], node.get("spec", {}), node.get("status", {})
    labels = metadata.get("labels") or {}
    taints = tuple(
        Taint(key=each["key"], value=each.get("value", ""), effect=each["effect"])
        for each in spec.get("taints") or ()
    )
    return Machine(
        name=metadata["name"],
        host=_host(told.get("addresses") or (), metadata["name"]),
        allocatable=_had(told.get("allocatable") or {}, settings),
        accelerator=labels.get(settings.accelerator_label),
        labels=tuple(sorted(labels.items())),
        taints=taints,
        is_schedulable=not spec.get("unschedulable", False) and is_true(told, "Ready"),
    )


def is_lent(node: Json, settings: Settings) -> bool:
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in settings.node_selector)


def held_by(pod: Json, settings: Settings, cluster_id: str) -> Held | None:
    """None for a pod that is on no node, or over."""
    spec = pod.get("spec", {})
    node_name = spec.get("nodeName")
    if not node_name or pod.get("status", {}).get("phase") in OVER:
        return None
    return Held(node_name, _held(pod_requests(spec), settings), is_ours=_is_ours(pod, cluster_id))


def pod_requests(spec: Json) -> dict[str, int]:
    """In thousandths, by Kubernetes' own names, as its scheduler counts: the most that is asked for at any time.

    Init containers run one after the other, before the others; those that restart always stay beside what follows.
    """
    staying: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            staying = _sum(staying, own)
            peak = _most(peak, staying)
        else:
            peak = _most(peak, _sum(staying, own))
    for container in spec.get("containers") or ():
        staying = _sum(staying, _requests(container))
    # A pod may ask as a whole: that then stands for what its containers ask of the same thing.
    asked = _most(peak, staying) | _requests(spec)
    overhead = {name: milli_held(str(text)) for name, text in (spec.get("overhead") or {}).items()}
    return _sum(asked, overhead)


def is_true(told: Json, condition: str) -> bool:
    """Of the object's status: a condition that is not there is not true."""
    found = condition_of(told, condition)
    return found is not None and found.get("status") == "True"


def condition_of(told: Json, name: str) -> Json | None:
    return next((each for each in told.get("conditions") or () if each.get("type") == name), None)


def tolerations_for(taints: Iterable[Taint]) -> tuple[tuple[str, str, str], ...]:
    """(key, value, effect) of what our pods must tolerate there; an illness of the node is not among it."""
    return tuple(
        sorted(
            {
                (each.key, each.value, each.effect)
                for each in taints
                if not each.key.startswith(CONDITION_TAINTS)
            }
        )
    )


def _is_ours(pod: Json, cluster_id: str) -> bool:
    labels = pod["metadata"].get("labels") or {}
    is_member = labels.get(MEMBER_LABEL, HEAD) != HEAD
    return is_member and labels.get(CLUSTER_LABEL) == label_value(cluster_id)


def _host(addresses: Iterable[Json], name: str) -> str:
    known = {each["type"]: str(each["address"]) for each in addresses}
    return known.get("InternalIP") or known.get("Hostname") or name


def _requests(container: Json) -> dict[str, int]:
    asked = (container.get("resources") or {}).get("requests") or {}
    return {name: milli_held(str(text)) for name, text in asked.items()}


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    if not first or not second:
        return dict(first or second)
    return {name: first.get(name, 0) + second.get(name, 0) for name in first.keys() | second.keys()}


def _most(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    if not first or not second:
        return dict(first or second)
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in first.keys() | second.keys()}


def _had(allocatable: Mapping[str, object], settings: Settings) -> Amounts:
    wanted = {"cpu", "memory", settings.gpu_resource, *(theirs for _, theirs in settings.custom_resources)}
    milli = {name: milli_had(str(text)) for name, text in allocatable.items() if name in wanted}
    return _amounts(milli, settings, gpu_milli=milli.get(settings.gpu_resource, 0) // settings.gpu_units)


def _held(milli: Mapping[str, int], settings: Settings) -> Amounts:
    return _amounts(milli, settings, gpu_milli=-(-milli.get(settings.gpu_resource, 0) // settings.gpu_units))


def _amounts(milli: Mapping[str, int], settings: Settings, *, gpu_milli: int) -> Amounts:
    customs = ((ours, milli.get(theirs, 0)) for ours, theirs in settings.custom_resources)
    return Amounts(
        cpu_milli=milli.get("cpu", 0),
        memory_bytes=milli.get("memory", 0) // MILLI,
        gpu_milli=gpu_milli,
        custom_milli=custom_amounts(customs) if settings.custom_resources else (),
    )
