"""Sites: the Ray cluster that a claim's machines form, how it is reached, and what its machines say of themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from controlplane.domain.ids import ClaimId, LaunchId, SecretId


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Begins with the first machine that checks in, or when the adapter has built it; ends with its claim."""

    claim_id: ClaimId
    url: str | None = None
    """None: its head is not up yet."""

    secret_id: SecretId | None = None
    """Where its token, certificates and route lie, encrypted."""

    head: str | None = None
    """The machine that was the first to check in; None where the adapter built it."""

    head_host: str | None = None
    members: tuple[tuple[str, str], ...] = ()
    """(Name of a lent node, id of the Ray node on it), sorted; empty where machines were bought."""

    session: str | None = None
    seen_at: datetime | None = None
    """When its Ray last answered."""

    problem: str | None = None

    @property
    def is_up(self) -> bool:
        return self.url is not None

    def is_silent(self, now: datetime, *, after: timedelta) -> bool:
        """Whether its Ray has answered once, and then nobody for longer than `after`.

        While it answers, `seen_at` is not kept at every look: it is old without meaning anything.
        """
        return self.problem is not None and self.seen_at is not None and now - self.seen_at > after


class Phase(StrEnum):
    """How far a bought machine is, by its own word."""

    BOOTING = "booting"
    UP = "up"
    """Its Ray runs."""

    LEAVING = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIn:
    """The newest word of one bought machine."""

    claim_id: ClaimId
    launch_id: LaunchId
    machine: str
    """The provider's name of it."""

    host: str
    phase: Phase
    at: datetime
    notice: str | None = None
    """Why the provider is about to take it away."""

    problem: str | None = None
