"""Finds what is allowed in a tree of quotas and yet is hardly meant."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.ids import QueueId
from controlplane.domain.queues import Cell, Queue, Quota, children_of
from controlplane.domain.quotas import QuotaTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """One sentence about one node; `code` is stable."""

    queue_id: QueueId
    code: str
    sentence: str


def surprises(queues: Sequence[Queue], capacity: Mapping[Cell, int]) -> tuple[Surprise, ...]:
    """Of a tree that `check_tree` lets in. `capacity` is what the present nodes have, empty or not."""
    tree, children = QuotaTree.of(queues), children_of(queues)
    found: list[Surprise] = []
    for queue in sorted(queues, key=lambda queue: queue.id):
        below = [tree.queues[id_] for id_ in children.get(queue.id, ())]
        for rule in (_of_a_cohort, _of_a_queue, _of_borrowing):
            found.extend(
                Surprise(queue_id=queue.id, code=code, sentence=f"{queue.name!r} {text}")
                for code, text in rule(tree, queue, below)
            )
        found.extend(_against_the_fleet(tree, queue, capacity))
    return tuple(found)


_Finding = tuple[str, str]


def _of_a_cohort(tree: QuotaTree, queue: Queue, below: Sequence[Queue]) -> Iterator[_Finding]:
    if not below:
        return
    for quota in queue.quotas:
        if quota.nominal:
            total = tree.subtree(queue.id, quota.cell)
            yield (
                "cohort_quota_adds",
                f"has {quota.nominal} {_cell(quota.cell)} beside what its members have; together they own {total}",
            )
    if len(below) == 1:
        yield "cohort_of_one", f"has one member, {below[0].name!r}: there is nobody to lend to or borrow from"


def _of_a_queue(tree: QuotaTree, queue: Queue, below: Sequence[Queue]) -> Iterator[_Finding]:
    if below:
        return
    cells = tree.cells.get(tree.roots[queue.id], ())
    counted = sorted(frozenset(cell.resource for cell in cells))
    for name in counted:
        most = [tree.potential(queue.id, cell) for cell in cells if cell.resource == name]
        if not any(most):
            yield (
                "can_never_admit",
                f"can never have any {name}: nothing is its own and nothing is lent to it",
            )
    for flavor in queue.flavors:
        missing = [name for name in counted if Cell(flavor, name) not in cells]
        if missing:
            yield (
                "flavor_without_quota",
                f"may use flavor {flavor!r}, but no quota of its tree gives any {' or '.join(missing)} of it",
            )
    if queue.weight_milli == 0:
        yield "weight_zero", "has weight zero: when it borrows it is served after all others"


def _of_borrowing(tree: QuotaTree, queue: Queue, below: Sequence[Queue]) -> Iterator[_Finding]:
    for quota in queue.quotas:
        parent = queue.parent_id
        if quota.borrowing is None or parent is None:
            continue
        lent = tree.potential(parent, quota.cell) - _shown(tree, queue, quota)
        if quota.borrowing > lent:
            yield (
                "borrowing_beyond_reach",
                f"may borrow {quota.borrowing} {_cell(quota.cell)}, but its cohort has only {lent} for it",
            )
    yields_nothing = [quota for quota in queue.quotas if quota.lending == 0 and quota.nominal and not below]
    for quota in yields_nothing:
        yield (
            "lends_nothing",
            f"lends none of its {quota.nominal} {_cell(quota.cell)}; they stay idle when it has no work",
        )


def _against_the_fleet(tree: QuotaTree, queue: Queue, capacity: Mapping[Cell, int]) -> Iterator[Surprise]:
    if tree.roots[queue.id] != queue.id:
        return
    for cell in tree.cells.get(queue.id, ()):
        owned, there = tree.subtree(queue.id, cell), capacity.get(cell, 0)
        if owned > there:
            yield Surprise(
                queue_id=queue.id,
                code="more_than_there_is",
                sentence=f"{queue.name!r} and all below it own {owned} {_cell(cell)}; the nodes have {there}",
            )


def _shown(tree: QuotaTree, queue: Queue, quota: Quota) -> int:
    """Of its own quota, what the parent counts as well."""
    return tree.subtree(queue.id, quota.cell) - tree.guaranteed(queue.id, quota.cell)


def _cell(cell: Cell) -> str:
    return f"{cell.resource} of {cell.flavor!r}"
