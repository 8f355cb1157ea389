"""Autoscaling: how many replicas a service's traffic asks for. Up at once, down when fewer were enough for a while.

The rule is the one of concurrency-based autoscalers: requests under way over the number that each replica should have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Final

from controlplane.domain.services import Scaling, Service
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load, is_of_now

WATCHED: Final = timedelta(seconds=60)
"""Over which latency is measured."""

TENTHS_WITHIN: Final = 9
"""Of ten requests that many have to end within the latency that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What all gateways together see of a service."""

    in_flight: int
    """Requests under way, those that wait included."""

    waiting: int
    last_at: datetime | None
    """When somebody last asked; None: nobody did lately."""

    slow_ms: int | None
    """Within this nine requests of ten ended lately; None: none ended. What took longer than all edges is twice the
    last one."""


def demand_of(loads: Sequence[Load], last_at: datetime | None, *, now: datetime) -> Demand:
    """`loads` of the last minute, in the order of their ends. What a gateway that is gone had under way is gone too."""
    newest = {(load.gateway, load.revision_id): load for load in loads if is_of_now(load, now)}
    return Demand(
        in_flight=sum(load.in_flight for load in newest.values()),
        waiting=sum(load.waiting for load in newest.values()),
        last_at=last_at,
        slow_ms=_slow_ms(loads),
    )


def scaled(service: Service, scaling: Scaling, demand: Demand, *, ready: int, now: datetime) -> Service:
    """The service with as many replicas desired as its traffic asks for; itself when nothing changes.

    `ready`: replicas that answer now. One that is still starting may be all that was missing, so latency alone asks
    for no further one before.
    """
    wanted = _wanted(service, scaling, demand, ready=ready, now=now)
    if wanted >= service.desired:
        if wanted == service.desired and service.lower_since is None:
            return service
        return service.changed(desired=wanted, lower_since=None, lower_peak=0)
    since, peak = service.lower_since or now, max(service.lower_peak, wanted)
    is_out_of_bounds = service.desired > service.max_replicas
    if is_out_of_bounds or now - since >= timedelta(seconds=scaling.stable_seconds):
        return service.changed(desired=min(peak, service.max_replicas), lower_since=None, lower_peak=0)
    if (since, peak) == (service.lower_since, service.lower_peak):
        return service
    return service.changed(lower_since=since, lower_peak=peak)


def _wanted(service: Service, scaling: Scaling, demand: Demand, *, ready: int, now: datetime) -> int:
    wanted = math.ceil(demand.in_flight / scaling.target_in_flight)
    if demand.last_at is not None and now - demand.last_at <= timedelta(seconds=scaling.idle_seconds):
        wanted = max(wanted, min(service.desired, 1))
    if demand.waiting:
        wanted = max(wanted, 1)
    if _is_slow(scaling, demand) and demand.in_flight and ready >= service.desired:
        wanted = max(wanted, service.desired + 1)
    return min(max(wanted, service.min_replicas), service.max_replicas)


def _is_slow(scaling: Scaling, demand: Demand) -> bool:
    return (
        scaling.latency_ms is not None and demand.slow_ms is not None and demand.slow_ms > scaling.latency_ms
    )


def _slow_ms(loads: Sequence[Load]) -> int | None:
    edges = (*LATENCY_EDGES_MS, 2 * LATENCY_EDGES_MS[-1])
    counts = [sum(load.latency_ms[place] for load in loads) for place in range(len(edges))]
    total = sum(counts)
    slow = (place for place, seen in enumerate(accumulate(counts)) if seen * 10 >= total * TENTHS_WITHIN)
    return edges[next(slow)] if total else None
