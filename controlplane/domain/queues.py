"""Queues: where work waits, and the tree of quotas that says how much of each kind of capacity it may use.

A queue is a leaf, a cohort an inner node; queues under one cohort lend to each other. A cell is one amount (`gpu`) of
one flavor (`a100 spot`). An amount that some node of a tree counts is counted in all of the tree, so a flavor without a
cell for it gives none of it; an amount that no node counts is free to use. The arithmetic stands in `domain.quotas`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import QueueId

LARGEST: Final = 2**59
"""Of any amount, and of all nominal quotas of a cell together: sums and tenfolds of it still fit an int64."""

DEEPEST: Final = 12
"""Levels of a tree."""

WHOLE: Final = 1000
"""A weight of one, in thousandths."""

HEAVIEST: Final = 1_000_000 * WHOLE


class Cell(NamedTuple):
    """What a quota counts: an amount by its public name, of one flavor."""

    flavor: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The limits of one node for one cell, in the cell's own unit (milli-GPUs, milli-CPUs, bytes)."""

    cell: Cell
    nominal: int = 0
    """Its own: whoever lent it gets out of the way when it is wanted back."""

    borrowing: int | None = None
    """The most it may use beyond what is its own; None: whatever the cohort has to lend."""

    lending: int | None = None
    """The most of its own that others may use; None: all of it."""


class WithinQueue(StrEnum):
    """Whom an ask may preempt in its own queue."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    LOWER_OR_NEWER_EQUAL = "lower_or_newer_equal"


class Reclaim(StrEnum):
    """Whom an ask within its own quota may preempt among those who borrowed it."""

    NEVER = "never"
    LOWER_PRIORITY = "lower_priority"
    ANY = "any"


class Appetite(StrEnum):
    """What a queue does when a flavor is had only at a price."""

    TAKE = "take"
    """Takes it."""

    TRY_NEXT = "try_next"
    """Looks at the queue's next flavors first, and comes back when none is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionRules:
    within_queue: WithinQueue = WithinQueue.LOWER_PRIORITY
    reclaim: Reclaim = Reclaim.ANY
    fair_share: bool = True
    """Beyond its quota it may preempt those who hold a larger share."""

    borrow_below: int | None = None
    """Beyond its quota it may preempt work of other queues up to this priority, if also below its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A node of the tree: a queue, or a cohort once another node names it as its parent."""

    id: QueueId
    name: str
    parent_id: QueueId | None = None
    weight_milli: int = WHOLE
    """Of its claim to what nobody owns, in thousandths. Zero: served after all others."""

    quotas: tuple[Quota, ...] = ()
    flavors: tuple[str, ...] = ()
    """In the order in which they are tried; empty: all that exist, by name."""

    when_can_borrow: Appetite = Appetite.TAKE
    when_can_preempt: Appetite = Appetite.TRY_NEXT
    preemption: PreemptionRules = PreemptionRules()
    burst_after_seconds: int | None = None
    """Machines are bought for work that would wait longer than this; None: never."""

    aging_seconds: int | None = None
    """Waiting this long raises an ask by one priority within its queue; None: never."""

    band: int = 0
    """Its work goes before that of lower bands, whatever the shares; within the queue priorities decide."""

    stopped: bool = False
    """Nothing more is admitted; what runs runs on."""


def children_of(queues: Iterable[Queue]) -> dict[QueueId, tuple[QueueId, ...]]:
    """Of every node that has some, sorted."""
    children: dict[QueueId, list[QueueId]] = {}
    for queue in queues:
        if queue.parent_id is not None:
            children.setdefault(queue.parent_id, []).append(queue.id)
    return {parent: tuple(sorted(ids)) for parent, ids in sorted(children.items())}


