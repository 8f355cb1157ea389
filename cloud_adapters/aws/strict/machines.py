"""The truth of the strict EC2: every machine that was ever sold, and what it is at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

CODES: Final[Mapping[str, int]] = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """One machine, from purchase to end. Exists, and costs money, until `ended_at`."""

    id: str
    region: str
    zone: str
    machine_type: str
    market: str
    """`on-demand`, `spot`, or the id of the reservation that it came from."""

    private_ip: str
    tags: Mapping[str, str]
    user_data: str = field(repr=False)
    token: str
    """The client token of its purchase."""

    security_groups: tuple[str, ...]
    placement_group: str | None
    started_at: datetime
    running_at: datetime
    spot_request: str | None = None
    notice_at: datetime | None = None
    """When it will be taken back; the metadata tells."""

    stopping_at: datetime | None = None
    ended_at: datetime | None = None
    """May lie ahead while it is shutting down."""

    reason: tuple[str, str] = ("", "")
    """Code and sentence of why it ends."""

    def exists(self, at: datetime) -> bool:
        return self.started_at <= at and not self.has_ended(at)

    def has_ended(self, at: datetime) -> bool:
        return self.ended_at is not None and self.ended_at <= at

    def phase(self, at: datetime) -> str:
        if self.has_ended(at):
            return "terminated"
        if self.stopping_at is not None and self.stopping_at <= at:
            return "shutting-down"
        return "running" if self.running_at <= at else "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRequest:
    id: str
    region: str
    machine: str
    machine_type: str
    tags: Mapping[str, str]
    max_price: Decimal | None
    created_at: datetime
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementGroup:
    id: str
    region: str
    name: str
    strategy: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Capacity that is kept for the account, to be set by a test."""

    zone: str
    machine_type: str
    machines: int
    is_capacity_block: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An access key that opens the account."""

    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a client token stands for, in one zone, for good."""

    digest: str
    """Of all other parameters."""

    machines: tuple[str, ...]
    answer: bytes


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to the next `times` calls of an action, instead of an answer."""

    action: str
    code: str | None = None
    """None: the connection is cut."""

    message: str = "told to fail"
    http_code: int = 500
    is_done: bool = False
    """Whether the deed is done first, if it can be."""

    times: int = 1
    after: int = 0
    """So many calls go well before."""
