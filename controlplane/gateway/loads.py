"""Loads: what a gateway saw of each revision, summed up until it is told."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from controlplane.domain.ids import RevisionId, ServiceId
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load

BUCKETS: Final = len(LATENCY_EDGES_MS) + 1
Key = tuple[ServiceId, RevisionId | None]


def bucket_of(took_ms: float) -> int:
    """Which of `LATENCY_EDGES_MS` it lies within; the last one is for the rest."""
    return bisect_left(LATENCY_EDGES_MS, took_ms)


@dataclass(slots=True)
class Tally:
    """Of one revision. `total_*` are since the gateway began, the others since the last report."""

    in_flight: int = 0
    waiting: int = 0
    requests: int = 0
    errors: int = 0
    latency_ms: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    total_requests: int = 0
    total_errors: int = 0
    total_ms: float = 0.0
    total_latency_ms: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    was_busy: bool = False
    """At the last report: the next one says that it is not any more."""

    @property
    def is_busy(self) -> bool:
        return bool(self.in_flight or self.waiting or self.requests)


class Loads:
    """Every request is counted once per replica that was asked, for that replica's revision."""

    def __init__(self, gateway: str, *, since: datetime) -> None:
        self._gateway = gateway
        self._since = since
        self._tallies: dict[Key, Tally] = {}

    @property
    def tallies(self) -> Mapping[Key, Tally]:
        return self._tallies

    def tally(self, service_id: ServiceId, revision_id: RevisionId | None) -> Tally:
        return self._tallies.setdefault((service_id, revision_id), Tally())

    def ended(
        self, service_id: ServiceId, revision_id: RevisionId, *, took_ms: float, is_error: bool
    ) -> None:
        tally, bucket = self.tally(service_id, revision_id), bucket_of(took_ms)
        for counts in (tally.latency_ms, tally.total_latency_ms):
            counts[bucket] += 1
        tally.requests += 1
        tally.errors += is_error
        tally.total_requests += 1
        tally.total_errors += is_error
        tally.total_ms += took_ms

    def drain(self, now: datetime) -> tuple[Load, ...]:
        """What happened since the last time. A revision without traffic is told once, and then left out."""
        loads = []
        for (service_id, revision_id), tally in self._tallies.items():
            is_busy = tally.is_busy
            if is_busy or tally.was_busy:
                loads.append(self._load(service_id, revision_id, tally, now))
            tally.was_busy = is_busy
            tally.requests, tally.errors, tally.latency_ms = 0, 0, [0] * BUCKETS
        self._since = now
        return tuple(loads)

    def forget_but(self, service_ids: frozenset[ServiceId]) -> None:
        """Of services that are gone nothing is kept once their last request has ended."""
        idle = [key for key, tally in self._tallies.items() if not tally.in_flight]
        for key in (each for each in idle if each[0] not in service_ids):
            del self._tallies[key]

    def _load(
        self, service_id: ServiceId, revision_id: RevisionId | None, tally: Tally, now: datetime
    ) -> Load:
        return Load(
            gateway=self._gateway,
            service_id=service_id,
            revision_id=revision_id,
            since=self._since,
            until=now,
            in_flight=tally.in_flight,
            waiting=tally.waiting,
            requests=tally.requests,
            errors=tally.errors,
            latency_ms=tuple(tally.latency_ms),
        )
