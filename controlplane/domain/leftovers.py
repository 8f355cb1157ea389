"""Leftovers: what a purchase leaves behind beside machines, until it is removed or somebody else must remove it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from controlplane.domain.ids import ClaimId, ClusterId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A disk, an address, an object... with our tag that belongs to no live claim."""

    cluster_id: ClusterId
    kind: str
    name: str
    zone: str
    claim_id: ClaimId | None
    """None: it belonged to the cluster as a whole."""

    seen_at: datetime
    """When it was first listed as a stray."""

    tried_at: datetime | None = None
    """When its removal was last refused."""

    problem: str | None = None
    """Why, in the provider's words. Set: it is in quarantine, and costs money until a person has removed it."""

    hourly_millionths: int | None = None
    """What it costs for an hour, of a unit of the currency. None: nothing, or nobody knows."""

    currency: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.zone, self.name

    def cost_millionths(self, now: datetime) -> int | None:
        """Since it was first listed."""
        if self.hourly_millionths is None:
            return None
        return int(self.hourly_millionths * (now - self.seen_at) / timedelta(hours=1))

    def refused(self, problem: str, *, at: datetime) -> Self:
        return replace(self, problem=problem, tried_at=at)
