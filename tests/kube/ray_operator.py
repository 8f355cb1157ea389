"""A double of the KubeRay operator: makes the pods, the service and the status of RayClusters, as it names them.

Its vices are those that the real one has shown: it may be away, it leaves the pods of a vanished group alone, and it
may be refused by the API server.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.kube.rest import Json, Refused, Rest

LONGEST_PREFIX: Final = 50
HEAD_PORTS: Final = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
CONFLICT: Final = 409
HEAD_GROUP: Final = "headgroup"
GONE: Final = frozenset({"Succeeded", "Failed"})


@dataclass(slots=True)
class RayOperator:
    rest: Rest
    namespace: str
    is_away: bool = False

    def step(self) -> bool:
        """Whether anything changed."""
        if self.is_away:
            return False
        clusters = self.rest.list("rayclusters", self.namespace)
        pods = self.rest.list("pods", self.namespace)
        standing = [each for each in clusters if "deletionTimestamp" not in each["metadata"]]
        changes = [self._step(each, pods) for each in standing]  # all of them, also after the first
        return any(changes)

    def _step(self, cluster: Json, pods: Iterable[Json]) -> bool:
        name, spec = cluster["metadata"]["name"], cluster["spec"]
        mine = [
            pod
            for pod in pods
            if (pod["metadata"].get("labels") or {}).get("ray.io/cluster") == name
            and "deletionTimestamp" not in pod["metadata"]
        ]
        if spec.get("suspend"):
            return self._ended(mine) or self._told(cluster, {"state": "suspended", "reason": ""})
        changed = self._serve(cluster)
        changed |= self._ended([pod for pod in mine if pod["status"].get("phase") in GONE])
        mine = [pod for pod in mine if pod["status"].get("phase") not in GONE]
        try:
            head = spec["headGroupSpec"] | {"groupName": HEAD_GROUP, "replicas": 1}
            for group in (head, *(spec.get("workerGroupSpecs") or ())):
                changed |= self._scale(cluster, group, mine)
        except Refused as refused:
            if refused.code == CONFLICT:
                return True
            if (cluster.get("status") or {}).get("state") == "failed":  # it says so once, and tries on
                return False
            return self._told(cluster, {"state": "failed", "reason": str(refused)})
        ready = sum(
            is_ready(pod) for pod in mine if pod["metadata"]["labels"]["ray.io/node-type"] == "worker"
        )
        head = {"serviceName": f"{name}-head-svc"}
        return self._told(cluster, {"head": head, "readyWorkerReplicas": ready, "reason": ""}) or changed

    def _scale(self, cluster: Json, group: Json, mine: list[Json]) -> bool:
        replicas = group["replicas"]
        have = [pod for pod in mine if pod["metadata"]["labels"]["ray.io/group"] == group["groupName"]]
        for _ in range(replicas - len(have)):
            self.rest.create("pods", _pod(cluster, group), self.namespace)
        return self._ended(have[replicas:]) or len(have) < replicas

    def _serve(self, cluster: Json) -> bool:
        name = cluster["metadata"]["name"]
        if self.rest.get("services", f"{name}-head-svc", self.namespace) is not None:
            return False
        service = {
            "metadata": {"name": f"{name}-head-svc", "ownerReferences": [_owner(cluster)]},
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": {"ray.io/cluster": name, "ray.io/node-type": "head"},
                "ports": [{"name": port, "port": number} for port, number in HEAD_PORTS.items()],
            },
        }
        self.rest.create("services", service, self.namespace)
        return True

    def _ended(self, pods: list[Json]) -> bool:
        for pod in pods:
            self.rest.delete("pods", pod["metadata"]["name"], self.namespace)
        return bool(pods)

    def _told(self, cluster: Json, told: Json) -> bool:
        old = cluster.get("status") or {}
        new = told | {"observedGeneration": cluster["metadata"]["generation"]}
        if all(old.get(key) == value for key, value in new.items()):
            return False
        try:
            name = cluster["metadata"]["name"]
            self.rest.patch("rayclusters", name, {"status": new}, self.namespace, part="/status")
        except Refused as refused:
            if refused.code != CONFLICT:
                raise
        return True


def _pod(cluster: Json, group: Json) -> Json:
    name, group_name = cluster["metadata"]["name"], group["groupName"]
    kind = "head" if group_name == HEAD_GROUP else "worker"
    prefix = f"{name}-head-" if kind == "head" else f"{name}-{group_name}-worker-"
    labels = {"ray.io/cluster": name, "ray.io/group": group_name, "ray.io/node-type": kind}
    metadata, spec = group["template"].get("metadata", {}), group["template"]["spec"]
    return {
        "metadata": {
            "name": prefix[:LONGEST_PREFIX] + secrets.token_hex(3)[:5],
            "labels": metadata.get("labels", {}) | labels,
            "annotations": metadata.get("annotations", {}),
            "ownerReferences": [_owner(cluster)],
        },
        "spec": spec | {"containers": [spec["containers"][0] | _started(cluster, group, kind)]},
    }


def _started(cluster: Json, group: Json, kind: str) -> Json:
    """The command that the operator makes of the parameters, its wait for the head, and its probe."""
    flags = " ".join(f"--{key}={value}" for key, value in group.get("rayStartParams", {}).items())
    metadata = cluster["metadata"]
    head = f"{metadata['name']}-head-svc.{metadata['namespace']}.svc.cluster.local"
    path, port = ("gcs_healthz", 8265) if kind == "head" else ("local_raylet_healthz", 52365)
    line = f"ray start --head --block {flags}"
    if kind == "worker":  # the operator waits with `ray health-check`, which on two cores starves the head
        wait = f"until (exec 3<>/dev/tcp/{head}/6379) 2>/dev/null; do sleep 1; done"
        line = f"{wait}; ray start --block --address={head}:6379 {flags}"
    return {
        "command": ["/bin/bash", "-c", "--"],
        "args": [f"ulimit -n 65536; {line}"],
        "readinessProbe": {"httpGet": {"path": f"/api/{path}", "port": port}},
    }


def _owner(cluster: Json) -> Json:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "name": cluster["metadata"]["name"],
        "uid": cluster["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_ready(pod: Json) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions") or ()
    )
