"""`crossdock claims`: machines that are bought, and given back."""

from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson, InCluster
from controlplane.cli.output import Columns, Fact
from controlplane.cli.session import session
from controlplane.cli.text import amounts, moment, number, span
from controlplane.wire.capacity import (
    BoughtMachineDocument,
    CapacityType,
    ClaimDetails,
    ClaimDocument,
    LaunchDocument,
    LeftoverDocument,
    OrphanDocument,
)

app = typer.Typer(
    name="claims",
    help="Buy machines and give them back. Changes need an admin token of all projects.",
    no_args_is_help=True,
)

ClaimId = Annotated[
    str, typer.Argument(metavar="CLAIM", help="Id of the claim, as `crossdock claims list` shows it.")
]
OnlyProject = Annotated[
    str | None,
    typer.Option("--project", "-p", metavar="NAME", help="Only its jobs may run there; default: all may."),
]
Reservation = Annotated[
    str | None,
    typer.Option("--reservation", metavar="ID", help="The provider's reservation, with --capacity reserved."),
]
IdleSeconds = Annotated[
    float | None,
    typer.Option("--idle-seconds", min=0, metavar="SECONDS", help="Give them back when idle for so long."),
]

COLUMNS: Final[Columns[ClaimDocument]] = (
    ("ID", lambda each: each.id),
    ("CLUSTER", lambda each: each.cluster),
    ("TYPE", lambda each: each.machine_type),
    ("CAPACITY", lambda each: each.capacity_type),
    ("MACHINES", lambda each: span(each.machines_min, each.machines_want)),
    ("PROJECT", lambda each: each.project or "all"),
    ("STATE", lambda each: each.state),
    ("SINCE", lambda each: moment(each.since)),
    ("PROBLEM", lambda each: each.problem or "-"),
)
ORPHAN_COLUMNS: Final[Columns[OrphanDocument]] = (
    ("CLUSTER", lambda each: each.cluster),
    ("MACHINE", lambda each: each.name),
    ("ZONE", lambda each: each.zone),
    ("CLAIM", lambda each: each.claim_id),
    ("SEEN", lambda each: moment(each.seen_at)),
)

LEFTOVER_COLUMNS: Final[Columns[LeftoverDocument]] = (
    ("CLUSTER", lambda each: each.cluster),
    ("KIND", lambda each: each.kind),
    ("NAME", lambda each: each.name),
    ("ZONE", lambda each: each.zone),
    ("CLAIM", lambda each: each.claim_id or "-"),
    ("PROJECT", lambda each: each.project or "all"),
    ("SEEN", lambda each: moment(each.seen_at)),
    ("COST", lambda each: "-" if each.cost is None else f"{each.cost:.2f} {each.currency}"),
    ("PROBLEM", lambda each: each.problem or "-"),
)


