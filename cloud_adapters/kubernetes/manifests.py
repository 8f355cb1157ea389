"""Manifests: the objects that make a Ray cluster of an order. Pure.

Each member has a worker group of its own, bound to its node by name: one group with several nodes to choose from
put members on nodes that others had booked.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from cloud_adapters.base import MILLI, Amounts, Rejected
from cloud_adapters.kubernetes.orders import (
    HEAD,
    LAUNCH_LABEL,
    MEMBER_LABEL,
    NODE_LABEL,
    Order,
    Place,
    Record,
    annotations_of,
    label_value,
    labels_of,
    member_name,
)
from cloud_adapters.kubernetes.quantities import milli_text
from cloud_adapters.kubernetes.settings import Settings

Json: TypeAlias = Mapping[str, Any]

RAY_API: Final = "ray.io/v1"
TOKEN_KEY: Final = "auth_token"  # noqa: S105 # a name; KubeRay's own for the same thing
DASHBOARD_PORT: Final = 8265
GCS_PORT: Final = 6379
AGENT_PORT: Final = 52365
PORTS: Final = {
    "dashboard-agent-grpc-port": "52366",
    "metrics-export-port": "52367",
    "runtime-env-agent-port": "52368",
}
"""Chosen here, since a pod's network is its own: Ray's node ends when a process has not said its port in 15 seconds."""

MEBIBYTE: Final = 2**20
LEAST_OBJECT_STORE: Final = 80 * MEBIBYTE
"""Ray refuses to start with less."""

OBJECT_STORE_PART: Final = 5
"""A fifth of a member's memory: the rest is what its tasks booked."""

QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
POD_GROUP_LABEL: Final = "kueue.x-k8s.io/pod-group-name"
POD_GROUP_SIZE: Final = "kueue.x-k8s.io/pod-group-total-count"


def token_secret(record: Record, settings: Settings, token: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(record, settings.namespace, record.order.name),
        "immutable": True,
        "stringData": {TOKEN_KEY: token},
    }


def ray_cluster(record: Record, settings: Settings) -> Json:
    order = record.order
    metadata = _metadata(record, settings.namespace, order.name)
    if settings.kueue_queue:
        metadata["labels"][QUEUE_LABEL] = settings.kueue_queue
    spec: dict[str, object] = {
        "rayVersion": settings.ray_version,
        "enableInTreeAutoscaling": False,
        "headGroupSpec": {
            "rayStartParams": _head_params(settings),
            "template": _template(order, _head_pod(order, settings), HEAD),
        },
        "workerGroupSpecs": [_group(record, place, settings) for place in order.places],
    }
    if settings.managed_by:
        spec["managedBy"] = settings.managed_by
    return {"apiVersion": RAY_API, "kind": "RayCluster", "metadata": metadata, "spec": spec}


def head_service(record: Record, settings: Settings) -> Json:
    """Without KubeRay. Headless: Ray's nodes need the head's own address, and no balancing."""
    order = record.order
    ports = {"gcs": GCS_PORT, "dashboard": DASHBOARD_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(record, settings.namespace, order.service),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # members join before the head counts as ready
            "selector": {LAUNCH_LABEL: label_value(order.launch_id), MEMBER_LABEL: HEAD},
            "ports": [{"name": name, "port": port} for name, port in ports.items()],
        },
    }


def pods(record: Record, settings: Settings) -> tuple[Json, ...]:
    """Without KubeRay: the head, then the members that were not given back."""
    order = record.order
    head = _pod(record, settings, HEAD, _head_pod(order, settings), _head_command(settings))
    members = (
        _pod(
            record,
            settings,
            place.member,
            _member_pod(order, place, settings),
            _join_command(order, place, settings),
        )
        for place in record.kept
    )
    return (head, *members)


def requests_of(amounts: Amounts, settings: Settings) -> dict[str, str]:
    """Raises `Rejected` for a part of what Kubernetes counts in whole numbers."""
    customs = dict(settings.custom_resources)
    asked = {"cpu": milli_text(amounts.cpu_milli), "memory": str(amounts.memory_bytes)}
    asked[settings.gpu_resource] = _whole(settings.gpu_resource, amounts.gpu_milli * settings.gpu_units)
    for ours, milli in amounts.custom_milli:
        if ours not in customs:
            raise Rejected(
                f"the setting custom_resources does not say what {ours!r} is called in the cluster"
            )
        asked[customs[ours]] = _whole(customs[ours], milli)
    return {name: text for name, text in asked.items() if text != "0"}


def _whole(name: str, milli: int) -> str:
    if milli % MILLI:
        raise Rejected(f"a pod takes {name} in whole numbers, not {milli / MILLI}")
    return str(milli // MILLI)


def _group(record: Record, place: Place, settings: Settings) -> Json:
    """An operator does not take down what a group that vanished has left, so one that was given back stays, empty."""
    replicas = 0 if place.member in record.released else 1
    return {
        "groupName": place.member,
        "replicas": replicas,
        "minReplicas": replicas,
        "maxReplicas": 1,
        "numOfHosts": 1,
        "labels": {NODE_LABEL: label_value(place.node_name)},
        "rayStartParams": _member_params(place.amounts),
        "template": _template(record.order, _member_pod(record.order, place, settings), place.member),
    }


def _template(order: Order, spec: Json, member: str) -> Json:
    labels = labels_of(order) | {MEMBER_LABEL: member}
    return {"metadata": {"labels": labels, "annotations": annotations_of(order)}, "spec": spec}


def _pod(record: Record, settings: Settings, member: str, spec: dict[str, Any], command: str) -> Json:
    metadata = _metadata(record, settings.namespace, member_name(record.order, member))
    metadata["labels"][MEMBER_LABEL] = member
    if settings.kueue_queue:
        metadata["labels"] |= {QUEUE_LABEL: settings.kueue_queue, POD_GROUP_LABEL: record.order.name}
        metadata["annotations"] |= {POD_GROUP_SIZE: str(len(record.order.places) + 1)}
    container = dict(spec["containers"][0])
    container["command"] = ["/bin/bash", "-c", command]
    container["readinessProbe"] = _probe(member)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**spec, "containers": [container]},
    }


