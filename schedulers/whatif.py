"""What if: a snapshot with something changed, and what all would have to change for a class to start.

A counterfactual is never computed, it is tried: the first change that the plan itself names is applied and the plan is
made again, until the first ask of the class starts. So it is true by construction; what is only guessed is its length.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, assert_never

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, NodeId
from controlplane.domain.queues import Queue, Quota
from schedulers.base import (
    AskClass,
    AsksEnd,
    Change,
    ClusterView,
    Dropped,
    Memory,
    NodesAdded,
    NodeView,
    Opened,
    Plan,
    Policy,
    QuotaRaised,
    Role,
    RunningAsk,
    Smaller,
    Snapshot,
    Until,
    microseconds,
)

MOST_CHANGES: Final = 20


def counterfactual(policy: Policy, snapshot: Snapshot, class_id: ClassId) -> tuple[Change, ...] | None:
    """Changes with which the first ask of a waiting class is placed, machines and victims apart.

    None of them could be left out. None: it is not among those who wait, or `MOST_CHANGES` did not do.
    """
    first = _first(snapshot, class_id)
    changes: list[Change] = []
    present = snapshot
    for _ in range(MOST_CHANGES):
        plan = policy.plan(present)
        if first is None or starts(plan, first):
            return _thinned(policy, snapshot, (class_id, first), changes) if first and changes else None
        change = next((defer.change for defer in plan.defers if defer.class_id == class_id), None)
        if change is None:
            return None
        # Whoever stands before it takes what there is more of, so the same answer twice asks for twice as much.
        bolder = _bolder(change, present, sum(1 for each in changes if _is_alike(each, change)))
        changes.append(bolder)
        present = apply(present, bolder, class_id)
    return None


def _thinned(
    policy: Policy, snapshot: Snapshot, who: tuple[ClassId, AskId], changes: Sequence[Change]
) -> tuple[Change, ...]:
    """Without those that were not needed, looked at from the last to the first."""
    class_id, ask_id = who
    kept = tuple(changes)
    for place in reversed(range(len(kept))):
        fewer, changed = (*kept[:place], *kept[place + 1 :]), snapshot
        for change in fewer:
            changed = apply(changed, change, class_id)
        if fewer and starts(policy.plan(changed), ask_id):
            kept = fewer
    return kept


def _bolder(change: Change, snapshot: Snapshot, times: int) -> Change:
    match change:
        case QuotaRaised():
            now = _limit(snapshot.queues, change)
            return replace(change, to=now + ((change.to or 0) - now) * 2**times)
        case NodesAdded():
            return replace(change, count=change.count * 2**times)
        case _:
            return change


def _limit(queues: Sequence[Queue], change: QuotaRaised) -> int:
    own = [queue for queue in queues if queue.id == change.queue_id]
    quota = next((each for queue in own for each in queue.quotas if each.cell == change.cell), None)
    limits = {} if quota is None else {"nominal": quota.nominal, "borrowing": quota.borrowing}
    return limits.get(change.limit) or 0


def _is_alike(one: Change, other: Change) -> bool:
    if isinstance(one, QuotaRaised) and isinstance(other, QuotaRaised):
        return (one.queue_id, one.cell, one.limit) == (other.queue_id, other.cell, other.limit)
    return isinstance(one, NodesAdded) and isinstance(other, NodesAdded)


def starts(plan: Plan, ask_id: AskId) -> bool:
    """Whether it gets seats by this plan: at once, or from victims."""
    return any(place.ask_id == ask_id for place in plan.places) or any(
        preempt.ask_id == ask_id for preempt in plan.preempts
    )


def apply(snapshot: Snapshot, change: Change, class_id: ClassId) -> Snapshot:
    """The same picture with that one thing otherwise; `class_id` is the class that asked."""
    match change:
        case QuotaRaised():
            return replace(snapshot, queues=_raised(snapshot.queues, change))
        case NodesAdded():
            return _with_nodes(snapshot, change)
        case AsksEnd():
            return _without(snapshot, frozenset(change.ask_ids))
        case Opened():
            return _OPEN[change.noun](snapshot, frozenset(change.ids))
        case Dropped():
            return _without_constraint(snapshot, change.constraint, class_id)
        case Smaller():
            return _changed_class(snapshot, class_id, lambda its: _smaller(its, change.tasks))
        case Until():
            return replace(snapshot, now=datetime.fromtimestamp(change.moment / 10**6, UTC))
        case _:
            assert_never(change)


def _first(snapshot: Snapshot, class_id: ClassId) -> AskId | None:
    """Highest priority, then oldest: the one of which the class's reason speaks."""
    asks = snapshot.asks
    now = microseconds(snapshot.now)
    promised = {each.ask_id for each in snapshot.memory.nominations if each.until > now}
    rows = [
        (-priority, submitted, id_)
        for id_, each, priority, submitted in zip(
            asks.ids, asks.classes, asks.priorities, asks.submitted, strict=True
        )
        if each == class_id and id_ not in promised
    ]
    return min(rows)[2] if rows else None


