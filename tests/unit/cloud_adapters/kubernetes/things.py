"""Nodes and pods as the API server tells them, for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def node(
    name: str = "n1",
    *,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Json] = (),
    is_ready: bool = True,
    is_cordoned: bool = False,
    allocatable: Mapping[str, str] | None = None,
) -> Json:
    return {
        "metadata": {"name": name, "labels": dict(labels or {}), "resourceVersion": "1"},
        "spec": {"taints": list(taints)} | ({"unschedulable": True} if is_cordoned else {}),
        "status": {
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", **(allocatable or {})},
            "addresses": [
                {"type": "Hostname", "address": name},
                {"type": "InternalIP", "address": "10.0.0.1"},
            ],
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
        },
    }


def container(**requests: str) -> Json:
    named = {name.replace("nvidia_gpu", "nvidia.com/gpu"): text for name, text in requests.items()}
    return {"name": "c", "resources": {"requests": named}}


def pod(uid: str, node_name: str | None, *containers: Json, phase: str = "Running", **spec: object) -> Json:
    whole: Json = {"containers": list(containers), **spec}
    if node_name is not None:
        whole["nodeName"] = node_name
    return {
        "metadata": {
            "uid": uid,
            "name": uid,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": whole,
        "status": {"phase": phase},
    }
