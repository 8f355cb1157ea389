"""Budgets: setting them, and what is left of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.domain.budgets import Budget, Standing, Window, window_at
from controlplane.domain.costs import EPOCH, HIGHEST_PRICE, UNITS
from controlplane.domain.errors import Invalid, NotFound
from controlplane.domain.ids import QueueId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.ledger import Ledger
from controlplane.operations.lookups import project_for, queue_for
from controlplane.operations.quotas import NodeName, queue_names
from controlplane.store import Tx

ALWAYS: Final = window_at(Window.TOTAL, EPOCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    standing: Standing
    name: str
    """`project/queue`, or the cohort's."""


def put(
    context: Context,
    principal: Principal,
    name: NodeName,
    wanted: Budget,
    *,
    once: Once[BudgetView] | None = None,
) -> BudgetView:
    """`wanted` without its queue, which is named. What is spent already counts."""
    authorize(principal, Action.EDIT_MONEY)
    if not 0 <= wanted.limit_millionths <= HIGHEST_PRICE * UNITS:
        raise Invalid("a budget is not below zero", field="limit", value=wanted.limit_millionths)

    def unit(tx: Tx) -> BudgetView:
        budget = Budget(
            queue_id=_node(tx, principal, name),
            currency=wanted.currency,
            window=wanted.window,
            limit_millionths=wanted.limit_millionths,
        )
        tx.budgets.put(budget, by=principal.name)
        return next(view for view in _views(tx) if _key(view.standing.budget) == _key(budget))

    return write_once(context.store, unit, once)


def remove(
    context: Context,
    principal: Principal,
    name: NodeName,
    *,
    currency: str,
    window: Window,
    once: Once[BudgetView] | None = None,
) -> BudgetView:
    """Nothing limits it then but its other budgets."""
    authorize(principal, Action.EDIT_MONEY)

    def unit(tx: Tx) -> BudgetView:
        key = (_node(tx, principal, name), currency, window)
        found = next((view for view in _views(tx) if _key(view.standing.budget) == key), None)
        if found is None:
            raise NotFound(
                f"there is no such budget in {currency} per {window}", field="window", value=window
            )
        tx.budgets.remove(found.standing.budget, by=principal.name)
        return found

    return write_once(context.store, unit, once)


def listed(context: Context, principal: Principal) -> list[BudgetView]:
    """By queue, currency and window. Who sees one project only sees those of its queues and of cohorts."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        own = None if principal.project_id is None else queue_names(tx, principal.project_id)
        cohorts = {node.queue.id for node in tx.quotas.nodes() if node.is_cohort}
        return [
            view
            for view in _views(tx)
            if own is None or view.standing.budget.queue_id in own.keys() | cohorts
        ]


def standings(tx: Tx) -> list[Standing]:
    """Of every budget: what claims have cost in its window, and what live ones will still."""
    budgets = tx.budgets.all()
    if not budgets:
        return []
    ledger, parents = Ledger.open(tx), _parents(tx)
    spans = {window: window_at(window, tx.now) for window in sorted({each.window for each in budgets})}
    spent: dict[tuple[QueueId, str, Window], list[int]] = {_key(each): [0, 0] for each in budgets}
    for window, span in spans.items():
        for claim in ledger.claims(span):
            if claim.queue_id is None or claim.currency is None:
                continue
            cost = ledger.cost_of(claim, span)
            whole = (claim.expected_millionths or 0) * UNITS
            still = max(0, whole - ledger.cost_of(claim, ALWAYS)) if claim.is_live else 0
            for node in path(parents, claim.queue_id):
                if (sums := spent.get((node, claim.currency, window))) is not None:
                    sums[0] += cost
                    sums[1] += still
    return [
        Standing(
            budget=each,
            span=spans[each.window],
            spent_units=spent[_key(each)][0],
            promised_units=spent[_key(each)][1],
        )
        for each in budgets
    ]


def stopping(tx: Tx, queue_id: QueueId, cost_millionths: int, currency: str) -> str | None:
    """Why the queue may not spend so much more, naming the budget; None: it may."""
    of_path = set(path(_parents(tx), queue_id))
    mine = [each for each in standings(tx) if each.budget.queue_id in of_path]
    if mine and not any(each.budget.currency == currency for each in mine):
        return f"it has budgets, and none of them is in {currency}"
    for each in mine:
        if each.budget.currency == currency and cost_millionths > each.left_millionths:
            return (
                f"it would cost {cost_millionths} millionths of {currency}, and {each.left_millionths} are left"
                f" per {each.budget.window} of {each.budget.queue_id}"
            )
    return None


def path(parents: Mapping[QueueId, QueueId | None], queue_id: QueueId) -> Iterator[QueueId]:
    """The queue and the cohorts above it."""
    node: QueueId | None = queue_id
    while node is not None:
        yield node
        node = parents.get(node)


def _parents(tx: Tx) -> dict[QueueId, QueueId | None]:
    return {node.queue.id: node.queue.parent_id for node in tx.quotas.nodes()}


def _views(tx: Tx) -> list[BudgetView]:
    names = {**queue_names(tx, None), **{node.queue.id: node.queue.name for node in tx.quotas.nodes()}}
    return [
        BudgetView(standing=each, name=names.get(each.budget.queue_id, each.budget.queue_id))
        for each in standings(tx)
    ]


def _key(budget: Budget) -> tuple[QueueId, str, Window]:
    return budget.queue_id, budget.currency, budget.window


def _node(tx: Tx, principal: Principal, name: NodeName) -> QueueId:
    if name.cohort is not None:
        found = tx.quotas.cohort(name.cohort)
        if found is None:
            raise NotFound(f"there is no cohort {name.cohort!r}", field="cohort", value=name.cohort)
        return found.queue.id
    if name.queue is None:
        raise Invalid("name a queue, or a cohort", field="queue")
    return queue_for(tx, project_for(tx, principal, name.project), name.queue).id