def _raised(queues: Sequence[Queue], change: QuotaRaised) -> tuple[Queue, ...]:
    return tuple(_with_limit(queue, change) if queue.id == change.queue_id else queue for queue in queues)


def _with_limit(queue: Queue, change: QuotaRaised) -> Queue:
    own = next((quota for quota in queue.quotas if quota.cell == change.cell), Quota(cell=change.cell))
    others = tuple(quota for quota in queue.quotas if quota.cell != change.cell)
    match change.limit:
        case "nominal":
            own = replace(own, nominal=change.to or 0)
        case "borrowing":
            own = replace(own, borrowing=change.to)
        case _:
            own = replace(own, lending=change.to)
    return replace(queue, quotas=(*others, own))


def _with_nodes(snapshot: Snapshot, change: NodesAdded) -> Snapshot:
    like = next((node for node in snapshot.nodes if node.id == change.like), None)
    blank = NodeView(
        id=NodeId(""),
        cluster_id=change.cluster_id,
        allocatable=change.amounts or Amounts(),
        free=change.amounts or Amounts(),
        accelerator=change.accelerator,
        flavor=change.flavor or "default",
        domains=change.domains,
    )
    sample = blank if like is None else replace(like, free=like.allocatable, healthy=True, claim_id=None)
    taken = len(snapshot.nodes)
    new = [replace(sample, id=NodeId(f"added-{taken + number}")) for number in range(change.count)]
    known = any(cluster.id == change.cluster_id for cluster in snapshot.clusters)
    fresh = () if known else (ClusterView(id=change.cluster_id, name=change.cluster_id, blocked=None),)
    return replace(snapshot, nodes=(*snapshot.nodes, *new), clusters=(*snapshot.clusters, *fresh))


def _without(snapshot: Snapshot, gone: frozenset[AskId]) -> Snapshot:
    """They give back all that they hold and are promised; who still waits is gone from the queue."""
    ended = [ask for ask in snapshot.running if ask.id in gone]
    freed: dict[NodeId, Amounts] = {}
    for ask in ended:
        for node_id, amounts in _held(ask, snapshot.classes[ask.ask_class]):
            freed[node_id] = freed.get(node_id, Amounts()).plus(amounts)
    asks = snapshot.asks
    kept = [row for row, id_ in enumerate(asks.ids) if id_ not in gone]
    memory = snapshot.memory
    return replace(
        snapshot,
        running=tuple(ask for ask in snapshot.running if ask.id not in gone),
        nodes=tuple(
            replace(node, free=node.free.plus(freed.get(node.id, Amounts()))) for node in snapshot.nodes
        ),
        asks=replace(
            asks,
            ids=[asks.ids[row] for row in kept],
            classes=[asks.classes[row] for row in kept],
            priorities=[asks.priorities[row] for row in kept],
            submitted=[asks.submitted[row] for row in kept],
            not_before=[asks.not_before[row] for row in kept],
        ),
        memory=Memory(
            nominations=tuple(each for each in memory.nominations if each.ask_id not in gone),
            verdicts=memory.verdicts,
            reservations=tuple(each for each in memory.reservations if each.ask_id not in gone),
            past_uses=memory.past_uses,
        ),
    )


