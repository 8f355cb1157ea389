"""Keeps the books of one cluster: its nodes, and what each pod holds of them. Fed by lists and changes."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from cloud_adapters.base import Machine
from cloud_adapters.kubernetes.settings import Settings
from cloud_adapters.kubernetes.translate import Held, held_by, is_lent, machine_of
from controlplane.domain.amounts import total

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Of objects of one kind. A call that raises leaves it as it was."""

    replace: Callable[[Iterable[Json]], None]
    """By what a whole list says: what it does not show does not exist."""

    put: Callable[[Json], None]
    drop: Callable[[Json], None]


class Ledger:
    """Safe for threads. Only nodes whose pods changed are added up again."""

    def __init__(self, settings: Settings, cluster_id: str) -> None:
        self.nodes = Book(replace=self._replace_nodes, put=self._put_node, drop=self._drop_node)
        self.pods = Book(replace=self._replace_pods, put=self._put_pod, drop=self._drop_pod)
        self._settings = settings
        self._cluster_id = cluster_id
        self._lock = threading.Lock()
        self._nodes: dict[str, Machine] = {}
        self._held: dict[str, Held] = {}
        """By the pod's uid."""

        self._on_node: dict[str, set[str]] = {}
        """uids of pods."""

        self._added_up: dict[str, Machine] = {}
        """Machines with what is used of them, for nodes that did not change since."""

    def machines(self) -> tuple[Machine, ...]:
        """Sorted by name. What our members hold is told apart by their labels, from the moment that they are there."""
        with self._lock:
            for name in self._nodes.keys() - self._added_up.keys():
                held = [self._held[uid] for uid in self._on_node.get(name, ())]
                ours = total(each.amounts for each in held if each.is_ours)
                used = total(each.amounts for each in held)
                self._added_up[name] = replace(self._nodes[name], used=used, ours=ours)
            return tuple(self._added_up[name] for name in sorted(self._nodes))

    def _replace_nodes(self, nodes: Iterable[Json]) -> None:
        machines = [machine_of(node, self._settings) for node in nodes if is_lent(node, self._settings)]
        with self._lock:
            self._nodes = {machine.name: machine for machine in machines}
            self._added_up.clear()

    def _put_node(self, node: Json) -> None:
        if not is_lent(node, self._settings):  # its labels may have changed
            self._drop_node(node)
            return
        machine = machine_of(node, self._settings)
        with self._lock:
            if self._nodes.get(machine.name) != machine:  # kubelets write a node anew all the time
                self._nodes[machine.name] = machine
                self._added_up.pop(machine.name, None)

    def _drop_node(self, node: Json) -> None:
        with self._lock:
            self._nodes.pop(node["metadata"]["name"], None)
            self._added_up.pop(node["metadata"]["name"], None)

    def _replace_pods(self, pods: Iterable[Json]) -> None:
        held: dict[str, Held] = {}
        on_node: dict[str, set[str]] = {}
        for pod in pods:
            found = held_by(pod, self._settings, self._cluster_id)
            if found is not None:
                held[pod["metadata"]["uid"]] = found
                on_node.setdefault(found.node_name, set()).add(pod["metadata"]["uid"])
        with self._lock:
            self._held, self._on_node = held, on_node
            self._added_up.clear()

    def _put_pod(self, pod: Json) -> None:
        uid, new = pod["metadata"]["uid"], held_by(pod, self._settings, self._cluster_id)
        with self._lock:
            if self._held.get(uid) == new:  # most changes of a pod change nothing that it holds
                return
            self._forget(uid)
            if new is not None:
                self._held[uid] = new
                self._on_node.setdefault(new.node_name, set()).add(uid)
                self._added_up.pop(new.node_name, None)

    def _drop_pod(self, pod: Json) -> None:
        with self._lock:
            self._forget(pod["metadata"]["uid"])

    def _forget(self, uid: str) -> None:
        old = self._held.pop(uid, None)
        if old is not None:
            self._on_node[old.node_name].discard(uid)
            self._added_up.pop(old.node_name, None)