def _probe(member: str) -> Json:
    path, port = ("gcs_healthz", DASHBOARD_PORT) if member == HEAD else ("local_raylet_healthz", AGENT_PORT)
    return {
        "httpGet": {"path": f"/api/{path}", "port": port},
        "periodSeconds": 2,
        "timeoutSeconds": 5,
        "failureThreshold": 15,
    }


def _head_pod(order: Order, settings: Settings) -> dict[str, Any]:
    spec = _pod_spec(order, settings, settings.head)
    spec["containers"][0]["ports"] = [
        {"name": "gcs", "containerPort": GCS_PORT},
        {"name": "dashboard", "containerPort": DASHBOARD_PORT},
    ]
    if settings.node_selector:
        spec["nodeSelector"] = dict(settings.node_selector)
    # Beside a member where there is room: what ends that node would have ended the gang anyway.
    spec["affinity"] = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": _named(order.places[0])}
            ]
        }
    }
    return spec


def _member_pod(order: Order, place: Place, settings: Settings) -> dict[str, Any]:
    spec = _pod_spec(order, settings, place.amounts)
    spec["affinity"] = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_named(place)]}
        }
    }
    return spec


def _named(place: Place) -> Json:
    """By the node's name, and not by a label that anybody may set."""
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [place.node_name]}]}


def _pod_spec(order: Order, settings: Settings, amounts: Amounts) -> dict[str, Any]:
    asked = requests_of(amounts, settings)
    environment = [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {
            "name": "RAY_AUTH_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": order.name, "key": TOKEN_KEY}},
        },
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
    ]
    spec: dict[str, Any] = {
        # A container that ended has lost its tasks: another one in its place would look like the same node.
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": settings.service_account is not None,
        "tolerations": [_toleration(*each) for each in order.tolerations],
        "containers": [
            {
                "name": "ray",
                "image": settings.ray_image,
                "env": environment,
                "resources": {"requests": asked, "limits": dict(asked)},
                "securityContext": {"allowPrivilegeEscalation": False},
                "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}],  # noqa: S108 # where Ray has it
            }
        ],
        "volumes": [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}],
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    return spec


def _toleration(key: str, value: str, effect: str) -> Json:
    return {"key": key, "operator": "Equal", "value": value, "effect": effect}


def _head_params(settings: Settings) -> dict[str, str]:
    """Tasks stay off the head: when it runs out of memory, the whole cluster is gone."""
    return {
        "dashboard-host": "0.0.0.0",  # noqa: S104 # within the pod's network; a token is asked for
        "num-cpus": "0",
        "num-gpus": "0",
        "object-store-memory": str(_object_store(settings.head)),
        **PORTS,
    }


def _member_params(amounts: Amounts) -> dict[str, str]:
    """Ray counts in whole CPUs and GPUs: what is booked inside never adds up to more than the share."""
    params = {
        "num-cpus": str(-(-amounts.cpu_milli // MILLI)),
        "num-gpus": str(-(-amounts.gpu_milli // MILLI)),
        "object-store-memory": str(_object_store(amounts)),
        **PORTS,
    }
    if amounts.memory_bytes:
        params["memory"] = str(amounts.memory_bytes)
    if amounts.custom_milli:
        named = {name: milli / MILLI for name, milli in amounts.custom_milli}
        params["resources"] = f"'{json.dumps(named)}'"  # pasted into a shell's line, by KubeRay too
    return params


def _object_store(amounts: Amounts) -> int:
    return max(LEAST_OBJECT_STORE, amounts.memory_bytes // OBJECT_STORE_PART)


def _head_command(settings: Settings) -> str:
    ports = f"--port={GCS_PORT} --dashboard-port={DASHBOARD_PORT}"
    return f"exec ray start --head --block {ports} {_flags(_head_params(settings))}"


def _join_command(order: Order, place: Place, settings: Settings) -> str:
    """Ray gives up on a head that is not there yet, so its port is awaited first: by the shell, which costs nothing."""
    host = f"{order.service}.{settings.namespace}.svc"
    label = f"{NODE_LABEL}={label_value(place.node_name)}"
    flags = f"--address={host}:{GCS_PORT} --labels={label} {_flags(_member_params(place.amounts))}"
    wait = f"until (exec 3<>/dev/tcp/{host}/{GCS_PORT}) 2>/dev/null; do sleep 1; done"
    return f"{wait}; exec ray start --block {flags}"


def _flags(params: Mapping[str, str]) -> str:
    return " ".join(f"--{name}={value}" for name, value in params.items())


def _metadata(record: Record, namespace: str, name: str) -> dict[str, Any]:
    """Owned by the launch: when that is deleted, Kubernetes deletes this."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": labels_of(record.order),
        "annotations": annotations_of(record.order),
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": record.order.name, "uid": record.uid}
        ],
    }
