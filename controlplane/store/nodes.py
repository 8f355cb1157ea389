"""Nodes' table, and how much of each node is booked."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, func, select, update
from sqlalchemy.sql.expression import cast

from controlplane.domain.amounts import Amounts, total
from controlplane.domain.attempts import AttemptState
from controlplane.domain.clusters import Node, Taint
from controlplane.domain.events import Event
from controlplane.domain.ids import ClusterId, NodeId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.rows import (
    Row,
    amounts_of,
    amounts_params,
    custom_of,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    packed,
    pairs,
    remembered,
    unpacked,
)
from controlplane.store.schema import ATTEMPTS, NODES, SEATS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = NODES.c
_S: Final = SEATS.c
_NODE: Final = select(
    _C.id,
    _C.cluster_id,
    _C.name,
    _C.host,
    _C.accelerator,
    _C.labels,
    _C.seen_at,
    _C.cordoned_at,
    _C.gone_at,
    _C.taints,
    _C.leaving_at,
    _C.allocatable_cpu_milli,
    _C.allocatable_memory_bytes,
    _C.allocatable_gpu_milli,
    _C.allocatable_custom_milli,
    _C.foreign_cpu_milli,
    _C.foreign_memory_bytes,
    _C.foreign_gpu_milli,
    _C.foreign_custom_milli,
)
_IS_PRESENT: Final = _C.gone_at.is_(None)

_ADD: Final = inserted(NODES)
_GET: Final = Statement(_NODE.where(_C.id == bindparam("id")))
_BY_IDS: Final = Statement(_NODE.where(is_in(_C.id, "ids")))
# Not LIKE: whenever SQLite is given a pattern, it compiles the statement anew.
_HAS_THE_PAIR: Final = func.replace(_C.labels, bindparam("pair", type_=Text), fixed("")) != _C.labels
_LABELLED: Final = Statement(
    _NODE.where(_C.cluster_id == bindparam("cluster_id"), _IS_PRESENT, _HAS_THE_PAIR).order_by(_C.id)
)
_SAVE: Final = Statement(
    update(NODES)
    .where(_C.id == bindparam("id"))
    .values({column: bindparam(column.name) for column in _C if column.name not in {"id", "cluster_id"}}),
    table=NODES,
)

# Grouped by custom amounts too: those are JSON, and there are few kinds of them.
_BOOKED: Final = (
    select(
        _S.node_id,
        *(cast(func.sum(column), BigInteger) for column in (_S.cpu_milli, _S.memory_bytes, _S.gpu_milli)),
        _S.custom_milli,
        func.count(),
    )
    .where(_S.released_at.is_(None))
    .group_by(_S.node_id, _S.custom_milli)
)
# The nodes first: then their seats come in the index's order, and need no sorting before they are summed.
_OF_CLUSTER: Final = _BOOKED.where(
    _S.node_id.in_(select(_C.id).where(_C.cluster_id == bindparam("cluster_id")))
)
_STAYING: Final = Statement(
    _BOOKED.where(
        is_in(_S.node_id, "ids"),
        ATTEMPTS.c.id == _S.attempt_id,
        ATTEMPTS.c.state != fixed(AttemptState.STOPPING),
    )
)
_RESERVED: Final = Statement(
    _OF_CLUSTER.where(ATTEMPTS.c.id == _S.attempt_id, ATTEMPTS.c.state != fixed(AttemptState.PLACED))
)


class Nodes:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def get(self, node_id: NodeId) -> Node | None:
        row = self._link.row(_GET, {"id": node_id})
        return None if row is None else _node(row)

    def by_ids(self, node_ids: Sequence[NodeId]) -> dict[NodeId, Node]:
        return {node.id: node for node in map(_node, self._link.rows(_BY_IDS, {"ids": listed(node_ids)}))}

    def present(self, cluster_id: ClusterId | None = None) -> list[Node]:
        """By id."""
        rows = self._link.rows(
            _present(of_a_cluster=cluster_id is not None, is_page=False), {"cluster_id": cluster_id}
        )
        return [_node(row) for row in rows]

    def labelled(self, cluster_id: ClusterId, name: str, value: str) -> list[Node]:
        """Present ones with this label, by id. The others are passed over by the database, and never read."""
        pair = packed({name: value}).strip("{}")
        rows = self._link.rows(_LABELLED, {"cluster_id": cluster_id, "pair": pair})
        return [node for node in map(_node, rows) if (name, value) in node.labels]

    def put(self, node: Node) -> None:
        """Inserts or replaces. Says what changed, as far as it matters for placing, in an event."""
        known = self.get(node.id)
        self._link.change(_ADD if known is None else _SAVE, _params(node))
        kind = _what_happened(known, node)
        if kind is not None:
            data = {"cluster_id": node.cluster_id, "name": node.name}
            self._events.add(Event(kind=kind, subject=node.id, at=node.gone_at or node.seen_at, data=data))

    def booked(self, cluster_id: ClusterId | None = None) -> dict[NodeId, Amounts]:
        """The sum of the seats that are not released; nodes without any are left out."""
        return self._sums(_booked(of_a_cluster=cluster_id is not None), {"cluster_id": cluster_id})

    def reserved(self, cluster_id: ClusterId) -> dict[NodeId, Amounts]:
        """As `booked`, of the started attempts: a placed one has not taken anything yet."""
        return self._sums(_RESERVED, {"cluster_id": cluster_id})

    def staying(self, node_ids: Sequence[NodeId]) -> dict[NodeId, Amounts]:
        """As `booked`, of these nodes and of attempts that were not told to stop."""
        return self._sums(_STAYING, {"ids": listed(node_ids)})

    def list(self, cluster_id: ClusterId | None, after: NodeId | None, limit: int) -> list[Node]:
        """A page of the present ones, by id; `after` is the id last seen."""
        params = {"cluster_id": cluster_id, "after": after or "", "limit": limit}
        return [
            _node(row)
            for row in self._link.rows(_present(of_a_cluster=cluster_id is not None, is_page=True), params)
        ]

    def _sums(self, statement: Statement, params: Mapping[str, object]) -> dict[NodeId, Amounts]:
        rows = self._link.rows(statement, params)
        sums: dict[NodeId, list[Amounts]] = {}
        for node_id, cpu_milli, memory_bytes, gpu_milli, custom, seats in rows:
            plain = Amounts(cpu_milli=cpu_milli, memory_bytes=memory_bytes, gpu_milli=gpu_milli)
            each = Amounts(custom_milli=tuple((name, n * seats) for name, n in custom_of(custom)))
            sums.setdefault(node_id, []).append(plain.plus(each))
        return {node_id: total(parts) for node_id, parts in sums.items()}


@cache
def _present(*, of_a_cluster: bool, is_page: bool) -> Statement:
    present = _NODE.where(_IS_PRESENT).order_by(_C.id)
    if of_a_cluster:
        present = present.where(_C.cluster_id == bindparam("cluster_id"))
    if is_page:
        present = present.where(_C.id > bindparam("after")).limit(bound("limit"))
    return Statement(present)


@cache
def _booked(*, of_a_cluster: bool) -> Statement:
    return Statement(_OF_CLUSTER if of_a_cluster else _BOOKED)


def _what_happened(known: Node | None, node: Node) -> str | None:
    if node.gone_at is not None:
        return "node.gone" if known is None or known.gone_at is None else None
    if known is None or known.gone_at is not None:
        return "node.appeared"
    if known.leaving_at is None and node.leaving_at is not None:
        return "node.leaving"
    return None if _placing(known) == _placing(node) else "node.changed"


def _placing(node: Node) -> tuple[object, ...]:
    return node.allocatable, node.foreign, node.accelerator, node.taints, node.cordoned_at is None


def _params(node: Node) -> dict[str, object]:
    return {
        "id": node.id,
        "cluster_id": node.cluster_id,
        "name": node.name,
        "host": node.host,
        **amounts_params(node.allocatable, "allocatable_"),
        **amounts_params(node.foreign, "foreign_"),
        "accelerator": node.accelerator,
        "labels": packed(dict(node.labels)),
        "seen_at": micros(node.seen_at),
        "cordoned_at": micros_or_none(node.cordoned_at),
        "gone_at": micros_or_none(node.gone_at),
        "taints": packed([[each.key, each.value, each.effect] for each in node.taints])
        if node.taints
        else None,
        "leaving_at": micros_or_none(node.leaving_at),
    }


@remembered
def _node(row: Row) -> Node:
    (id_, cluster_id, name, host, accelerator, labels, seen_at, cordoned_at, gone_at, *rest) = row
    (taints, leaving_at, *amounts) = rest
    return Node(
        id=NodeId(id_),
        cluster_id=ClusterId(cluster_id),
        name=name,
        host=host,
        allocatable=amounts_of(*amounts[:4]),
        foreign=amounts_of(*amounts[4:]),
        accelerator=accelerator,
        labels=pairs(labels),
        seen_at=moment(seen_at),
        cordoned_at=moment_or_none(cordoned_at),
        gone_at=moment_or_none(gone_at),
        taints=() if taints is None else tuple(_taint(*each) for each in unpacked(taints)),
        leaving_at=moment_or_none(leaving_at),
    )


def _taint(key: str, value: str, effect: str) -> Taint:
    return Taint(key=key, value=value, effect=effect)
