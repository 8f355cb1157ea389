"""Leases: a time-limited exclusive right, and the token that fences off whoever lost it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from controlplane.domain.ids import LeaseId
from controlplane.domain.lifecycles import Lifecycle, to


class LeaseState(StrEnum):
    HELD = "held"
    RELEASED = "released"
    EXPIRED = "expired"


LEASE: Final = Lifecycle(
    noun="lease",
    initial=LeaseState.HELD,
    edges={
        LeaseState.HELD: to(LeaseState.RELEASED, LeaseState.EXPIRED),
        LeaseState.RELEASED: to(),
        LeaseState.EXPIRED: to(),
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A new holder is a new row with the next token; the old row never comes back."""

    id: LeaseId
    name: str
    """What is leased: `scheduler`, `attempt:<id>`, `cluster:<id>`..."""

    holder: str
    token: int
    until: datetime
    """On the database's clock."""

    state: LeaseState
    address: str | None = None
    """Where the holder can be asked, if it can."""
