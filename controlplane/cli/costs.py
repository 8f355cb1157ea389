"""`crossdock costs` and `crossdock budgets`: what was spent, what owned capacity costs, and what may be spent."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, Literal

import typer

from controlplane.cli.flags import AsJson, InProject
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import session
from controlplane.cli.text import duration, moment
from controlplane.wire.costs import BudgetDocument, BudgetWindow, CostDocument, CostGroup, RateDocument

costs = typer.Typer(name="costs", help="What was spent on what, and what owned capacity costs.")
rates = typer.Typer(name="rates", help="What owned capacity costs.", no_args_is_help=True)
budgets = typer.Typer(
    name="budgets", help="What a queue or a cohort may spend on bought machines.", no_args_is_help=True
)
costs.add_typer(rates)

Since = Annotated[
    datetime | None,
    typer.Option(
        "--from", metavar="MOMENT", help="In UTC, 2026-11-01 for instance; default: this month's first."
    ),
]
Until = Annotated[datetime | None, typer.Option("--to", metavar="MOMENT", help="In UTC; default: now.")]
ValidFrom = Annotated[datetime | None, typer.Option("--from", metavar="MOMENT", help="In UTC; default: now.")]
Currency = Annotated[str, typer.Option("--currency", metavar="CODE", help="Such as USD, EUR or CNY.")]
Cohort = Annotated[
    str | None, typer.Option("--cohort", metavar="NAME", help="Of all queues below this cohort.")
]
Queue = Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help="Of this queue.")]
OfProject = Annotated[str, typer.Option("--project", "-p", metavar="NAME", help="Whose queue it is.")]
Per = Annotated[BudgetWindow, typer.Option("--per", help="Days and months are those of UTC.")]

COST_COLUMNS: Final[Columns[CostDocument]] = (
    ("NAME", lambda each: each.name or "-"),
    ("CURRENCY", lambda each: each.currency or "unpriced"),
    ("USED", lambda each: money(each.used)),
    ("IDLE", lambda each: money(each.idle)),
    ("TOTAL", lambda each: money(each.total)),
    ("TASK TIME", lambda each: duration(each.task_seconds)),
    ("MACHINE TIME", lambda each: duration(each.machine_seconds)),
)
RATE_COLUMNS: Final[Columns[RateDocument]] = (
    ("CLUSTER", lambda each: each.cluster or "any"),
    ("FLAVOR", lambda each: each.flavor or "any"),
    ("PER", lambda each: each.per),
    ("PER HOUR", lambda each: f"{money(each.price_per_hour)} {each.currency}"),
    ("VALID FROM", lambda each: moment(each.valid_from)),
)
BUDGET_COLUMNS: Final[Columns[BudgetDocument]] = (
    ("NAME", lambda each: each.name),
    ("PER", lambda each: each.window),
    ("LIMIT", lambda each: f"{money(each.limit)} {each.currency}"),
    ("SPENT", lambda each: money(each.spent)),
    ("PROMISED", lambda each: money(each.promised)),
    ("LEFT", lambda each: money(each.left)),
    ("ENDS", lambda each: moment(each.ends_at)),
)


@costs.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    *,
    by: Annotated[CostGroup, typer.Option("--by", help="What is added up.")] = "queue",
    since: Since = None,
    until: Until = None,
    project: InProject = None,
    as_json: AsJson = False,
) -> None:
    """Show what was spent. Time on bought machines that no attempt used stands apart, as idle."""
    if context.invoked_subcommand is not None:
        return
    with session(as_json=as_json) as opened:
        found = opened.client.costs(by=by, since=_utc(since), until=_utc(until), project=project)
        opened.output.rows(found, COST_COLUMNS)


@rates.command("set")
def set_rate(
    *,
    price: Annotated[str, typer.Argument(metavar="PRICE", help="Of one for one hour, such as 1.25.")],
    per: Annotated[Literal["gpu", "cpu"], typer.Option("--per", help="Of what.")],
    currency: Currency = "USD",
    cluster: Annotated[
        str | None, typer.Option("--cluster", "-c", metavar="CLUSTER", help="Default: on any.")
    ] = None,
    flavor: Annotated[str | None, typer.Option("--flavor", metavar="NAME", help="Default: of any.")] = None,
    valid_from: ValidFrom = None,
    as_json: AsJson = False,
) -> None:
    """Say what a GPU or a CPU of owned capacity costs from a moment on."""
    with session(as_json=as_json) as opened:
        document = opened.client.rates.set(
            per, _decimal(price), currency, cluster=cluster, flavor=flavor, valid_from=_utc(valid_from)
        )
        opened.output.document(document, [(title.lower(), cell(document)) for title, cell in RATE_COLUMNS])


@rates.command("list")
def list_rates(*, as_json: AsJson = False) -> None:
    """List what owned capacity costs, and since when."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.rates.list(), RATE_COLUMNS)


@budgets.command("set")
def set_budget(
    *,
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="Such as 2500 or 99.50.")],
    currency: Currency = "USD",
    cohort: Cohort = None,
    queue: Queue = None,
    project: OfProject = "default",
    window: Per = "month",
    as_json: AsJson = False,
) -> None:
    """Set what may be spent on machines that are bought for waiting work."""
    with session(as_json=as_json) as opened:
        document = opened.client.budgets.set(
            _decimal(limit), currency, cohort=cohort, project=project, queue=queue, window=window
        )
        opened.output.document(document, _facts(document))


@budgets.command("list")
def list_budgets(*, as_json: AsJson = False) -> None:
    """List budgets, with what is left of each."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.budgets.list(), BUDGET_COLUMNS)


@budgets.command("remove")
def remove_budget(
    *,
    currency: Currency = "USD",
    cohort: Cohort = None,
    queue: Queue = None,
    project: OfProject = "default",
    window: Per = "month",
    as_json: AsJson = False,
) -> None:
    """Remove a budget: its other budgets still hold."""
    with session(as_json=as_json) as opened:
        document = opened.client.budgets.remove(
            currency, cohort=cohort, project=project, queue=queue, window=window
        )
        opened.output.document(document, _facts(document))


def money(amount: Decimal) -> str:
    """At least two decimals, and no more than say something."""
    exact = f"{amount:f}".rstrip("0") if "." in f"{amount:f}" else f"{amount:f}."
    whole, _, rest = exact.partition(".")
    return f"{whole}.{rest:0<2}"


def _facts(budget: BudgetDocument) -> list[Fact]:
    return [(title.lower(), cell(budget)) for title, cell in BUDGET_COLUMNS]


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"{text!r} is no number") from error


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=at.tzinfo or UTC)
