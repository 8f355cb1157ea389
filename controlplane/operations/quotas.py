"""Quotas: the tree of cohorts and queues, what is used of it, and what it means in sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controlplane.domain.amounts import MILLI
from controlplane.domain.attempts import AttemptState
from controlplane.domain.errors import Conflict, Invalid, NotFound
from controlplane.domain.ids import ProjectId, QueueId
from controlplane.domain.projects import Queue as ProjectQueue
from controlplane.domain.queues import Cell, Queue, check_tree, children_of
from controlplane.domain.quota_lint import Surprise, surprises
from controlplane.domain.quotas import ONE_SHARE, QuotaTree
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.flavors import by_node
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.lookups import project_for, project_names, queue_for
from controlplane.store import QuotaNode, Tx
from schedulers.base import DEFAULT_FLAVOR

UNSEEN: Final = "a queue of another project"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeName:
    """What people call a node of the tree."""

    cohort: str | None
    project: str
    queue: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaView:
    node: QuotaNode
    tree: QuotaTree
    """With everything that is used now."""

    parent: str | None
    project: str | None

    @property
    def share(self) -> float:
        """Infinite for what has weight zero and borrows."""
        share = self.tree.share(self.node.queue.id)
        return float("inf") if share.last else share.size / ONE_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    path: tuple[str, ...]
    lines: tuple[str, ...]


QuotaOnce = Once[QuotaView] | None


def put(
    context: Context,
    principal: Principal,
    name: NodeName,
    wanted: Queue,
    *,
    parent: str | None,
    once: QuotaOnce = None,
) -> QuotaView:
    """Sets all of a node. `wanted` has everything but id, name and parent. The whole tree is checked first."""
    authorize(principal, Action.EDIT_QUOTAS)
    fresh = QueueId(context.ids.new("cohort"))

    def unit(tx: Tx) -> QuotaView:
        tx.quotas.hold()
        known = _found(tx, principal, name)
        above = None if parent is None else _cohort(tx, parent)
        queue = replace(
            wanted,
            id=_id(tx, principal, name, fresh) if known is None else known.queue.id,
            name=name.cohort or f"{name.project}/{name.queue}",
            parent_id=None if above is None else above.queue.id,
        )
        others = [each.queue for each in tx.quotas.nodes() if each.queue.id != queue.id]
        check_tree([*others, queue], flavors=_flavors(tx))
        node = QuotaNode(
            queue=queue,
            is_cohort=name.cohort is not None,
            version=1 if known is None else known.version + 1,
        )
        tx.quotas.put(node, by=principal.name)
        return next(each for each in _views(tx) if each.node.queue.id == queue.id)

    return write_once(context.store, unit, once)


def remove(context: Context, principal: Principal, name: NodeName, *, once: QuotaOnce = None) -> QuotaView:
    """A queue then has no limits. Raises `Conflict` for a cohort that has members."""
    authorize(principal, Action.EDIT_QUOTAS)

    def unit(tx: Tx) -> QuotaView:
        tx.quotas.hold()
        known = _found(tx, principal, name)
        if known is None:
            raise NotFound(f"{_called(name)} has no quota", field="queue", value=_called(name))
        members = children_of(each.queue for each in tx.quotas.nodes()).get(known.queue.id, ())
        if members:
            nodes = {each.queue.id: each.queue.name for each in tx.quotas.nodes()}
            below = ", ".join(nodes[each] for each in members)
            raise Conflict(
                f"cohort {known.queue.name!r} has members: {below}", field="cohort", value=name.cohort
            )
        view = next(each for each in _views(tx) if each.node.queue.id == known.queue.id)
        tx.quotas.remove(known.queue.id, by=principal.name)
        return view

    return write_once(context.store, unit, once)


def listed(context: Context, principal: Principal) -> list[QuotaView]:
    """By id. Who sees one project only sees its queues, and every cohort."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        seen = _seen_queues(tx, principal.project_id)
        return [view for view in _views(tx) if view.node.is_cohort or view.node.queue.id in seen]


