"""`crossdock quota` and `crossdock flavors`: how much of which capacity a queue may use."""

from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import session
from controlplane.cli.text import amount
from controlplane.wire.quotas import (
    DEFAULT_FLAVOR,
    FlavorDocument,
    LimitDocument,
    QuotaDocument,
    SurpriseDocument,
)

quota = typer.Typer(
    name="quota",
    help="How much capacity queues own, borrow and lend. Changes need an admin token of all projects.",
    no_args_is_help=True,
)
flavors = typer.Typer(
    name="flavors", help="Named kinds of capacity, which quotas count apart.", no_args_is_help=True
)

Project = Annotated[str, typer.Option("--project", "-p", metavar="NAME", help="Project of the queue.")]
Queue = Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help="The queue that it is for.")]
Cohort = Annotated[str | None, typer.Option("--cohort", metavar="NAME", help="The cohort that it is for.")]

LIMIT_KEYS: Final = {"own": "nominal", "borrow": "borrowing", "lend": "lending"}
COLUMNS: Final[Columns[QuotaDocument]] = (
    ("NAME", lambda each: each.name),
    ("KIND", lambda each: "cohort" if each.is_cohort else "queue"),
    ("COHORT", lambda each: each.parent or "-"),
    ("WEIGHT", lambda each: f"{each.weight:g}"),
    ("SHARE", lambda each: f"{each.share:.3g}"),
    ("LIMITS", lambda each: "; ".join(map(_limit, each.limits)) or "-"),
    ("STATE", lambda each: "stopped" if each.stopped else "open"),
)
SURPRISE_COLUMNS: Final[Columns[SurpriseDocument]] = (
    ("NODE", lambda each: each.name),
    ("CODE", lambda each: each.code),
    ("WHAT", lambda each: each.sentence),
)
FLAVOR_COLUMNS: Final[Columns[FlavorDocument]] = (
    ("NAME", lambda each: each.name),
    ("RANK", lambda each: str(each.rank)),
    ("CLUSTERS", lambda each: ", ".join(each.clusters) or "any"),
    ("ACCELERATORS", lambda each: ", ".join(each.accelerators) or "any"),
    ("CAPACITY", lambda each: ", ".join(each.capacity_types) or "any"),
    ("NODES", lambda each: str(each.nodes)),
)


