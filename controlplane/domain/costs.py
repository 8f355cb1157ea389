"""Costs: what attempts used and what claims held, by the second, in whole units that add up exactly.

A unit is what a price of one millionth an hour comes to in one second: 3,600 units are one millionth of a currency.
Moments count as the second that they lie in, and every rate is a whole number of millionths an hour. So a cost is a
product of whole numbers; however an interval is cut, and however it is grouped, the parts add up to the whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, Self

from controlplane.domain.amounts import MILLI, Amounts
from controlplane.domain.claims import Claim, ClaimState, Launch, LaunchOutcome
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId, ProjectId, QueueId

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS: Final = 3600
"""In one millionth of a currency."""

WHOLE_PPM: Final = 1_000_000
GPU_PPM: Final = 950_000
"""Of the price of a machine with GPUs, what they make up; the rest is its CPUs'."""

HIGHEST_PRICE: Final = 10**12
"""Millionths of an hour: a million of any currency. With it, a year of ten thousand machines stays below 2^63."""


class Per(StrEnum):
    """What an administrator's rate is for an hour of."""

    GPU = "gpu"
    CPU = "cpu"


class Price(NamedTuple):
    """Of one hour."""

    currency: str
    millionths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What owned capacity costs from a moment on, until a later rate for the same takes its place."""

    cluster_id: ClusterId | None = None
    """None: on any cluster."""

    flavor: str | None = None
    """None: of any flavor."""

    per: Per
    currency: str
    price_millionths: int
    """Of one GPU, or of one CPU, for one hour."""

    valid_from: datetime

    def fits(self, cluster_id: ClusterId, flavor: str) -> bool:
        return self.cluster_id in (None, cluster_id) and self.flavor in (None, flavor)

    @property
    def key(self) -> tuple[str, str, str, datetime]:
        return self.cluster_id or "", self.flavor or "", self.per, self.valid_from


class Span(NamedTuple):
    """From one moment to another."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        return max(0, second(self.end) - second(self.start))

    def within(self, other: Self) -> Self:
        """What they have in common; it may be nothing, and then it has no seconds."""
        start = max(self.start, other.start)
        return type(self)(start, max(start, min(self.end, other.end)))


class Holding(NamedTuple):
    """So many machines of a claim over one span."""

    span: Span
    machines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose cost it is. None: nobody's in particular, or nobody knows any more."""

    project_id: ProjectId | None = None
    queue_id: QueueId | None = None
    job_id: JobId | None = None
    cluster_id: ClusterId
    claim_id: ClaimId | None = None
    """The bought machines that it is a part of; None: on owned capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A part of the costs of some window."""

    owner: Owner
    currency: str | None
    """None: nobody has said what it costs, and it counts as nothing."""

    used_units: int = 0
    """By attempts."""

    idle_units: int = 0
    """What claims cost beyond what attempts used of them."""

    task_seconds: int = 0
    machine_seconds: int = 0
    """Of claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one attempt used over one span at one rate, written down for good."""

    attempt_id: AttemptId
    owner: Owner
    span: Span
    currency: str | None
    rate_millionths: int
    """Of all its tasks there together, for an hour."""

    tasks: int


def second(at: datetime) -> int:
    """Since the epoch; the one that the moment lies in."""
    return (at - EPOCH) // timedelta(seconds=1)


def prices_at(
    rates: Sequence[Rate], cluster_id: ClusterId, flavor: str, at: datetime
) -> tuple[tuple[Per, Price], ...]:
    """What a GPU and a CPU of that kind cost then: of the rates that are about it most closely, the latest.

    A rate for a cluster is closer than one for a flavor, and one for both is closest.
    """
    found = []
    for per in Per:
        valid = [
            rate
            for rate in rates
            if rate.per is per and rate.valid_from <= at and rate.fits(cluster_id, flavor)
        ]
        if valid:
            best = max(valid, key=lambda r: (r.cluster_id is not None, r.flavor is not None, r.valid_from))
            found.append((per, Price(best.currency, best.price_millionths)))
    return tuple(found)


def owned(prices: Sequence[tuple[Per, Price]], amounts: Amounts) -> tuple[Price, ...]:
    """What a task of those amounts costs an hour, by currency; none: nobody has said."""
    by_currency: dict[str, int] = {}
    for per, price in prices:
        milli = amounts.gpu_milli if per is Per.GPU else amounts.cpu_milli
        by_currency[price.currency] = by_currency.get(price.currency, 0) + price.millionths * milli // MILLI
    return tuple(Price(currency, millionths) for currency, millionths in sorted(by_currency.items()))


def part_ppm(amounts: Amounts, machine: Amounts) -> int:
    """How much of a machine's price a task bears; all that fit side by side bear the whole at most.

    Independent of what else runs there: 95 % of the price of a machine with GPUs is shared by GPUs, the rest by CPUs.
    """
    gpu_ppm = GPU_PPM if machine.gpu_milli else 0
    part = 0
    for ppm, needs, has in (
        (gpu_ppm, amounts.gpu_milli, machine.gpu_milli),
        (WHOLE_PPM - gpu_ppm, amounts.cpu_milli, machine.cpu_milli),
    ):
        if has:
            part += ppm * min(needs, has) // has
    return part


def periods(rates: Iterable[Rate], window: Span) -> Iterator[Span]:
    """The window, cut wherever a rate begins."""
    cuts = sorted({rate.valid_from for rate in rates if window.start < rate.valid_from < window.end})
    for start, end in zip((window.start, *cuts), (*cuts, window.end), strict=True):
        yield Span(start, end)


def holdings(claim: Claim, launches: Iterable[Launch], now: datetime) -> tuple[Holding, ...]:
    """How many machines it has had and when, from the order of each until the claim was gone.

    A machine that was lost counts until the one that takes its place is ordered. Lent nodes are not held by claims.
    """
    end = claim.since if claim.state is ClaimState.GONE else now
    granted = sorted(
        (each for each in launches if each.outcome is LaunchOutcome.GRANTED), key=lambda each: each.created_at
    )
    found, machines = [], 0
    for place, launch in enumerate(granted):
        machines = min(claim.machines_want, machines + launch.machines)
        until = granted[place + 1].created_at if place + 1 < len(granted) else end
        span = Span(launch.created_at, min(until, end))
        if machines and span.seconds:
            found.append(Holding(span, machines))
    return tuple(found)


def held_seconds(held: Iterable[Holding], window: Span) -> int:
    """Machine-seconds."""
    return sum(each.machines * each.span.within(window).seconds for each in held)


def life(held: Sequence[Holding]) -> Span | None:
    return Span(held[0].span.start, held[-1].span.end) if held else None


def in_millionths(units: Iterable[int]) -> list[int]:
    """Rounds so that what is shown adds up to the rounded sum; each is less than one off."""
    shown, before, total = [], 0, 0
    for each in units:
        total += each
        shown.append(total // UNITS - before)
        before = total // UNITS
    return shown
