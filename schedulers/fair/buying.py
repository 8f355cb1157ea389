"""Buying: machines for work that would wait longer than its queue puts up with.

It gives none back: who keeps the claims does, by what each of them says of standing idle.

Of all offers that fit, each role takes the one that costs least in the end:

    machines x hours x price x (1 + interruptions per hour x restart hours x machines) + GiB from elsewhere x egress

Hours count from the order, so booting is paid for. Everything is integer millionths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.ids import AskId, ClusterId, QueueId
from schedulers.base import (
    Budget,
    ClusterView,
    Data,
    Defer,
    Offer,
    Provision,
    ReasonCode,
    Topology,
    TopologyMode,
)
from schedulers.fair.clock import SECOND
from schedulers.fair.facts import Facts, RoleFacts, lets_in
from schedulers.fair.fleet import NEVER
from schedulers.fair.ledger import Request
from schedulers.fair.world import World

HOUR: Final = 3600
DEFAULT_RUNTIME: Final = HOUR
"""Seconds that work of unknown length is paid for when offers and budgets are compared."""

MOST_ORDERS: Final = 16
"""Purchases of one plan."""


@dataclass(frozen=True, slots=True)
class _Deal:
    """One offer for one role."""

    offer: Offer
    machines: int
    cost: int
    """For as long as the work takes, in millionths of the offer's currency."""

    def worth_of(self, cost: int) -> int:
        """So that costs of any currency compare."""
        return cost * self.offer.worth_ppm // 1_000_000


@dataclass(frozen=True, slots=True)
class _Bargain:
    """What an ask could have in one cluster."""

    cluster_id: ClusterId
    deals: list[_Deal]
    request: Request
    cost: int
    """Egress included."""

    egress: int

    @property
    def worth(self) -> int:
        return self.deals[0].worth_of(self.cost)


