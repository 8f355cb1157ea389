"""Feasibility: whether some cluster could hold a gang if it were empty.

A gang that nothing could ever hold is refused at the door, where its author still looks. Where the answer is not
known (no cluster yet, or one that was never seen) it is accepted and explains itself from the queue.
"""

from collections.abc import Iterator, Sequence
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
class Tasks:
    """Those of a gang that need the same."""

    fewest: int
    amounts: Amounts
    accelerator: str | None
    path: str
    """Of where the spec says it."""

    count_field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What the largest cluster holds of tasks of a gang that fit nowhere."""

    tasks: Tasks
    tasks_held: int
    cluster: str


def shortfall(ask: Ask, capacity: Capacity) -> Shortfall | None:
    """Of the first role that no cluster could hold; None: there is none, or that is not known.

    Equal for all asks of one class. Whether roles fit beside each other is not asked.
    """
    if not capacity.is_known:
        return None
    for tasks in _parts(ask):
        held = [(_tasks_held(tasks, nodes), cluster.name) for cluster, nodes in capacity.clusters]
        most, largest = max(held)
        if most < tasks.fewest:
            return Shortfall(tasks=tasks, tasks_held=most, cluster=largest)
    return None


def refusal(short: Shortfall, *, path: str = "") -> Invalid:
    """Names what the largest cluster holds."""
    tasks, most = short.tasks, short.tasks_held
    need = in_words(tasks.amounts, tasks.accelerator)
    holds = f"the largest cluster {short.cluster!r} holds {most}"
    return Invalid(
        f"needs {tasks.fewest} x {need}, {holds}",
        field=path + (tasks.count_field if most else f"{tasks.path}resources"),
        value=tasks.fewest if most else need,
        limit=most or holds,
    )


def in_words(amounts: Amounts, accelerator: str | None) -> str:
    """`{cpu 1, gpu 0.5, accelerator A100}`."""
    parts = [f"{name} {_plain(name, value)}" for name, value in amounts.named()]
    parts += [f"accelerator {accelerator}"] if accelerator else []
    return "{" + ", ".join(parts) + "}"


def _parts(ask: Ask) -> Iterator[Tasks]:
    for place, role in enumerate(ask.traits.roles):
        yield Tasks(
            fewest=ask.fewest_of(role),
            amounts=role.amounts,
            accelerator=role.accelerator,
            path=f"roles.{place}.",
            count_field=f"roles.{place}.tasks",
        )
    if not ask.traits.roles:
        yield Tasks(
            fewest=ask.fewest,
            amounts=ask.amounts,
            accelerator=ask.accelerator,
            path="",
            count_field="tasks" if ask.fewest == ask.tasks else "min_tasks",
        )


def _tasks_held(tasks: Tasks, nodes: Sequence[Node]) -> int:
    fitting = (node for node in nodes if tasks.accelerator is None or node.accelerator == tasks.accelerator)
    return sum(tasks.amounts.times_in(node.allocatable) for node in fitting)


def _plain(name: str, value: int) -> str:
    return f"{value} bytes" if name == "memory" else f"{value / MILLI:g}"
