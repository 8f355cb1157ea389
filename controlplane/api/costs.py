"""Routes of costs, rates and budgets."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from controlplane.api import cost_documents as documents
from controlplane.api.calls import DeedRoute, Read, Whole, respond
from controlplane.api.openapi import PROBLEMS, takes
from controlplane.api.pages import DEFAULT_PAGE, After, Limit, page, text_of
from controlplane.domain.budgets import Window, first_of_month
from controlplane.domain.cost_reports import GroupBy
from controlplane.domain.costs import Span
from controlplane.operations import budgets, costs
from controlplane.operations.budgets import BudgetView
from controlplane.operations.costs import CostView, RateView
from controlplane.wire.base import Moment, Page
from controlplane.wire.costs import (
    BudgetDocument,
    BudgetRemove,
    BudgetSet,
    CostDocument,
    CostGroup,
    RateDocument,
    RateSet,
)

router = APIRouter(prefix="/v1", tags=["costs"], responses=dict(PROBLEMS))
deeds = APIRouter(prefix="/v1", tags=["costs"], responses=dict(PROBLEMS), route_class=DeedRoute)

SEPARATOR: Final = "\n"
Since = Annotated[Moment | None, Query(alias="from", description="Default: the first of this month, UTC.")]
Until = Annotated[Moment | None, Query(alias="to", description="Default: now.")]
OfProject = Annotated[str | None, Query(max_length=63, description="What this one bears; default: all.")]


@router.get("/costs", response_model=Page[CostDocument])
def list_costs(
    call: Read,
    *,
    by: CostGroup = "queue",
    since: Since = None,
    until: Until = None,
    project: OfProject = None,
    after: After = None,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """By currency and id. The groups of any `by` add up to the same total, to the millionth."""
    who, cursors = call.principal(), call.site.cursors
    place = cursors.read("costs", after)
    # The pages of one report are of one window, also where that ends now.
    end = datetime.fromisoformat(str(place[1])) if place else until or call.now
    window = Span(since or first_of_month(end), end)
    views = costs.costs(call.context, who, by=GroupBy(by), window=window, project=project)
    last = str(place[0]) if place else ""
    found = [view for view in views if _cost_key(view) > last]

    def cursor(view: CostView) -> str:
        return cursors.write("costs", (_cost_key(view), end.isoformat()))

    return respond(page(found[: limit + 1], limit, documents.cost, cursor))


@deeds.post("/rates", response_model=RateDocument, openapi_extra=takes(RateSet))
def set_rate(call: Whole) -> Response:
    """One for the same from the same moment on is replaced. What is not archived yet is priced anew."""
    who, wanted = call.principal(), call.parse(RateSet)
    deed = call.deed(who, 200, documents.rate)
    rate = documents.rate_of(wanted, call.now)
    return deed.answer(costs.put_rate(call.context, who, rate, cluster=wanted.cluster, once=deed.once))


@router.get("/rates", response_model=Page[RateDocument])
def list_rates(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """By cluster, flavor, what they are for, and when they begin."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("rates", after)) or ""
    views = sorted(costs.rates(call.context, who), key=_rate_key)
    found = [view for view in views if _rate_key(view) > last]
    return respond(
        page(
            found[: limit + 1],
            limit,
            documents.rate,
            lambda view: cursors.write("rates", (_rate_key(view),)),
        )
    )


@deeds.post("/budgets", response_model=BudgetDocument, openapi_extra=takes(BudgetSet))
def set_budget(call: Whole) -> Response:
    """One for the same queue, currency and window is replaced. What is spent already counts."""
    who, wanted = call.principal(), call.parse(BudgetSet)
    deed = call.deed(who, 200, documents.budget)
    name, budget = documents.node_of(wanted), documents.budget_of(wanted)
    return deed.answer(budgets.put(call.context, who, name, budget, once=deed.once))


@deeds.post("/budgets/remove", response_model=BudgetDocument, openapi_extra=takes(BudgetRemove))
def remove_budget(call: Whole) -> Response:
    who, wanted = call.principal(), call.parse(BudgetRemove)
    deed = call.deed(who, 200, documents.budget)
    return deed.answer(
        budgets.remove(
            call.context,
            who,
            documents.node_of(wanted),
            currency=wanted.currency,
            window=Window(wanted.window),
            once=deed.once,
        )
    )


@router.get("/budgets", response_model=Page[BudgetDocument])
def list_budgets(call: Read, after: After = None, limit: Limit = DEFAULT_PAGE) -> Response:
    """By queue, currency and window, with what is left."""
    who, cursors = call.principal(), call.site.cursors
    last = text_of(cursors.read("budgets", after)) or ""
    found = [view for view in budgets.listed(call.context, who) if _budget_key(view) > last]
    return respond(
        page(
            found[: limit + 1],
            limit,
            documents.budget,
            lambda view: cursors.write("budgets", (_budget_key(view),)),
        )
    )


def _cost_key(view: CostView) -> str:
    return SEPARATOR.join((view.entry.currency or "", view.entry.key, "x"))


def _rate_key(view: RateView) -> str:
    *names, valid_from = view.rate.key
    return SEPARATOR.join((*names, valid_from.isoformat()))


def _budget_key(view: BudgetView) -> str:
    budget = view.standing.budget
    return SEPARATOR.join((budget.queue_id, budget.currency, budget.window))
