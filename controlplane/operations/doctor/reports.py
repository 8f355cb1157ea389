"""Reports: what an examination found, what it could not see, and how much it looked at."""

from collections.abc import Mapping
from dataclasses import dataclass

from cloud_adapters.base import Lends
from controlplane.domain.invariants import Breach
from controlplane.executors.base import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Through which the world outside is seen."""

    adapters: Mapping[str, Lends]
    """By name, as clusters name theirs."""

    executor: Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """What could not be looked at: no finding, and no clean bill either."""

    subject: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    breaches: tuple[Breach, ...]
    unseen: tuple[Unseen, ...]
    notes: tuple[str, ...]
    """What a reader has to know about the rest, for people."""

    jobs: int
    claims: int
    clusters: int
    """Those that were looked at from outside as well."""

    seconds: float
