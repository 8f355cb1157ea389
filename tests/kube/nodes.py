"""Played kubelets: register nodes, keep their leases, and move pods along as kubelets do.

What a pod's containers do is a `Runner`'s: `Claimed` only says that they run; `processes.py` really runs them.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Final, Protocol, Self

from tests.kube.rest import Json, Refused, Rest

LEASES: Final = "kube-node-lease"
RENEW_SECONDS: Final = 5.0
CONFLICT: Final = 409
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a runner says of a pod's only container."""

    is_running: bool
    is_ready: bool
    address: str | None
    exit_code: int | None = None
    waiting: tuple[str, str] | None = None
    """(reason, message)"""


class Runner(Protocol):
    def step(self, pod: Json) -> Container:
        """Starts it unless it was started, and says how it does."""

    def end(self, pod: Json) -> bool:
        """Asks it to end; whether it has."""


@dataclass(slots=True)
class Claimed:
    """Every pod runs at once, at an address that nobody answers at."""

    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By image: why it does not start."""

    exit_codes: dict[str, int] = field(default_factory=dict)
    """By pod's name: it has ended so."""

    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _addresses: dict[str, str] = field(default_factory=dict)

    def step(self, pod: Json) -> Container:
        image = pod["spec"]["containers"][0]["image"]
        if image in self.waiting:
            return Container(is_running=False, is_ready=False, address=None, waiting=self.waiting[image])
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        if uid not in self._addresses:
            number = next(self._numbers)
            self._addresses[uid] = f"10.99.{number // 250}.{number % 250 + 1}"
        code = self.exit_codes.get(name)
        is_running = code is None
        return Container(
            is_running=is_running, is_ready=is_running, address=self._addresses[uid], exit_code=code
        )

    def end(self, pod: Json) -> bool:
        return True


class Kubelets:
    """Of any number of nodes. `step` moves every pod on them along; leases are kept from the start to the end."""

    def __init__(self, rest: Rest, runner: Runner) -> None:
        self.runner = runner
        self._rest = rest
        self._names: list[str] = []
        self._silent: set[str] = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep_leases)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        for name in self._names:
            self._rest.delete("nodes", name)
            self._rest.delete("leases", name, LEASES)

    def add(
        self,
        name: str,
        allocatable: Mapping[str, str],
        *,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Json] = (),
        address: str = "10.99.255.254",
    ) -> None:
        node = {"metadata": {"name": name, "labels": dict(labels or {})}, "spec": {"taints": list(taints)}}
        self._rest.create("nodes", node)
        self._names.append(name)
        told = {
            "capacity": dict(allocatable),
            "allocatable": {"pods": "110", **allocatable},
            "conditions": [_condition("Ready", is_true=True, reason="KubeletReady")],
            "addresses": [{"type": "InternalIP", "address": address}],
        }
        self._rest.patch("nodes", name, {"status": told}, part="/status")
        self._renew(name)

    def remove(self, name: str) -> None:
        """As when a machine is gone for good: its pods are collected by Kubernetes."""
        self._names.remove(name)
        self._rest.delete("nodes", name)

    def silence(self, name: str) -> None:
        """The machine is lost: nothing of it answers, and its pods stay as they were."""
        self._silent.add(name)

    def tell(self, name: str, *, is_ready: bool) -> None:
        condition = _condition("Ready", is_true=is_ready, reason="Told")
        self._rest.patch("nodes", name, {"status": {"conditions": [condition]}}, part="/status")

    def are_schedulable(self) -> bool:
        """Whether Kubernetes has taken away the taints that every new node begins with."""
        ours = set(self._names) - self._silent
        return all(
            not any(
                each["key"].startswith("node.kubernetes.io/") for each in node["spec"].get("taints") or ()
            )
            for node in self._rest.list("nodes")
            if node["metadata"]["name"] in ours
        )

    def step(self, namespace: str) -> bool:
        """Whether anything changed."""
        ours = set(self._names) - self._silent
        pods = [pod for pod in self._rest.list("pods", namespace) if pod["spec"].get("nodeName") in ours]
        changes = [self._step(pod) for pod in pods]  # all of them, also after the first
        return any(changes)

    def _step(self, pod: Json) -> bool:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if "deletionTimestamp" in pod["metadata"]:
            if self.runner.end(pod):
                self._rest.delete("pods", name, namespace, grace_seconds=0)
            return True
        if pod["status"].get("phase") in {"Succeeded", "Failed"}:
            return False
        told = _told(pod, self.runner.step(pod))
        if all(pod["status"].get(key) == value for key, value in told.items()):
            return False
        try:
            self._rest.patch("pods", name, {"status": told}, namespace, part="/status")
        except Refused as refused:
            if refused.code not in {CONFLICT, NOT_FOUND}:
                raise
        return True

    def _keep_leases(self) -> None:
        while not self._is_over.wait(RENEW_SECONDS):
            for name in set(self._names) - self._silent:
                self._renew(name)

    def _renew(self, name: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
        try:
            self._rest.patch("leases", name, {"spec": spec}, LEASES)
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise
            self._rest.create("leases", {"metadata": {"name": name}, "spec": spec}, LEASES)


def _told(pod: Json, container: Container) -> Json:
    """The pod's status: conditions of others, the scheduler's among them, stay."""
    phase = "Running" if container.is_running else "Pending"
    state: Json = {"running": {}} if container.is_running else {"waiting": {"reason": "ContainerCreating"}}
    if container.exit_code is not None:
        phase = "Failed" if container.exit_code else "Succeeded"
        state = {"terminated": {"exitCode": container.exit_code, "reason": "Error"}}
    if container.waiting is not None:
        reason, message = container.waiting
        state = {"waiting": {"reason": reason, "message": message}}
    kept = [
        each for each in pod["status"].get("conditions") or () if each["type"] not in {"Ready", "Initialized"}
    ]
    ready = _condition("Ready", is_true=container.is_ready, reason=None)
    told: Json = {
        "phase": phase,
        "conditions": [*kept, ready],
        "containerStatuses": [
            {
                "name": pod["spec"]["containers"][0]["name"],
                "image": pod["spec"]["containers"][0]["image"],
                "imageID": "",
                "ready": container.is_ready,
                "restartCount": 0,
                "state": state,
            }
        ],
    }
    if container.address is not None:
        told |= {"podIP": container.address, "podIPs": [{"ip": container.address}]}
    return _as_was(pod["status"], told)


def _as_was(old: Json, new: Json) -> Json:
    """With the times and the defaults of what did not change, so that what is equal compares as equal."""
    was = {each["type"]: each for each in old.get("conditions") or ()}
    conditions = [
        was[each["type"]] if was.get(each["type"], {}).get("status") == each["status"] else each
        for each in new["conditions"]
    ]
    states = [each["state"] for each in old.get("containerStatuses") or ()]
    is_same = [set(each) for each in states] == [set(each["state"]) for each in new["containerStatuses"]]
    statuses = (
        old["containerStatuses"] if is_same and _ready(old) == _ready(new) else new["containerStatuses"]
    )
    return new | {"conditions": conditions, "containerStatuses": statuses}


def _ready(told: Json) -> list[bool]:
    return [each["ready"] for each in told.get("containerStatuses") or ()]


def _condition(kind: str, *, is_true: bool, reason: str | None) -> Json:
    condition = {"type": kind, "status": "True" if is_true else "False"}
    return condition if reason is None else condition | {"reason": reason}
