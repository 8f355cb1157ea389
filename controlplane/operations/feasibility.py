"""Feasibility: whether some cluster could hold a gang if it were empty.

A gang that nothing could ever hold is refused at the door, where its author still looks. Where the answer is not
known (no cluster yet, or one that was never seen) it is accepted and explains itself from the queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.claims import CLAIM_LABEL
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.errors import Invalid
from controlplane.domain.jobs import Ask
from controlplane.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Every cluster that is not detached, with its present nodes."""

    clusters: tuple[tuple[Cluster, tuple[Node, ...]], ...]

    @property
    def is_known(self) -> bool:
        return bool(self.clusters) and all(
            cluster.last_seen_at and _is_bounded(cluster, nodes) for cluster, nodes in self.clusters
        )


def _is_bounded(cluster: Cluster, nodes: Sequence[Node]) -> bool:
    """Where there is no address and no node but bought ones, more can be bought."""
    return cluster.url is not None or any(CLAIM_LABEL not in dict(node.labels) for node in nodes)


def load(tx: Tx) -> Capacity:
    clusters = tx.clusters.list()
    nodes = tx.nodes.present() if clusters else []
    return Capacity(
        clusters=tuple(
            (cluster, tuple(node for node in nodes if node.cluster_id == cluster.id)) for cluster in clusters
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What the largest cluster holds of a gang that fits nowhere."""

    tasks_held: int
    cluster: str


def shortfall(ask: Ask, capacity: Capacity) -> Shortfall | None:
    """None: it fits, or that is not known. Equal for all asks of one class."""
    if not capacity.is_known:
        return None
    held = [(_tasks_held(ask, nodes), cluster.name) for cluster, nodes in capacity.clusters]
    most, largest = max(held)
    return None if most >= ask.tasks else Shortfall(tasks_held=most, cluster=largest)


def refusal(ask: Ask, short: Shortfall, *, path: str = "") -> Invalid:
    """Names what the largest cluster holds."""
    most = short.tasks_held
    need = in_words(ask.amounts, ask.accelerator)
    holds = f"the largest cluster {short.cluster!r} holds {most}"
    field = "tasks" if most else "resources"
    return Invalid(
        f"needs {ask.tasks} x {need}, {holds}",
        field=path + field,
        value=ask.tasks if most else need,
        limit=most or holds,
    )


def in_words(amounts: Amounts, accelerator: str | None) -> str:
    """`{cpu 1, gpu 0.5, accelerator A100}`."""
    parts = [f"{name} {_plain(name, value)}" for name, value in amounts.named()]
    parts += [f"accelerator {accelerator}"] if accelerator else []
    return "{" + ", ".join(parts) + "}"


def _tasks_held(ask: Ask, nodes: Sequence[Node]) -> int:
    fitting = (node for node in nodes if ask.accelerator is None or node.accelerator == ask.accelerator)
    return sum(ask.amounts.times_in(node.allocatable) for node in fitting)


def _plain(name: str, value: int) -> str:
    return f"{value} bytes" if name == "memory" else f"{value / MILLI:g}"
