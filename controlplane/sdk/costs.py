"""Costs: what was spent on what, what owned capacity costs, and what may be spent. Changes need an admin token."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Literal

from controlplane.sdk.bodies import body
from controlplane.sdk.transport import Transport, parse
from controlplane.wire.base import Page
from controlplane.wire.costs import (
    BudgetDocument,
    BudgetRemove,
    BudgetSet,
    BudgetWindow,
    CostDocument,
    CostGroup,
    RateDocument,
    RateSet,
)


class Rates:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(
        self,
        per: Literal["gpu", "cpu"],
        price_per_hour: Decimal,
        currency: str,
        *,
        cluster: str | None = None,
        flavor: str | None = None,
        valid_from: datetime | None = None,
    ) -> RateDocument:
        """What one GPU or CPU of owned capacity costs from a moment on, by default from now on."""
        wanted = body(
            RateSet,
            per=per,
            price_per_hour=price_per_hour,
            currency=currency,
            cluster=cluster,
            flavor=flavor,
            valid_from=valid_from,
        )
        return parse(RateDocument, self._transport.post("/v1/rates", wanted))

    def list(self) -> Iterator[RateDocument]:
        return self._transport.items("/v1/rates", Page[RateDocument])


class Budgets:
    """Of a queue, named with its project, or of a cohort of queues."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def set(
        self,
        limit: Decimal,
        currency: str,
        *,
        cohort: str | None = None,
        project: str = "default",
        queue: str | None = None,
        window: BudgetWindow = "month",
    ) -> BudgetDocument:
        """Machines for its work are bought as long as they are expected to cost no more than is left."""
        wanted = body(
            BudgetSet,
            limit=limit,
            currency=currency,
            cohort=cohort,
            project=project,
            queue=queue,
            window=window,
        )
        return parse(BudgetDocument, self._transport.post("/v1/budgets", wanted))

    def remove(
        self,
        currency: str,
        *,
        cohort: str | None = None,
        project: str = "default",
        queue: str | None = None,
        window: BudgetWindow = "month",
    ) -> BudgetDocument:
        wanted = body(
            BudgetRemove, currency=currency, cohort=cohort, project=project, queue=queue, window=window
        )
        return parse(BudgetDocument, self._transport.post("/v1/budgets/remove", wanted))

    def list(self) -> Iterator[BudgetDocument]:
        return self._transport.items("/v1/budgets", Page[BudgetDocument])


def costs(
    transport: Transport,
    *,
    by: CostGroup,
    since: datetime | None,
    until: datetime | None,
    project: str | None,
) -> Iterator[CostDocument]:
    params = {
        "by": by,
        "from": None if since is None else since.isoformat(),
        "to": None if until is None else until.isoformat(),
        "project": project,
    }
    return transport.items("/v1/costs", Page[CostDocument], params=params)
