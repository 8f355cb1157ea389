"""Quota nodes' and flavors' tables."""

from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, delete, func, literal_column, select, update

from controlplane.domain.claims import CapacityType
from controlplane.domain.events import Event
from controlplane.domain.flavors import Flavor
from controlplane.domain.ids import QueueId
from controlplane.domain.queues import (
    Appetite,
    Cell,
    PreemptionRules,
    Queue,
    Quota,
    Reclaim,
    WithinQueue,
)
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import stale
from controlplane.store.over_many import POSTGRESQL
from controlplane.store.rows import Row, packed, unpacked
from controlplane.store.schema_quotas import FLAVORS, QUOTA_NODES
from controlplane.store.statements import Statement, bound, inserted
from controlplane.store.views import QuotaNode

_N: Final = QUOTA_NODES.c
_F: Final = FLAVORS.c
_NODE: Final = select(_N.id, _N.name, _N.is_cohort, _N.parent_id, _N.settings, _N.version)
_IN_SETTINGS: Final = frozenset({"id", "name", "parent_id"})

_ADD: Final = inserted(QUOTA_NODES)
_GET: Final = Statement(_NODE.where(_N.id == bindparam("id")))
_COHORT: Final = Statement(_NODE.where(_N.is_cohort == bound("one"), _N.name == bindparam("name")))
_ALL: Final = Statement(_NODE.order_by(_N.id))
_SAVE: Final = Statement(
    update(QUOTA_NODES)
    .where(_N.id == bindparam("id"), _N.version == bound("known"))
    .values({column: bindparam(column.name) for column in (_N.name, _N.parent_id, _N.settings, _N.version)}),
    table=QUOTA_NODES,
)
_REMOVE: Final = Statement(delete(QUOTA_NODES).where(_N.id == bindparam("id")), table=QUOTA_NODES)
_ADD_FLAVOR: Final = inserted(FLAVORS)
_FLAVORS: Final = Statement(select(_F.name, _F.rank, _F.rule).order_by(_F.rank, _F.name))
_REMOVE_FLAVOR: Final = Statement(delete(FLAVORS).where(_F.name == bindparam("name")), table=FLAVORS)

# Of PostgreSQL's, until the commit. The number is arbitrary, but none of ours in object_stores.py and env.py.
_HOLD: Final = Statement(select(func.pg_advisory_xact_lock(literal_column("6420119", BigInteger()))))


class Quotas:
    """The nodes of all quota trees, small beside everything else: read whole."""

    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def hold(self) -> None:
        """Until the end of the transaction nobody else who asks for it changes nodes, or removes a flavor.

        For who looks at all of them to see whether one may change: what was true of them is then true at the commit.
        """
        if self._link.dialect == POSTGRESQL:  # SQLite has one writer
            self._link.row(_HOLD)

    def nodes(self) -> list[QuotaNode]:
        """By id."""
        return [_node(row) for row in self._link.rows(_ALL)]

    def get(self, node_id: QueueId) -> QuotaNode | None:
        row = self._link.row(_GET, {"id": node_id})
        return None if row is None else _node(row)

    def cohort(self, name: str) -> QuotaNode | None:
        row = self._link.row(_COHORT, {"name": name, "one": 1})
        return None if row is None else _node(row)

    def put(self, node: QuotaNode, *, by: str) -> None:
        """A new one has version 1; any other must be one version behind, or it is stale."""
        if node.version == 1:
            self._link.change(_ADD, _params(node))
        elif self._link.change(_SAVE, _params(node) | {"known": node.version - 1}) == 0:
            raise stale("quota", node.queue.id)
        self._tell("quota.changed", node.queue.id, by)

    def remove(self, node_id: QueueId, *, by: str) -> None:
        self._link.change(_REMOVE, {"id": node_id})
        self._tell("quota.removed", node_id, by)

    def flavors(self) -> list[Flavor]:
        """By rank and name."""
        return [_flavor(row) for row in self._link.rows(_FLAVORS)]

    def put_flavor(self, flavor: Flavor, *, by: str) -> None:
        """Inserts or replaces."""
        self._link.change(_REMOVE_FLAVOR, {"name": flavor.name})
        rule = {name: value for name, value in asdict(flavor).items() if name not in {"name", "rank"}}
        self._link.change(_ADD_FLAVOR, {"name": flavor.name, "rank": flavor.rank, "rule": packed(rule)})
        self._tell("flavor.changed", flavor.name, by)

    def remove_flavor(self, name: str, *, by: str) -> None:
        self._link.change(_REMOVE_FLAVOR, {"name": name})
        self._tell("flavor.removed", name, by)

    def _tell(self, kind: str, subject: str, by: str) -> None:
        self._events.add(Event(kind=kind, subject=subject, at=self._link.now, data={"by": by}))


def _params(node: QuotaNode) -> dict[str, object]:
    settings = {name: value for name, value in asdict(node.queue).items() if name not in _IN_SETTINGS}
    return {
        "id": node.queue.id,
        "name": node.queue.name,
        "is_cohort": int(node.is_cohort),
        "parent_id": node.queue.parent_id,
        "settings": packed(settings),
        "version": node.version,
    }


def _node(row: Row) -> QuotaNode:
    id_, name, is_cohort, parent_id, settings, version = row
    fields = unpacked(settings)
    queue = Queue(
        id=QueueId(id_),
        name=name,
        parent_id=None if parent_id is None else QueueId(parent_id),
        **fields
        | {
            "quotas": tuple(_quota(each) for each in fields["quotas"]),
            "flavors": tuple(fields["flavors"]),
            "when_can_borrow": Appetite(fields["when_can_borrow"]),
            "when_can_preempt": Appetite(fields["when_can_preempt"]),
            "preemption": _rules(fields["preemption"]),
        },
    )
    return QuotaNode(queue=queue, is_cohort=bool(is_cohort), version=version)


# `Any`: JSON, as `_params` wrote it.
def _quota(fields: dict[str, Any]) -> Quota:
    return Quota(**fields | {"cell": Cell(*fields["cell"])})


def _rules(fields: dict[str, Any]) -> PreemptionRules:
    kinds = {
        "within_queue": WithinQueue(fields["within_queue"]),
        "reclaim": Reclaim(fields["reclaim"]),
    }
    return PreemptionRules(**fields | kinds)


def _flavor(row: Row) -> Flavor:
    name, rank, rule = row
    fields = unpacked(rule)
    return Flavor(
        name=name,
        rank=rank,
        clusters=tuple(fields["clusters"]),
        accelerators=tuple(fields["accelerators"]),
        capacity_types=tuple(CapacityType(each) for each in fields["capacity_types"]),
        labels=tuple((key, value) for key, value in fields["labels"]),
    )