@app.command("request")
def request(
    *,
    cluster: Annotated[
        str, typer.Argument(metavar="CLUSTER", help="Name or id of the cluster that the machines join.")
    ],
    machine_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Machine type, as the provider calls it.")
    ],
    zones: Annotated[
        list[str],
        typer.Option(
            "--zone", metavar="ZONE", help="Where to buy, the preferred one first; repeat for others."
        ),
    ],
    machines: Annotated[
        int, typer.Option("--machines", "-n", min=1, metavar="N", help="So many, all or none.")
    ] = 1,
    machines_want: Annotated[
        int | None,
        typer.Option("--want", min=1, metavar="N", help="Grow to so many later; default: as --machines."),
    ] = None,
    capacity_type: Annotated[
        CapacityType, typer.Option("--capacity", help="How they are paid for.")
    ] = "on_demand",
    project: OnlyProject = None,
    reservation: Reservation = None,
    idle_seconds: IdleSeconds = None,
    once: Annotated[
        bool, typer.Option("--once", help="End the claim when every zone has refused, instead of trying on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask for machines. They are bought by and by; `crossdock claims get` tells how far it is."""
    with session(as_json=as_json) as opened:
        document = opened.client.claims.request(
            cluster,
            machine_type=machine_type,
            capacity_type=capacity_type,
            zones=zones,
            machines=machines,
            machines_want=machines_want,
            project=project,
            reservation=reservation,
            idle_seconds=idle_seconds,
            tries_again=not once,
        )
        opened.output.document(document, _facts(document))


@app.command("list")
def list_claims(
    *,
    cluster: InCluster = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are gone.")] = False,
    as_json: AsJson = False,
) -> None:
    """List claims that are not gone, the oldest first."""
    with session(as_json=as_json) as opened:
        found = opened.client.claims.list(cluster=cluster, live=None if everything else True)
        opened.output.rows(found, COLUMNS)


@app.command("get")
def get(*, claim: ClaimId, as_json: AsJson = False) -> None:
    """Show one claim: what was bought for it, and what its machines say."""
    with session(as_json=as_json) as opened:
        document = opened.client.claims.get(claim)
        opened.output.document(document, _facts(document))


@app.command("release")
def release(*, claim: ClaimId, as_json: AsJson = False) -> None:
    """Give the machines back as soon as nothing runs there any more."""
    with session(as_json=as_json) as opened:
        document = opened.client.claims.release(claim)
        opened.output.document(document, _facts(document))


@app.command("keep")
def keep(*, claim: ClaimId, as_json: AsJson = False) -> None:
    """Take a release back, while its machines are not being ended yet."""
    with session(as_json=as_json) as opened:
        document = opened.client.claims.keep(claim)
        opened.output.document(document, _facts(document))


@app.command("orphans")
def orphans(*, as_json: AsJson = False) -> None:
    """List machines with our tag that no live claim wants; they are ended after a grace."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.claims.orphans(), ORPHAN_COLUMNS)


@app.command("leftovers")
def leftovers(*, as_json: AsJson = False) -> None:
    """List disks, addresses and the like that purchases left behind; those with a problem need a person."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.claims.leftovers(), LEFTOVER_COLUMNS)


def _facts(claim: ClaimDetails) -> list[Fact]:
    how_many = span(claim.machines_min, claim.machines_want)
    idle = "" if claim.idle_seconds is None else f"given back after {number(claim.idle_seconds)} s"
    return [
        ("id", claim.id),
        ("cluster", claim.cluster),
        ("state", claim.state),
        ("since", moment(claim.since)),
        ("machines", f"{how_many} x {claim.machine_type} ({claim.capacity_type})"),
        ("zones", ", ".join(claim.zones)),
        ("project", claim.project or "all"),
        ("reservation", claim.reservation or ""),
        ("idle", idle),
        ("release", moment(claim.release_requested_at)),
        ("problem", claim.problem or ""),
        ("nodes", str(claim.nodes)),
        *((f"launch {each.generation}.{each.ordinal}", _launch(each)) for each in claim.launches),
        *_site(claim),
        *((f"machine {each.name}", _machine(each)) for each in claim.machines),
        *((f"share of {each.node}", amounts(each.resources)) for each in claim.shares),
    ]


def _launch(launch: LaunchDocument) -> str:
    outcome = launch.outcome or "open"
    return f"{launch.machines} in {launch.zone}: {outcome}{_because(launch.problem)}"


def _site(claim: ClaimDetails) -> list[Fact]:
    site = claim.site
    if site is None:
        return []
    state = "not up yet" if site.url is None else f"{site.url}, seen {moment(site.seen_at)}"
    return [
        ("ray", f"{state}{_because(site.problem)}"),
        *((f"member on {node}", ray_node) for node, ray_node in sorted(site.members.items())),
    ]


def _machine(machine: BoughtMachineDocument) -> str:
    why = _because(machine.notice or machine.problem)
    return f"{machine.host} {machine.phase}, {moment(machine.at)}{why}"


def _because(reason: str | None) -> str:
    return f" ({reason})" if reason else ""
