"""Documents of costs, rates and budgets: decimals of a currency, where the domain counts millionths."""

from datetime import datetime
from decimal import Decimal

from controlplane.domain.budgets import Budget, Window
from controlplane.domain.costs import UNITS, Per, Rate
from controlplane.domain.ids import QueueId
from controlplane.operations.budgets import BudgetView
from controlplane.operations.costs import CostView, RateView
from controlplane.operations.quotas import NodeName
from controlplane.wire.costs import (
    MILLIONTHS,
    BudgetDocument,
    BudgetRemove,
    BudgetSet,
    CostDocument,
    RateDocument,
    RateSet,
)


def cost(view: CostView) -> CostDocument:
    entry = view.entry
    return CostDocument(
        id=entry.key,
        name=view.name,
        currency=entry.currency,
        used=_money(entry.used_millionths),
        idle=_money(entry.idle_millionths),
        total=_money(entry.total_millionths),
        task_seconds=entry.task_seconds,
        machine_seconds=entry.machine_seconds,
    )


def rate_of(wanted: RateSet, now: datetime) -> Rate:
    """Without its cluster."""
    return Rate(
        flavor=wanted.flavor,
        per=Per(wanted.per),
        currency=wanted.currency,
        price_millionths=int(wanted.price_per_hour * MILLIONTHS),
        valid_from=wanted.valid_from or now,
    )


def rate(view: RateView) -> RateDocument:
    found = view.rate
    return RateDocument(
        cluster_id=found.cluster_id,
        cluster=view.cluster_name,
        flavor=found.flavor,
        per=found.per.value,
        price_per_hour=_money(found.price_millionths),
        currency=found.currency,
        valid_from=found.valid_from,
    )


def node_of(wanted: BudgetSet | BudgetRemove) -> NodeName:
    return NodeName(cohort=wanted.cohort, project=wanted.project, queue=wanted.queue)


def budget_of(wanted: BudgetSet) -> Budget:
    """Without its queue."""
    return Budget(
        queue_id=QueueId(""),
        currency=wanted.currency,
        window=Window(wanted.window),
        limit_millionths=int(wanted.limit * MILLIONTHS),
    )


def budget(view: BudgetView) -> BudgetDocument:
    standing = view.standing
    found = standing.budget
    return BudgetDocument(
        id=found.queue_id,
        name=view.name,
        window=found.window.value,
        currency=found.currency,
        limit=_money(found.limit_millionths),
        spent=_money(standing.spent_units // UNITS),
        promised=_money(standing.promised_units // UNITS),
        left=_money(standing.left_millionths),
        begins_at=standing.span.start,
        ends_at=None if found.window is Window.TOTAL else standing.span.end,
    )


def _money(millionths: int) -> Decimal:
    return Decimal(millionths).scaleb(-6)
