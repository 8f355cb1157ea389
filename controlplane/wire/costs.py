"""Costs, rates and budgets, as the API takes and shows them. Money is exact to the millionth, and has a currency."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from controlplane.wire.base import Answer, Moment, Name, Request

MILLIONTHS: Final = 1_000_000

CostGroup = Literal["total", "project", "queue", "job", "cluster", "claim"]
BudgetWindow = Literal["day", "month", "total"]

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.", max_length=3)]
Money = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]
Limit = Annotated[Decimal, Field(ge=0, le=1_000_000_000, decimal_places=6)]


class CostDocument(Answer):
    """What one group cost in a window, in one currency. Currencies are never added up."""

    id: str = Field(description="Of the group; empty: what belongs to none.")
    name: str
    currency: str | None = Field(default=None, description="None: time that nobody has put a price on.")
    used: Decimal = Field(description="By attempts: their parts of the machines that they sat on.")
    idle: Decimal = Field(description="By bought machines, beyond what attempts used of them.")
    total: Decimal = Field(description="Both together.")
    task_seconds: int
    machine_seconds: int = Field(description="Of bought machines, used or not.")


class RateSet(Request):
    """What owned capacity costs from a moment on; the closest rate counts, then the latest."""

    cluster: Name | None = Field(default=None, description="Name or id; none = on any.")
    flavor: Name | None = Field(default=None, description="None = of any.")
    per: Literal["gpu", "cpu"]
    price_per_hour: Money = Field(description="Of one GPU, or of one CPU.")
    currency: Currency
    valid_from: Moment | None = Field(default=None, strict=False, description="Default: now.")


class RateDocument(Answer):
    cluster_id: str | None = None
    cluster: str | None = Field(default=None, description="None: on any.")
    flavor: str | None = Field(default=None, description="None: of any.")
    per: Literal["gpu", "cpu"]
    price_per_hour: Decimal
    currency: str
    valid_from: datetime


class BudgetSet(Request):
    """What a queue, or all queues below a cohort, may spend on bought machines."""

    cohort: Name | None = Field(default=None, description="A cohort; else name project and queue.")
    project: Name = "default"
    queue: Name | None = None
    window: BudgetWindow = Field(default="month", description="Days and months are those of UTC.")
    limit: Limit
    currency: Currency


class BudgetRemove(Request):
    cohort: Name | None = None
    project: Name = "default"
    queue: Name | None = None
    window: BudgetWindow = "month"
    currency: Currency


class BudgetDocument(Answer):
    """A budget, and what became of it in the present window."""

    id: str = Field(description="Of the queue or the cohort.")
    name: str
    window: BudgetWindow
    currency: str
    limit: Decimal
    spent: Decimal = Field(description="By claims that were bought for it, so far.")
    promised: Decimal = Field(description="What live claims were expected to cost, and have not yet.")
    left: Decimal = Field(description="Below zero when work took longer than was expected.")
    begins_at: datetime
    ends_at: datetime | None = Field(default=None, description="None: never.")
