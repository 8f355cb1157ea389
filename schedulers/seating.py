"""Seating: which nodes a gang could take now, and in words why it could not."""

from collections.abc import Iterable, Mapping, Sequence

from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.ids import ClusterId, NodeId
from schedulers.base import AskClass, ClusterView, Defer, NodeView, Placement, ReasonCode


def seat(
    ask_class: AskClass, nodes: Iterable[NodeView], free: Mapping[NodeId, Amounts]
) -> tuple[Placement, ...]:
    """First fit over the nodes of one cluster, in the order given: all tasks or none."""
    seats: list[NodeId] = []
    for node in nodes:
        if carries(node, ask_class):
            wanted = ask_class.tasks - len(seats)
            seats.extend([node.id] * min(wanted, ask_class.amounts.times_in(free[node.id])))
        if len(seats) == ask_class.tasks:
            return tuple(Placement(rank=rank, node_id=node_id) for rank, node_id in enumerate(seats))
    return ()


def carries(node: NodeView, ask_class: AskClass) -> bool:
    return ask_class.accelerator is None or node.accelerator == ask_class.accelerator


def refusal(
    ask_class: AskClass,
    clusters: Sequence[ClusterView],
    nodes: Mapping[ClusterId, Sequence[NodeView]],
    free: Mapping[NodeId, Amounts],
) -> Defer:
    """The reason that a user should hear: the first of the closed list that is true."""
    if not clusters:
        return _defer(ask_class, ReasonCode.NO_CLUSTER, "no cluster is registered", "register a cluster")
    open_clusters = [cluster for cluster in clusters if cluster.blocked is None]
    if not open_clusters:
        blocked = "; ".join(f"cluster {cluster.name!r} {cluster.blocked}" for cluster in clusters)
        return _defer(
            ask_class, ReasonCode.CLUSTERS_BLOCKED, blocked, "one of these clusters must become ready"
        )
    fitting = [
        (cluster, [node for node in nodes.get(cluster.id, ()) if carries(node, ask_class)])
        for cluster in open_clusters
    ]
    if not any(candidates for _, candidates in fitting):
        wanted = f"accelerator {ask_class.accelerator!r}" if ask_class.accelerator else "nodes"
        sentence = f"no ready cluster has {wanted}"
        return _defer(ask_class, ReasonCode.NO_ACCELERATOR, sentence, "add a node that carries it")
    held, most = _best(
        ask_class, fitting, {node.id: node.allocatable for _, group in fitting for node in group}
    )
    need = f"needs {ask_class.tasks} x ({in_words(ask_class.amounts)})"
    if held < ask_class.tasks:
        sentence = f"{need}; cluster {most!r}, the largest that is ready, holds {held} even when empty"
        return _defer(
            ask_class, ReasonCode.TOO_LARGE, sentence, "add nodes, or a larger cluster must become ready"
        )
    now, where = _best(ask_class, fitting, free)
    sentence = f"{need}; {now} of {ask_class.tasks} fit now, on cluster {where!r}"
    remedy = f"room for {ask_class.tasks - now} more on one cluster: other work must end, or nodes be added"
    return _defer(ask_class, ReasonCode.NO_ROOM, sentence, remedy)


def in_words(amounts: Amounts) -> str:
    """`1 cpu, 0.5 gpu, memory 2.0 GiB`."""
    words = []
    for name, value in amounts.named():
        if name == "memory":
            words.append(f"memory {value / 1024**3:.1f} GiB")
        else:
            words.append(f"{value / MILLI:g} {name.removeprefix('custom:')}")
    return ", ".join(words)


def _best(
    ask_class: AskClass,
    fitting: Sequence[tuple[ClusterView, Sequence[NodeView]]],
    room: Mapping[NodeId, Amounts],
) -> tuple[int, str]:
    """The most tasks that one cluster could seat, and its name; the first cluster wins a tie."""
    counts = [
        (sum(ask_class.amounts.times_in(room[node.id]) for node in nodes), cluster.name)
        for cluster, nodes in fitting
    ]
    return max(counts, key=lambda pair: pair[0])


def _defer(ask_class: AskClass, code: ReasonCode, sentence: str, remedy: str) -> Defer:
    return Defer(class_id=ask_class.id, code=code, sentence=sentence, remedy=remedy)