@dataclass(slots=True)
class Market:
    """Offers and money while one plan is being made."""

    world: World
    spent: dict[int, int] = field(default_factory=dict)
    """By the budget's place in the snapshot."""

    taken: dict[str, int] = field(default_factory=dict)
    """Machines of each offer."""

    provisions: list[Provision] = field(default_factory=list)

    def is_wanted(self, facts: Facts) -> bool:
        """Whether its queue ever buys, and there is something to buy."""
        return bool(self.world.books.base.offers) and self._patience(facts.queue) is not None

    def of_use_before(self, facts: Facts, submitted: int, starts_at: int | None) -> int | None:
        """The moment before which machines have to be there; None: the ask does not want any.

        If it would wait longer than its queue puts up with, that is its start without them, if one is in sight; if it
        only would be late for its deadline, they have to be there in time for that.
        """
        patience = self._patience(facts.queue)
        if patience is None or len(self.provisions) >= MOST_ORDERS:
            return None
        patience, latest, clock = patience * SECOND, _latest_start(facts), self.world.clock
        if starts_at is not None:
            is_late, is_too_long = latest is not None and starts_at > latest, starts_at - submitted > patience
        else:
            # It could not wait as long again and still meet its deadline.
            is_late = latest is not None and clock.is_past(latest - patience + 1)
            is_too_long = clock.is_past(submitted + patience)
        if is_too_long:
            return NEVER if starts_at is None else starts_at
        return latest + 1 if is_late and latest is not None else None

    def buy(self, ask_id: AskId, facts: Facts, before: int) -> Defer | None:
        """Orders machines for the fewest tasks and says so; or says why none are bought; None: nothing is on offer.

        Machines that are not there `before` that moment are of no use.
        """
        problems: list[ReasonCode] = []
        limits: list[tuple[int, str]] = []
        best: _Bargain | None = None
        for cluster in self.world.fleet.clusters:
            if cluster.blocked is not None or not lets_in(cluster, facts.ask_class):
                continue
            for offers in self._assortments(cluster.id, before):
                found = self._deals(cluster, offers, facts, problems)
                if found is None:
                    continue
                deals, request = found
                egress = _egress(cluster, facts, deals)
                cost = sum(deal.cost for deal in deals) + egress
                if (limit := self._limit(facts.queue, cost, egress, deals[0].offer.currency)) is not None:
                    problems.append(ReasonCode.OVER_BUDGET)
                    limits.append((deals[0].worth_of(cost), limit))
                elif best is None or deals[0].worth_of(cost) < best.worth:
                    best = _Bargain(cluster.id, deals, request, cost, egress)
        if best is not None:
            return self._order(ask_id, facts, best)
        return _refusal(facts, problems, limits)

    def _assortments(self, cluster_id: ClusterId, before: int) -> list[list[Offer]]:
        """Offers of which roles may be served together: all of a cluster, or each alone."""
        base, now = self.world.books.base, self.world.now
        every = [
            offer
            for offer in base.offers
            if offer.cluster_id == cluster_id and now + offer.boot_seconds * SECOND < before
        ]
        return [[offer] for offer in every] if base.is_uniform else [every]

    def _deals(
        self, cluster: ClusterView, offers: Sequence[Offer], facts: Facts, problems: list[ReasonCode]
    ) -> tuple[list[_Deal], Request] | None:
        """Of these offers of the cluster the cheapest for each role that its queue's quota lets in."""
        deals: list[_Deal] = []
        total: Request = {}
        for role, tasks in zip(facts.roles, facts.sizes(facts.slack), strict=True):
            options = []
            for offer in offers:
                if not self._suits(offer, role, facts):
                    continue
                if not self._fits_quota(facts, total, offer, role, tasks):
                    continue  # first: what no quota lets in would not be bought either if it were to be had
                taken = sum(deal.machines for deal in deals if deal.offer.id == offer.id)
                deal = self._deal(offer, role, facts, tasks, taken)
                if deal is None:
                    problems.append(ReasonCode.SOLD_OUT)
                else:
                    options.append(deal)
            if not options:
                return None
            chosen = _cheapest(cluster, facts, deals, options)
            deals.append(chosen)
            total = self._with(facts, total, chosen.offer, role, tasks)
        return deals, total

    def _suits(self, offer: Offer, role: RoleFacts, facts: Facts) -> bool:
        its, queue = facts.ask_class, self.world.ledger.queues[facts.queue]
        flavors = role.role.flavors or queue.flavors
        met = its.tolerations
        is_near = (
            its.topology is None
            or its.topology.mode is TopologyMode.PREFERRED
            or its.topology.level in (*dict(offer.domains), "cluster")
            or (its.topology.level == "node" and _per_machine(offer, role) >= role.role.tasks_min)
        )
        return (
            (not flavors or offer.flavor in flavors)
            and (role.role.accelerator in (None, offer.accelerator))
            and all((key, value) in met or (key, "*") in met for key, value in offer.taints)
            and _per_machine(offer, role) > 0
            and is_near
            and (role is not facts.roles[-1] or _keeps_slices(offer, role, its.topology))
        )

    def _deal(self, offer: Offer, role: RoleFacts, facts: Facts, tasks: int, taken: int) -> _Deal | None:
        """`taken`: machines of the offer for its other roles."""
        machines = -(-tasks // _per_machine(offer, role))
        left = offer.machines_left
        sold_out = left is not None and machines > left - taken - self.taken.get(offer.id, 0)
        if not self.world.clock.is_past(offer.cool_until) or sold_out:
            return None
        seconds = (facts.ask_class.runtime_seconds or DEFAULT_RUNTIME) + offer.boot_seconds
        plain = machines * offer.price_millionths_per_hour * seconds // HOUR
        lost = offer.interruptions_per_hour_ppm * machines * facts.ask_class.restart_seconds // HOUR
        return _Deal(offer, machines, plain + plain * lost // SECOND)

    def _fits_quota(self, facts: Facts, total: Request, offer: Offer, role: RoleFacts, tasks: int) -> bool:
        ledger = self.world.ledger
        if not ledger.gives_any(facts.queue, offer.flavor, role.amounts):
            return False
        return ledger.fits(facts.queue, self._with(facts, total, offer, role, tasks))

    def _with(self, facts: Facts, total: Request, offer: Offer, role: RoleFacts, tasks: int) -> Request:
        more = self.world.ledger.request(facts.queue, offer.flavor, role.amounts, tasks)
        return {cell: total.get(cell, 0) + more.get(cell, 0) for cell in sorted({*total, *more})}

    def _limit(self, queue: int, cost: int, egress: int, currency: str) -> str | None:
        """What keeps it from being bought, in words; None: it may be. Money of other currencies is none."""
        mine = list(self._budgets(queue))
        if mine and not any(budget.currency == currency for _, budget in mine):
            return f"the offers are in {currency}, and its budgets in other currencies"
        for place, budget in mine:
            left = budget.left_millionths - self.spent.get(place, 0)
            if budget.currency == currency and cost > left:
                name = self.world.ledger.queues[self.world.ledger.number[QueueId(budget.queue_id)]].name
                brings = f" ({egress / SECOND:.2f} of it to bring its data there)" if egress else ""
                money = f"{cost / SECOND:.2f} {currency}{brings}, and {max(0, left) / SECOND:.2f} are left"
                return f"machines for it would cost {money} in the budget of {name or budget.queue_id!r}"
        return None

    def _budgets(self, queue: int) -> Iterator[tuple[int, Budget]]:
        names = frozenset(str(self.world.ledger.ids[node]) for node in self.world.ledger.paths[queue])
        for place, budget in enumerate(self.world.books.base.budgets):
            if budget.queue_id in names:
                yield place, budget

    def _patience(self, queue: int) -> int | None:
        for node in self.world.ledger.paths[queue]:
            if (seconds := self.world.ledger.queues[node].burst_after_seconds) is not None:
                return seconds
        return None

    def _order(self, ask_id: AskId, facts: Facts, best: _Bargain) -> Defer:
        orders: dict[str, int] = {}
        for deal in best.deals:
            orders[deal.offer.id] = orders.get(deal.offer.id, 0) + deal.machines
            self.taken[deal.offer.id] = self.taken.get(deal.offer.id, 0) + deal.machines
        for place, budget in self._budgets(facts.queue):
            if budget.currency == best.deals[0].offer.currency:
                self.spent[place] = self.spent.get(place, 0) + best.cost
        self.world.ledger.add(facts.queue, best.request)
        per_hour = sum(deal.machines * deal.offer.price_millionths_per_hour for deal in best.deals)
        brings = f" and {best.egress / SECOND:.2f} to bring its data there" if best.egress else ""
        sentence = f"{_listed(orders)} for {per_hour / SECOND:.2f} an hour{brings}, as it would wait too long"
        self.provisions.append(
            Provision(
                ask_id=ask_id,
                cluster_id=best.cluster_id,
                orders=tuple(sorted(orders.items())),
                price_millionths_per_hour=per_hour,
                cost_millionths=best.cost,
                sentence=sentence,
            )
        )
        return machines_are_coming(facts, f"buys {sentence}")


def machines_are_coming(facts: Facts, sentence: str) -> Defer:
    return Defer(
        class_id=facts.id,
        code=ReasonCode.WAITING_FOR_MACHINES,
        sentence=sentence,
        remedy="starts when they have joined the cluster; nothing needs to be done",
    )


def _refusal(facts: Facts, problems: Sequence[ReasonCode], limits: Sequence[tuple[int, str]]) -> Defer | None:
    """`limits` tell of each bargain what it would be worth, and why it is too dear: the best of them is told."""
    if ReasonCode.OVER_BUDGET in problems:
        return Defer(
            class_id=facts.id,
            code=ReasonCode.OVER_BUDGET,
            sentence=min(limits)[1],
            remedy="raise the budget, wait for its next window, or for other work to end",
        )
    if ReasonCode.SOLD_OUT in problems:
        return Defer(
            class_id=facts.id,
            code=ReasonCode.SOLD_OUT,
            sentence="machines would be bought for it, but every offer that fits it and its quota is sold out for now",
            remedy="is tried again when the first of them may be asked again, or when other work ends",
        )
    return None


def _latest_start(facts: Facts) -> int | None:
    """With which it still meets its deadline, if it has one."""
    its = facts.ask_class
    return None if its.deadline is None else its.deadline - (its.runtime_seconds or 0) * SECOND


def _cheapest(cluster: ClusterView, facts: Facts, deals: Sequence[_Deal], options: Sequence[_Deal]) -> _Deal:
    """For the next role, beside the deals for those before it: what these bring to their region is there already."""

    def cost(option: _Deal) -> tuple[int, str]:
        brought = _egress(cluster, facts, [*deals, option])
        return option.worth_of(option.cost + brought), option.offer.id

    return min(options, key=cost)


def _egress(cluster: ClusterView, facts: Facts, deals: Sequence[_Deal]) -> int:
    """Data is brought to the cluster once, at the highest price of those whose machines are not where it lies."""
    return sum(
        data.gib * max((_egress_price(cluster, data, deal.offer) for deal in deals), default=0)
        for data in facts.ask_class.data
    )


def _egress_price(cluster: ClusterView, data: Data, offer: Offer) -> int:
    is_there = data.region == offer.region or cluster.lies_in(data.region)
    return 0 if is_there else offer.egress_millionths_per_gib


def _per_machine(offer: Offer, role: RoleFacts) -> int:
    return role.role.amounts.times_in(offer.allocatable)


def _keeps_slices(offer: Offer, role: RoleFacts, topology: Topology | None) -> bool:
    """Whatever becomes of the whole, slices stay together: in domains that are known before, or on one machine."""
    return topology is None or all(
        each.level in (*dict(offer.domains), "cluster")
        or (each.level == "node" and _per_machine(offer, role) >= each.tasks)
        for each in topology.slices
    )


def _listed(orders: dict[str, int]) -> str:
    return " and ".join(f"{machines} x {offer}" for offer, machines in sorted(orders.items()))
