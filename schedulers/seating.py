"""Seating: which nodes a gang could take now, and in words why it could not."""

from collections.abc import Iterable, Mapping, Sequence

from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.ids import ClusterId, NodeId
from schedulers.base import AskClass, ClusterView, Defer, NodeView, Placement, ReasonCode, Role


def seat(
    ask_class: AskClass, nodes: Iterable[NodeView], free: Mapping[NodeId, Amounts]
) -> tuple[Placement, ...]:
    """First fit over the nodes of one cluster, in the order given, role by role: all tasks or none."""
    seats: list[NodeId] = []
    for number, role in enumerate(ask_class.all_roles):
        found = _first_fit(role, nodes, free)
        if len(found) < role.tasks:
            return ()
        seats.extend(found)
        if number < len(ask_class.roles) - 1:
            free = _without(free, role, found)
    return tuple(Placement(rank=rank, node_id=node_id) for rank, node_id in enumerate(seats))


def _first_fit(role: Role, nodes: Iterable[NodeView], free: Mapping[NodeId, Amounts]) -> list[NodeId]:
    seats: list[NodeId] = []
    for node in nodes:
        if carries(node, role):
            wanted = role.tasks - len(seats)
            seats.extend([node.id] * min(wanted, role.amounts.times_in(free[node.id])))
        if len(seats) == role.tasks:
            break
    return seats


def _without(free: Mapping[NodeId, Amounts], role: Role, taken: Sequence[NodeId]) -> Mapping[NodeId, Amounts]:
    left = dict(free)
    for node_id in taken:
        left[node_id] = left[node_id].minus(role.amounts)
    return left


def carries(node: NodeView, role: Role) -> bool:
    return role.accelerator is None or node.accelerator == role.accelerator


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
    fits_now = []
    for role in ask_class.all_roles:
        fitting = [
            (cluster, [node for node in nodes.get(cluster.id, ()) if carries(node, role)])
            for cluster in open_clusters
        ]
        if (never := _never(ask_class, role, fitting)) is not None:
            return never
        fits_now.append((role, *_best(role, fitting, free)))
    return _no_room(ask_class, fits_now)


def _never(
    ask_class: AskClass, role: Role, fitting: Sequence[tuple[ClusterView, Sequence[NodeView]]]
) -> Defer | None:
    """Why its tasks would not fit even if nobody else ran; None: they would."""
    if not any(candidates for _, candidates in fitting):
        wanted = f"accelerator {role.accelerator!r}" if role.accelerator else "nodes"
        sentence = f"no ready cluster has {wanted}"
        return _defer(ask_class, ReasonCode.NO_ACCELERATOR, sentence, "add a node that carries it")
    held, most = _best(role, fitting, {node.id: node.allocatable for _, group in fitting for node in group})
    if held >= role.tasks:
        return None
    sentence = f"{_need(role)}; cluster {most!r}, the largest that is ready, holds {held} even when empty"
    return _defer(
        ask_class, ReasonCode.TOO_LARGE, sentence, "add nodes, or a larger cluster must become ready"
    )


def _no_room(ask_class: AskClass, fits_now: Sequence[tuple[Role, int, str]]) -> Defer:
    """Of the role that lacks most; all of them may fit alone, and not beside each other."""
    role, now, where = max(fits_now, key=lambda each: each[0].tasks - each[1])
    if now < role.tasks:
        sentence = f"{_need(role)}; {now} of {role.tasks} fit now, on cluster {where!r}"
        more = f"{role.tasks - now} more"
    else:
        sentence = f"{' and '.join(_need(each) for each, _, _ in fits_now)}; not all fit on one cluster now"
        more = "all of them"
    remedy = f"room for {more} on one cluster: other work must end, or nodes be added"
    return _defer(ask_class, ReasonCode.NO_ROOM, sentence, remedy)


def _need(role: Role) -> str:
    return f"needs {role.tasks} x ({in_words(role.amounts)})"


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
    role: Role,
    fitting: Sequence[tuple[ClusterView, Sequence[NodeView]]],
    room: Mapping[NodeId, Amounts],
) -> tuple[int, str]:
    """The most tasks that one cluster could seat, and its name; the first cluster wins a tie."""
    counts = [
        (sum(role.amounts.times_in(room[node.id]) for node in nodes), cluster.name)
        for cluster, nodes in fitting
    ]
    return max(counts, key=lambda pair: pair[0])


def _defer(ask_class: AskClass, code: ReasonCode, sentence: str, remedy: str) -> Defer:
    return Defer(class_id=ask_class.id, code=code, sentence=sentence, remedy=remedy)
