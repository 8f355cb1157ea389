"""Entitlements: the weights by which shares are compared, less for who has used much of late.

After KAI's resource_division.go with k = 1: among siblings of weights w and W together, one that has used the part u
of their capacity counts as w / W + (w / W - u), so who used more than its part is served later until that has decayed.
Nobody falls below a tenth of its weight. All of it changes only at epochs. It decides who is let in next and for whom
nobody has to go; by itself it sends nobody away, as then neighbours would drive each other out by turns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.domain.ids import QueueId
from schedulers.base import PastUse
from schedulers.decay import WHOLE_USE, after
from schedulers.fair.clock import EPOCH, SECOND
from schedulers.fair.ledger import Ledger, Request

LEAST: Final = 10
"""The part of its weight, as a divisor, that everybody keeps."""


@dataclass(frozen=True, slots=True)
class Entitlements:
    rows: Sequence[PastUse]
    """That they were made from."""

    rows_epoch: int
    """Until rows are of the present epoch, what is held now has a say."""

    epoch: int
    weights: list[int]
    """Of every node of the ledger; not to be written to."""

    fresh: tuple[PastUse, ...]
    """Rows of the present epoch, if those that there are tell of an earlier one."""

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        rows: Sequence[PastUse],
        held: Iterable[tuple[int, Request]],
        epoch: int,
        totals: Sequence[int],
    ) -> "Entitlements":
        """`held` are (queue, request) of all that holds seats, looked at only where an epoch has begun.

        `totals`: of every resource, what all nodes have, which trees share.
        """
        known = max((row.epoch for row in rows), default=-1)
        used = {row.queue_id: row.used for row in rows if row.epoch == known}
        fresh: tuple[PastUse, ...] = ()
        if known < epoch:
            passed = 0 if known < 0 else (epoch - known) // EPOCH * (EPOCH // SECOND)
            parts = _parts(ledger, held, totals)
            now = {id_: after(used.get(id_, 0), parts.get(id_, 0), passed) for id_ in sorted({*used, *parts})}
            fresh = tuple(
                PastUse(queue_id=id_, epoch=epoch, used=now[id_])
                for id_ in sorted(now)
                if now[id_] or id_ in parts
            )
            used = now
        return cls(rows, known, epoch, list(_weights(ledger, used)), fresh)

    def stand(self, rows: Sequence[PastUse], epoch: int) -> bool:
        return self.rows is rows and self.rows_epoch == self.epoch == epoch


def _parts(ledger: Ledger, held: Iterable[tuple[int, Request]], totals: Sequence[int]) -> dict[str, int]:
    """Of every node below which something is held, the largest part that it is of any resource."""
    sums: dict[int, dict[int, int]] = {}
    for queue, request in held:
        for node in ledger.paths[queue]:
            row = sums.setdefault(node, {})
            for cell, amount in request.items():
                resource = ledger.resource_of[cell]
                row[resource] = row.get(resource, 0) + amount
    return {
        str(ledger.ids[node]): max(
            (
                amount * WHOLE_USE // capacity
                for resource, amount in row.items()
                if (capacity := _capacity(ledger, node, totals, resource))
            ),
            default=0,
        )
        for node, row in sums.items()
    }


def _capacity(ledger: Ledger, node: int, totals: Sequence[int], resource: int) -> int:
    """Siblings share what their tree owns, trees share the fleet."""
    if ledger.parent[node] < 0:
        return totals[resource]
    own = ledger.subtree[ledger.paths[node][-1]]
    return sum(amount for cell, amount in enumerate(own) if ledger.resource_of[cell] == resource)


def _weights(ledger: Ledger, used: Mapping[str, int]) -> Iterable[int]:
    together: dict[int, int] = {}
    for node, up in enumerate(ledger.parent):
        together[up] = together.get(up, 0) + ledger.weights[node]
    for node, up in enumerate(ledger.parent):
        whole, part = ledger.weights[node], used.get(QueueId(ledger.ids[node]), 0)
        less = together[up] * part // (2 * WHOLE_USE)
        yield max(whole - less, whole // LEAST)