def _held(ask: RunningAsk, its: AskClass) -> list[tuple[NodeId, Amounts]]:
    sizes = [role.amounts for role in its.all_roles for _ in range(role.tasks)]
    return [(seat.node_id, sizes[seat.rank]) for seat in ask.seats if seat.rank < len(sizes)]


def _open_clusters(snapshot: Snapshot, ids: frozenset[str]) -> Snapshot:
    clusters = (replace(each, blocked=None) if each.id in ids else each for each in snapshot.clusters)
    return replace(snapshot, clusters=tuple(clusters))


def _open_queues(snapshot: Snapshot, ids: frozenset[str]) -> Snapshot:
    queues = (replace(each, stopped=False) if each.id in ids else each for each in snapshot.queues)
    return replace(snapshot, queues=tuple(queues))


def _open_nodes(snapshot: Snapshot, ids: frozenset[str]) -> Snapshot:
    nodes = (
        replace(each, healthy=True, closes_at=None) if each.id in ids else each for each in snapshot.nodes
    )
    return replace(snapshot, nodes=tuple(nodes))


_OPEN: Final[dict[str, Callable[[Snapshot, frozenset[str]], Snapshot]]] = {
    "cluster": _open_clusters,
    "queue": _open_queues,
    "node": _open_nodes,
}


def _changed_class(snapshot: Snapshot, class_id: ClassId, change: Callable[[AskClass], AskClass]) -> Snapshot:
    return replace(snapshot, classes={**snapshot.classes, class_id: change(snapshot.classes[class_id])})


def _relaxed(its: AskClass, constraint: str, snapshot: Snapshot) -> AskClass:
    match constraint:
        case "topology":
            return replace(its, topology=None)
        case "taints":
            taints = {key for node in snapshot.nodes for key, _ in node.taints}
            return replace(its, tolerations=tuple((key, "*") for key in sorted(taints)))
        case "residency":
            return replace(its, providers=(), regions=(), clusters=(), bounds=(), trust_domain="shared")
        case "accelerator":
            roles = tuple(replace(role, accelerator=None) for role in its.roles)
            return replace(its, accelerator=None, roles=roles)
        case _:
            flavors = tuple(sorted({node.flavor for node in snapshot.nodes}))
            return replace(its, roles=tuple(replace(role, flavors=flavors) for role in its.all_roles))


def _without_constraint(snapshot: Snapshot, constraint: str, class_id: ClassId) -> Snapshot:
    if constraint == "flavors":
        snapshot = _any_flavor(snapshot, snapshot.classes[class_id].queue_id)
    return _changed_class(snapshot, class_id, lambda its: _relaxed(its, constraint, snapshot))


def _any_flavor(snapshot: Snapshot, queue_id: str) -> Snapshot:
    queues = (replace(queue, flavors=()) if queue.id == queue_id else queue for queue in snapshot.queues)
    return replace(snapshot, queues=tuple(queues))


def _smaller(its: AskClass, tasks: int) -> AskClass:
    roles = tuple(_capped(role, tasks) for role in its.roles)
    least = None if its.tasks_min is None else min(its.tasks_min, tasks)
    return replace(its, tasks=min(its.tasks, tasks), tasks_min=least, roles=roles)


def _capped(role: Role, tasks: int) -> Role:
    return replace(role, tasks=min(role.tasks, tasks), tasks_min=min(role.tasks_min, tasks))