def check_tree(queues: Sequence[Queue], *, flavors: frozenset[str]) -> None:
    """Raises `Invalid` naming the node, the value and the limit if the nodes cannot be one set of trees."""
    nodes, children = {queue.id: queue for queue in queues}, children_of(queues)
    for queue in queues:
        _check_ancestors(queue, nodes)
        _check_weight(queue)
        for quota in queue.quotas:
            _check_quota(queue, quota, flavors)
            if queue.id not in children:  # a cohort may lend on what its members lend to it
                _check_lending(queue, quota)
        cells = [quota.cell for quota in queue.quotas]
        if len(cells) != len(frozenset(cells)):
            raise Invalid(f"queue {queue.name!r} has two quotas for one cell", field="quotas")
        if unknown := sorted(frozenset(queue.flavors) - flavors):
            raise Invalid(
                f"queue {queue.name!r} names unknown flavors {unknown}", field="flavors", value=unknown
            )
    _check_sums(queues)


def _check_ancestors(queue: Queue, nodes: Mapping[QueueId, Queue]) -> None:
    seen, parent = [queue.id], queue.parent_id
    while parent is not None:
        if parent not in nodes:
            sentence = f"queue {queue.name!r}: there is no cohort {parent}"
            raise Invalid(sentence, field="parent", value=parent)
        if parent in seen:
            path = " -> ".join(nodes[each].name for each in (*seen, parent))
            raise Invalid(f"queue {queue.name!r} is its own ancestor: {path}", field="parent", value=parent)
        seen.append(parent)
        parent = nodes[parent].parent_id
    if len(seen) > DEEPEST:
        sentence = f"queue {queue.name!r} stands on level {len(seen)}; the limit is {DEEPEST}"
        raise Invalid(sentence, field="parent", value=len(seen), limit=DEEPEST)


def _check_weight(queue: Queue) -> None:
    if not 0 <= queue.weight_milli <= HEAVIEST:
        raise Invalid(
            f"queue {queue.name!r}: weight {queue.weight_milli} thousandths is not within 0..{HEAVIEST}",
            field="weight",
            value=queue.weight_milli,
            limit=HEAVIEST,
        )


def _check_quota(queue: Queue, quota: Quota, flavors: frozenset[str]) -> None:
    where = f"queue {queue.name!r}, {quota.cell.resource} of {quota.cell.flavor!r}"
    if quota.cell.flavor not in flavors:
        raise Invalid(f"{where}: unknown flavor", field="quotas", value=quota.cell.flavor)
    limits = {"nominal": quota.nominal, "borrowing": quota.borrowing, "lending": quota.lending}
    for name, value in limits.items():
        if value is not None and not 0 <= value <= LARGEST:
            sentence = f"{where}: {name} {value} is not within 0..{LARGEST}"
            raise Invalid(sentence, field=f"quotas.{name}", value=value, limit=LARGEST)
    if quota.borrowing is not None and queue.parent_id is None:
        sentence = f"{where}: a borrowing limit needs a cohort to borrow from"
        raise Invalid(sentence, field="quotas.borrowing", value=quota.borrowing)


def _check_lending(queue: Queue, quota: Quota) -> None:
    if quota.lending is not None and quota.lending > quota.nominal:
        raise Invalid(
            f"queue {queue.name!r}, {quota.cell.resource} of {quota.cell.flavor!r}: lends {quota.lending}, "
            f"more than its nominal {quota.nominal}",
            field="quotas.lending",
            value=quota.lending,
            limit=quota.nominal,
        )


def _check_sums(queues: Sequence[Queue]) -> None:
    sums: dict[Cell, int] = {}
    for queue in queues:
        for quota in queue.quotas:
            sums[quota.cell] = sums.get(quota.cell, 0) + quota.nominal
    for cell, total in sorted(sums.items()):
        if total > LARGEST:
            raise Invalid(
                f"the nominal quotas for {cell.resource} of {cell.flavor!r} add up to {total}; the limit is {LARGEST}",
                field="quotas.nominal",
                value=total,
                limit=LARGEST,
            )
