"""The cost ledger: derived from rows that hold times already, and from charges once those rows are archived.

Nothing is written while work runs. A charge is what the same rows said when they were put away, so every report of a
window reads the same before and after.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import SHARED, Claim
from controlplane.domain.clusters import Node
from controlplane.domain.costs import (
    WHOLE_PPM,
    Charge,
    Holding,
    Line,
    Owner,
    Price,
    Rate,
    Span,
    held_seconds,
    holdings,
    life,
    owned,
    part_ppm,
    periods,
    prices_at,
)
from controlplane.domain.ids import ClaimId, JobId, NodeId, ProjectId
from controlplane.operations.flavors import Naming, claim_of
from controlplane.store import Tx


@dataclass(slots=True)
class Ledger:
    """What things cost, as of one transaction."""

    tx: Tx
    naming: Naming
    rates: Sequence[Rate]
    _nodes: dict[NodeId, Node] = field(default_factory=dict)
    _claims: dict[ClaimId, Claim | None] = field(default_factory=dict)
    _held: dict[ClaimId, tuple[Holding, ...]] = field(default_factory=dict)

    @classmethod
    def open(cls, tx: Tx) -> "Ledger":
        return cls(tx=tx, naming=Naming.load(tx), rates=tx.costs.rates())

    def lines(self, window: Span, *, is_by_job: bool) -> list[Line]:
        """Of the part of the window that is over. One for each owner, node and shape of task; idle time by claim."""
        window = Span(window.start, max(window.start, min(window.end, self.tx.now)))
        used, bought = self._on_owned(window, is_by_job=is_by_job)
        for claim_id, node_ids in sorted(bought.items()):
            used += self._on_bought(claim_id, node_ids, window, is_by_job=is_by_job)
        used += _past(self.tx, window, is_by_job=is_by_job)
        return [*used, *self._idle(window, used)]

    def charges(self, job_ids: Sequence[JobId]) -> list[Charge]:
        """What the attempts of these jobs have cost."""
        kept = self.tx.costs.kept(job_ids)
        self._know(task.node_id for task in kept)
        sums: dict[tuple[str, Owner, Span, str | None], tuple[Charge, int, int]] = {}
        for task in kept:
            owner = replace(task.owner, claim_id=self._bought(task.node_id))
            for span, prices in self._priced(owner, task.node_id, task.amounts, task.span):
                for place, price in enumerate(prices or (None,)):
                    currency = None if price is None else price.currency
                    rate = 0 if price is None else price.millionths
                    first = Charge(
                        attempt_id=task.attempt_id,
                        owner=owner,
                        span=span,
                        currency=currency,
                        rate_millionths=0,
                        tasks=0,
                    )
                    key = (task.attempt_id, owner, span, currency)
                    charge, rates, tasks = sums.get(key, (first, 0, 0))
                    sums[key] = (charge, rates + rate, tasks + (place == 0))
        return [replace(charge, rate_millionths=rate, tasks=tasks) for charge, rate, tasks in sums.values()]

    def claims(self, window: Span) -> list[Claim]:
        """Those that were there in the window, by id; lent nodes are no claim's."""
        found = self.tx.costs.claims(window)
        self._held.update((claim.id, holdings(claim, bought, self.tx.now)) for claim, bought in found)
        return [claim for claim, _ in found]

    def cost_of(self, claim: Claim, window: Span) -> int:
        """Units, of all its machines in the window; zero while nobody knows its price."""
        return (claim.price_millionths or 0) * held_seconds(self._holdings(claim), window)

    def _on_owned(self, window: Span, *, is_by_job: bool) -> tuple[list[Line], dict[ClaimId, list[NodeId]]]:
        """Also the bought nodes that were used, by claim."""
        lines: list[Line] = []
        bought: dict[ClaimId, set[NodeId]] = {}
        for period in periods(self.rates, window):
            found = list(self.tx.costs.used(period, is_by_job=is_by_job))
            self._know(each.node_id for each in found)
            for each in found:
                claim_id = self._bought(each.node_id)
                if claim_id is not None:
                    bought.setdefault(claim_id, set()).add(each.node_id)
                elif each.seconds:
                    prices = self._owned_prices(each.node_id, each.amounts, period)
                    lines.extend(_used(each.owner, prices, each.seconds))
        return lines, {claim_id: sorted(nodes) for claim_id, nodes in bought.items()}

    def _on_bought(
        self, claim_id: ClaimId, node_ids: Sequence[NodeId], window: Span, *, is_by_job: bool
    ) -> list[Line]:
        """No longer than the claim had machines: what still seemed to run then is not paid for."""
        claim = self._claim(claim_id)
        span = None if claim is None else life(self._holdings(claim))
        if claim is None or span is None:
            return []
        lines: list[Line] = []
        for each in self.tx.costs.used(window.within(span), node_ids=node_ids, is_by_job=is_by_job):
            prices = self._bought_prices(claim, each.node_id, each.amounts)
            if each.seconds:
                lines.extend(_used(replace(each.owner, claim_id=claim_id), prices, each.seconds))
        return lines

    def _idle(self, window: Span, used: Iterable[Line]) -> Iterator[Line]:
        """What each claim costs beyond what was used of it."""
        spent: dict[ClaimId, int] = {}
        for line in used:
            if line.owner.claim_id is not None:
                spent[line.owner.claim_id] = spent.get(line.owner.claim_id, 0) + line.used_units
        for claim in self.claims(window):
            seconds = held_seconds(self._held[claim.id], window)
            if seconds or claim.id in spent:
                yield Line(
                    owner=Owner(
                        project_id=None if claim.trust_domain == SHARED else ProjectId(claim.trust_domain),
                        queue_id=claim.queue_id,
                        cluster_id=claim.cluster_id,
                        claim_id=claim.id,
                    ),
                    currency=None if claim.price_millionths is None else claim.currency,
                    idle_units=self.cost_of(claim, window) - spent.get(claim.id, 0),
                    machine_seconds=seconds,
                )

    def _priced(
        self, owner: Owner, node_id: NodeId, amounts: Amounts, span: Span
    ) -> Iterator[tuple[Span, tuple[Price, ...]]]:
        claim = None if owner.claim_id is None else self._claim(owner.claim_id)
        if claim is None:
            for period in periods(self.rates, span):
                yield period, self._owned_prices(node_id, amounts, period)
        elif (held := life(self._holdings(claim))) is not None:
            yield span.within(held), self._bought_prices(claim, node_id, amounts)

    def _owned_prices(self, node_id: NodeId, amounts: Amounts, period: Span) -> tuple[Price, ...]:
        node = self._nodes[node_id]
        return owned(prices_at(self.rates, node.cluster_id, self.naming.of(node), period.start), amounts)

    def _bought_prices(self, claim: Claim, node_id: NodeId, amounts: Amounts) -> tuple[Price, ...]:
        if claim.price_millionths is None or claim.currency is None:
            return ()
        part = part_ppm(amounts, self._nodes[node_id].allocatable)
        return (Price(claim.currency, claim.price_millionths * part // WHOLE_PPM),)

    def _know(self, node_ids: Iterable[NodeId]) -> None:
        missing = sorted(set(node_ids) - self._nodes.keys())
        if missing:
            self._nodes.update(self.tx.nodes.by_ids(missing))

    def _bought(self, node_id: NodeId) -> ClaimId | None:
        """The claim that the node was bought for; None: it is owned."""
        claim_id = claim_of(self._nodes[node_id])
        claim = None if claim_id is None else self._claim(claim_id)
        return None if claim is None or claim.shares else claim.id

    def _claim(self, claim_id: ClaimId) -> Claim | None:
        if claim_id not in self._claims:
            self._claims[claim_id] = self.tx.claims.get(claim_id)
        return self._claims[claim_id]

    def _holdings(self, claim: Claim) -> tuple[Holding, ...]:
        if claim.id not in self._held:
            launches = self.tx.launches.of_claim(claim.id)
            self._held[claim.id] = holdings(claim, launches, self.tx.now)
        return self._held[claim.id]


def _used(owner: Owner, prices: Sequence[Price], seconds: int) -> Iterator[Line]:
    """In every currency that it is priced in; the time counts once."""
    if not prices:
        yield Line(owner=owner, currency=None, task_seconds=seconds)
    for place, price in enumerate(prices):
        yield Line(
            owner=owner,
            currency=price.currency,
            used_units=price.millionths * seconds,
            task_seconds=0 if place else seconds,
        )


def _past(tx: Tx, window: Span, *, is_by_job: bool) -> list[Line]:
    return [
        Line(owner=each.owner, currency=each.currency, used_units=each.units, task_seconds=each.task_seconds)
        for each in tx.costs.past(window, is_by_job=is_by_job)
    ]
