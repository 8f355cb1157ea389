"""Offers: what clouds sell, as they last said it, and how long one that was refused is not asked for again."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import CapacityType
from controlplane.domain.ids import ClusterId

FIRST_COOL: Final = timedelta(seconds=45)
LONGEST_COOL: Final = timedelta(minutes=30)
MOST_DOUBLINGS: Final = 10
"""More than it takes to get to the longest."""

OfferKey = tuple[str, str, CapacityType]
"""Machine type, zone, capacity type: stock is of the three together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOffer:
    """A kind of machine that a cluster's cloud sells in one zone under one capacity type."""

    cluster_id: ClusterId
    machine_type: str
    zone: str
    capacity_type: CapacityType
    amounts: Amounts
    """What tasks may use of one machine."""

    accelerator: str | None = None
    price_millionths: int | None = None
    """Of one machine for one hour, in millionths of `currency`. None: nobody knows."""

    currency: str | None = None
    price_as_of: datetime | None = None
    is_price_verified: bool = False
    """True: the provider itself said so, then."""

    boot_seconds: float
    interruptions_per_hour: float
    refusals: int = 0
    """In a row, each asked for after the one before had cooled off."""

    cool_until: datetime | None = None
    """Sold out: not asked for again before."""

    @property
    def key(self) -> OfferKey:
        return self.machine_type, self.zone, self.capacity_type

    def refused(self, *, at: datetime) -> Self:
        """Cools for 45 s, then twice as long each time, half an hour at most.

        Launches that were under way together are one refusal; after half an hour of silence it begins anew.
        """
        if self.cool_until is not None and at < self.cool_until:
            return self
        is_old_story = self.cool_until is not None and at - self.cool_until > LONGEST_COOL
        before = 0 if is_old_story else self.refusals
        cool = min(FIRST_COOL * 2 ** min(before, MOST_DOUBLINGS), LONGEST_COOL)
        return replace(self, refusals=before + 1, cool_until=at + cool)

    def granted(self) -> Self:
        return replace(self, refusals=0, cool_until=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferList:
    """How a cluster's offers were last asked for."""

    cluster_id: ClusterId
    listed_at: datetime | None = None
    """When they were last all listed; None: never."""

    problem: str | None = None
    """Why they could not be listed since."""
