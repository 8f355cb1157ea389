"""Service specs: what is read from the stored spec of a revision."""

from functools import lru_cache
from typing import Final

from controlplane.domain.services import ALL_PPM, Rollout, Scaling, Strategy, Terms
from controlplane.domain.traffic import Limits
from controlplane.wire.servicespec import WHOLE_PERCENT, Release, Replicas, ServiceSpec

SERVER_NAME: Final = "replica.crossdock.internal"
"""The one name in the certificates of replicas: each revision has an authority of its own."""

SURPLUS_BELOW: Final = 100
LOWEST_PRIORITY: Final = -1000
MOST_SPECS_REMEMBERED: Final = 256


@lru_cache(maxsize=MOST_SPECS_REMEMBERED)
def stored(spec_json: str) -> ServiceSpec:
    """Shared by all who ask: nobody may change it."""
    return ServiceSpec.model_validate_json(spec_json)


@lru_cache(maxsize=MOST_SPECS_REMEMBERED)
def terms_of(spec_json: str) -> Terms:
    spec = stored(spec_json)
    return Terms(
        scaling=_scaling(spec.replicas),
        rollout=_rollout(spec.release),
        ready_seconds=spec.ready_seconds,
    )


def surplus_priority_of(spec: ServiceSpec) -> int:
    if spec.replicas.surplus_priority is not None:
        return spec.replicas.surplus_priority
    return max(LOWEST_PRIORITY, spec.priority - SURPLUS_BELOW)


def limits_of(spec: ServiceSpec) -> Limits:
    return Limits(
        request_bytes=spec.limits.request_bytes,
        timeout_seconds=spec.limits.timeout_seconds,
        queue_requests=spec.limits.queue_requests,
        requests_per_second=spec.limits.requests_per_second,
        wake_seconds=spec.limits.wake_seconds,
    )


def _scaling(replicas: Replicas) -> Scaling:
    return Scaling(
        target_in_flight=replicas.target_in_flight,
        latency_ms=replicas.latency_ms,
        stable_seconds=replicas.stable_seconds,
        idle_seconds=replicas.idle_seconds,
    )


def _rollout(release: Release) -> Rollout:
    steps = tuple(_ppm(step) for step in release.steps if step < WHOLE_PERCENT)
    return Rollout(
        strategy=Strategy(release.strategy),
        steps_ppm=(*steps, ALL_PPM) if release.strategy == "canary" else (),
        bake_seconds=release.bake_seconds,
        max_error_ppm=_ppm(release.max_error_percent),
        min_requests=release.min_requests,
    )


def _ppm(percent: float) -> int:
    return round(percent / WHOLE_PERCENT * ALL_PPM)
