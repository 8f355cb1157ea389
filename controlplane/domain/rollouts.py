"""Rollouts: how the next revision of a service takes the traffic from the good one, and when it has to give it back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.services import ALL_PPM, Rollout, Strategy

SURGE_PARTS = 4
"""A rolling release starts a quarter of its replicas at a time, and at least one."""


class Verdict(StrEnum):
    WAIT = "wait"
    SHIFT = "shift"
    """The next revision takes the share that the step says."""

    BACK = "back"
    """It errs too much: the good one takes all again."""

    DONE = "done"
    """It has had all of the traffic for long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How the next revision does."""

    revision: Revision
    ready: int
    """Replicas of it that answer now."""

    requests: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    verdict: Verdict
    weight_ppm: int = 0
    reason: str | None = None


def step(rollout: Rollout, progress: Progress, desired: int, *, now: datetime) -> Step:
    """What is next for a revision that is ready, beside a good one. `desired`: replicas of the whole service."""
    revision = progress.revision
    if (reason := _erring(rollout, progress)) is not None:
        return Step(verdict=Verdict.BACK, reason=reason)
    target = _target_ppm(rollout, progress, desired)
    if revision.weight_ppm == ALL_PPM:
        return Step(verdict=Verdict.DONE if _is_baked(rollout, revision, now) else Verdict.WAIT)
    if target > revision.weight_ppm and progress.ready >= _needed(rollout, target, desired):
        return Step(verdict=Verdict.SHIFT, weight_ppm=target) if _may_rise(rollout, revision, now) else _WAIT
    return _WAIT


def wanted_of_next(rollout: Rollout, progress: Progress, desired: int) -> int:
    """How many replicas the next revision should have by now; at least one, which shows whether it works."""
    if rollout.strategy is Strategy.ROLLING:
        surge = max(1, -(-desired // SURGE_PARTS))
        return max(1, min(desired, progress.ready + surge))
    target = _target_ppm(rollout, progress, desired)
    return max(1, _share(desired, max(target, progress.revision.weight_ppm)))


def wanted_of_good(revision: Revision, desired: int) -> int:
    """How many the good one keeps: enough for its share, and one to fall back on."""
    return min(desired, max(1, _share(desired, revision.weight_ppm)))


def _erring(rollout: Rollout, progress: Progress) -> str | None:
    if progress.requests < rollout.min_requests:
        return None
    if progress.errors * ALL_PPM <= rollout.max_error_ppm * progress.requests:
        return None
    limit = rollout.max_error_ppm / ALL_PPM
    return f"{progress.errors} of {progress.requests} requests failed, more than {limit:.2%}"


def _target_ppm(rollout: Rollout, progress: Progress, desired: int) -> int:
    """The share that it is on its way to."""
    weight = progress.revision.weight_ppm
    if rollout.strategy is Strategy.CANARY:
        return next((each for each in rollout.steps_ppm if each > weight), ALL_PPM)
    return min(ALL_PPM, progress.ready * ALL_PPM // max(desired, 1))


def _needed(rollout: Rollout, target: int, desired: int) -> int:
    return 1 if rollout.strategy is Strategy.ROLLING else max(1, _share(desired, target))


def _may_rise(rollout: Rollout, revision: Revision, now: datetime) -> bool:
    """A rolling release follows its replicas; a canary rests at each of its steps."""
    is_first = revision.state is RevisionState.READY and revision.weight_ppm == 0
    return rollout.strategy is Strategy.ROLLING or is_first or _is_baked(rollout, revision, now)


def _is_baked(rollout: Rollout, revision: Revision, now: datetime) -> bool:
    since = revision.weighed_at or revision.since
    return now - since >= timedelta(seconds=rollout.bake_seconds)


def _share(desired: int, weight_ppm: int) -> int:
    return -(-desired * weight_ppm // ALL_PPM)


_WAIT = Step(verdict=Verdict.WAIT)