def lint(context: Context, principal: Principal) -> list[tuple[str, Surprise]]:
    """With the name of each node. Of those that `listed` shows; the others count and are not named."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        seen, nodes = _seen_queues(tx, principal.project_id), tx.quotas.nodes()
        names = {each.queue.id: each.queue.name for each in nodes if each.is_cohort or each.queue.id in seen}
        queues = [replace(each.queue, name=names.get(each.queue.id, UNSEEN)) for each in nodes]
        return [
            (names[each.queue_id], each)
            for each in surprises(queues, _capacity(tx))
            if each.queue_id in names
        ]


def explain(context: Context, principal: Principal, *, project: str, queue: str) -> Told:
    """What a queue may use, and which node of its tree says so."""
    with context.store.read() as tx:
        owner = project_for(tx, principal, project)
        found = queue_for(tx, owner, queue)
        nodes = tx.quotas.nodes()
        tree = _tree(tx, nodes)
        names = {each.queue.id: each.queue.name for each in nodes}
        if found.id not in names:
            whole = f"{project}/{queue} has no quota: it may use whatever is free"
            return Told(path=(f"{project}/{queue}",), lines=(whole,))
        path = tree.path(found.id)
        cells = tree.cells.get(tree.roots[found.id], ())
        lines = [line for cell in cells for line in _told(tree, names, found.id, cell)]
        return Told(path=tuple(names[each] for each in path), lines=tuple(lines))


def _told(tree: QuotaTree, names: Mapping[QueueId, str], queue_id: QueueId, cell: Cell) -> list[str]:
    def amount(value: int) -> str:
        return in_words(cell.resource, value)

    of = f"{cell.resource} of flavor {cell.flavor!r}"
    own, used = tree.subtree(queue_id, cell), tree.usage(queue_id, cell)
    now, ever = tree.available(queue_id, cell), tree.potential(queue_id, cell)
    could = f"could take {amount(now)} now and {amount(ever)} if nothing were running"
    lines = [f"{of}: owns {amount(own)}, uses {amount(used)}, {could}"]
    if used > own:
        lines.append(f"{of}: borrows {amount(used - own)}; the owners may take that back")
    elif used < own and tree.available(queue_id, cell) < own - used:
        lines.append(f"{of}: others have borrowed of its own; it may take that back")
    shortage = tree.shortage(queue_id, {cell: max(0, tree.available(queue_id, cell)) + 1})
    if shortage is not None:
        where = names[shortage.queue_id]
        lines.append(f"{of}: the next one meets the {shortage.limit} limit of {where!r}")
    return lines


def in_words(resource: str, value: int) -> str:
    return f"{value} bytes" if resource == "memory" else f"{value / MILLI:g}"


def _views(tx: Tx) -> list[QuotaView]:
    nodes = tx.quotas.nodes()
    tree = _tree(tx, nodes)
    names = {each.queue.id: each.queue.name for each in nodes}
    owners = {queue.id: queue.project_id for queue in tx.queues.every()}
    projects = project_names(tx, frozenset(owners.values()))
    return [
        QuotaView(
            node=node,
            tree=tree,
            parent=None if node.queue.parent_id is None else names[node.queue.parent_id],
            project=projects.get(owners[node.queue.id]) if node.queue.id in owners else None,
        )
        for node in nodes
    ]


def _tree(tx: Tx, nodes: Sequence[QuotaNode]) -> QuotaTree:
    """With what all live attempts hold, but those that were told to go."""
    tree, flavors = QuotaTree.of([node.queue for node in nodes]), by_node(tx)
    live = [each for each in tx.attempts.live() if each.state is not AttemptState.STOPPING]
    asks = tx.asks.many([attempt.ask_id for attempt in live])
    seats = tx.attempts.seats_of([attempt.id for attempt in live])
    for attempt in live:
        queue_id = asks[attempt.ask_id].queue_id
        if queue_id not in tree.queues:
            continue
        for seat in seats.get(attempt.id, ()):
            flavor = flavors.get(seat.node_id, DEFAULT_FLAVOR)
            request = {Cell(flavor, name): value for name, value in seat.amounts.named()}
            tree.add(
                queue_id,
                {cell: each for cell, each in request.items() if tree.counts(queue_id, cell.resource)},
            )
    return tree


def _capacity(tx: Tx) -> dict[Cell, int]:
    flavors = by_node(tx)
    found: dict[Cell, int] = {}
    for node in tx.nodes.present(None):
        for name, value in node.allocatable.named():
            cell = Cell(flavors[node.id], name)
            found[cell] = found.get(cell, 0) + value
    return found


def _flavors(tx: Tx) -> frozenset[str]:
    return frozenset({DEFAULT_FLAVOR, *(flavor.name for flavor in tx.quotas.flavors())})


def _seen_queues(tx: Tx, project_id: ProjectId | None) -> set[QueueId]:
    return {queue.id for queue in tx.queues.every(project_id)}


def queue_names(tx: Tx, project_id: ProjectId | None) -> dict[QueueId, str]:
    """`project/queue` of every queue; of one project, or of all."""
    queues = list(tx.queues.every(project_id))
    projects = project_names(tx, frozenset(queue.project_id for queue in queues))
    return {queue.id: f"{projects[queue.project_id]}/{queue.name}" for queue in queues}


def _found(tx: Tx, principal: Principal, name: NodeName) -> QuotaNode | None:
    if name.cohort is not None:
        return tx.quotas.cohort(name.cohort)
    return tx.quotas.get(_queue(tx, principal, name).id)


def _id(tx: Tx, principal: Principal, name: NodeName, fresh: QueueId) -> QueueId:
    return fresh if name.cohort is not None else _queue(tx, principal, name).id


def _queue(tx: Tx, principal: Principal, name: NodeName) -> ProjectQueue:
    if name.queue is None:
        raise Invalid("name a queue, or a cohort", field="queue")
    return queue_for(tx, project_for(tx, principal, name.project), name.queue)


def _cohort(tx: Tx, name: str) -> QuotaNode:
    found = tx.quotas.cohort(name)
    if found is None:
        raise NotFound(f"there is no cohort {name!r}", field="parent", value=name)
    return found


def _called(name: NodeName) -> str:
    return f"cohort {name.cohort!r}" if name.cohort is not None else f"queue {name.project}/{name.queue}"