@quota.command("set")
def set_quota(
    *,
    queue: Queue = None,
    cohort: Cohort = None,
    project: Project = "default",
    parent: Annotated[
        str | None, typer.Option("--in", metavar="COHORT", help="The cohort that it belongs to.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="RESOURCE=N",
            help="`gpus=8`, with `,borrow=4`, `,lend=2`, `,flavor=NAME` behind it if wanted; repeat for others.",
        ),
    ] = None,
    weight: Annotated[float, typer.Option(min=0, help="Of its claim to what nobody owns.")] = 1.0,
    tried: Annotated[
        list[str] | None,
        typer.Option("--flavor", metavar="NAME", help="Flavors in the order they are tried."),
    ] = None,
    burst_after: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Buy machines for work that waits longer.")
    ] = None,
    aging: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="Raise a job's priority after waiting so long."),
    ] = None,
    band: Annotated[
        int, typer.Option(min=-100, max=100, help="Before the work of all lower bands, whatever the shares.")
    ] = 0,
    stopped: Annotated[bool, typer.Option("--stopped", help="Start nothing more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set all of a queue's or a cohort's quota; what is left out gets its default."""
    with session(as_json=as_json) as opened:
        document = opened.client.quotas.set(
            cohort=cohort,
            project=project,
            queue=queue,
            parent=parent,
            weight=weight,
            limits=[_parsed(each) for each in limits or []],
            flavors=list(tried or []),
            burst_after_seconds=burst_after,
            aging_seconds=aging,
            band=band,
            stopped=stopped,
        )
        opened.output.document(document, _facts(document))


@quota.command("remove")
def remove_quota(
    *, queue: Queue = None, cohort: Cohort = None, project: Project = "default", as_json: AsJson = False
) -> None:
    """Take a queue's limits away, or end a cohort that has no members."""
    with session(as_json=as_json) as opened:
        document = opened.client.quotas.remove(cohort=cohort, project=project, queue=queue)
        opened.output.document(document, _facts(document))


@quota.command("list")
def list_quotas(*, as_json: AsJson = False) -> None:
    """List queues and cohorts with quotas: what they own, use and could take now."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.quotas.list(), COLUMNS)


@quota.command("lint")
def lint(*, as_json: AsJson = False) -> None:
    """Find what is allowed in the tree of quotas, and yet is hardly meant."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.quotas.lint(), SURPRISE_COLUMNS)


@quota.command("explain")
def explain(
    *,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")],
    project: Project = "default",
    as_json: AsJson = False,
) -> None:
    """Say what a queue may use, and which limit it meets next."""
    with session(as_json=as_json) as opened:
        told = opened.client.quotas.explain(queue, project=project)
        if as_json:
            opened.output.json(told)
            return
        opened.output.line(" in ".join(told.path))
        for line in told.lines:
            opened.output.line(f"- {line}")


@flavors.command("set")
def set_flavor(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the flavor.")],
    clusters: Annotated[list[str] | None, typer.Option("--cluster", help="On these clusters only.")] = None,
    accelerators: Annotated[
        list[str] | None, typer.Option("--accelerator", help="With these models only.")
    ] = None,
    capacity_types: Annotated[
        list[str] | None, typer.Option("--capacity", help="owned, reserved, on_demand or spot.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="On nodes with this label only.")
    ] = None,
    rank: Annotated[int, typer.Option(help="Of all flavors that fit a node, the lowest is its own.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Name a kind of capacity; what is left out may be anything."""
    with session(as_json=as_json) as opened:
        document = opened.client.flavors.set(
            name,
            rank=rank,
            clusters=list(clusters or []),
            accelerators=list(accelerators or []),
            capacity_types=list(capacity_types or []),
            labels=dict(_pair(each, "--label") for each in labels or []),
        )
        opened.output.document(document, [("name", document.name), ("nodes", str(document.nodes))])


@flavors.command("remove")
def remove_flavor(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the flavor.")],
    as_json: AsJson = False,
) -> None:
    """Forget a flavor that no quota names."""
    with session(as_json=as_json) as opened:
        document = opened.client.flavors.remove(name)
        opened.output.document(document, [("name", document.name)])


@flavors.command("list")
def list_flavors(*, as_json: AsJson = False) -> None:
    """List flavors, and how many nodes are of each."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.flavors.list(), FLAVOR_COLUMNS)


def _parsed(text: str) -> dict[str, object]:
    first, *others = text.split(",")
    resource, value = _pair(first, "--limit")
    limit: dict[str, object] = {"flavor": DEFAULT_FLAVOR, "resource": resource, "nominal": _number(value)}
    for other in others:
        key, value = _pair(other, "--limit")
        if key == "flavor":
            limit["flavor"] = value
        elif key in LIMIT_KEYS:
            limit[LIMIT_KEYS[key]] = _number(value)
        else:
            raise typer.BadParameter(f"{key!r}: write borrow, lend or flavor", param_hint="--limit")
    return limit


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{text!r}: write KEY=VALUE", param_hint=option)
    return key, value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number", param_hint="--limit") from error


def _limit(each: LimitDocument) -> str:
    of = "" if each.flavor == DEFAULT_FLAVOR else f" of {each.flavor}"
    used, own = amount(each.resource, each.used), amount(each.resource, each.nominal)
    return f"{each.resource}{of} {used}/{own}, could take {amount(each.resource, each.available)}"


def _facts(document: QuotaDocument) -> list[Fact]:
    return [
        ("id", document.id),
        ("name", document.name),
        ("kind", "cohort" if document.is_cohort else "queue"),
        ("cohort", document.parent or ""),
        ("weight", f"{document.weight:g}"),
        ("band", str(document.band)),
        *(("limit", _limit(each)) for each in document.limits),
        ("state", "stopped" if document.stopped else "open"),
    ]
