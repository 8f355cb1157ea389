"""Keeps services: as many replicas as their traffic asks for, and one revision after another without a gap.

Level-triggered. The caller loads the view and writes the answer in one transaction, so nothing can change in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from controlplane.domain import autoscaling, rollouts
from controlplane.domain.autoscaling import Demand
from controlplane.domain.copies import replace
from controlplane.domain.ids import JobId, RevisionId
from controlplane.domain.jobs import JobState
from controlplane.domain.revisions import Revision, RevisionState
from controlplane.domain.rollouts import Progress, Verdict
from controlplane.domain.services import ALL_PPM, KnownReplica, Service, Terms
from controlplane.domain.traffic import Load

SETTLE: Final = timedelta(seconds=5)
"""From the last share of the traffic to the stop of the replicas: gateways look more often than this."""

BUSY: Final = timedelta(seconds=2)
WATCHING: Final = timedelta(seconds=5)
CALM: Final = timedelta(seconds=30)
BACKOFF_SECONDS: Final = 5.0
LONGEST_BACKOFF_SECONDS: Final = 300.0
FAILURES_KEPT: Final = timedelta(minutes=10)
"""Ends of replicas that nobody asked for are held against the next one for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    revision: Revision
    terms: Terms
    replicas: tuple[KnownReplica, ...] = ()
    """Those that are not over, and those that ended lately."""

    last_turns: Mapping[int, int] = field(default_factory=dict)
    """Of each place that ever was taken."""

    requests: int = 0
    """That ended since it is ready."""

    errors: int = 0

    @property
    def staying(self) -> tuple[KnownReplica, ...]:
        return tuple(each for each in self.replicas if each.stays)

    @property
    def ready(self) -> int:
        return sum(each.is_ready for each in self.staying)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    service: Service
    revisions: tuple[RevisionView, ...]
    """Those that are not over, and those that still have replicas; by number."""

    loads: tuple[Load, ...] = ()
    """Of all revisions in the last minute, in the order of their ends."""

    last_at: datetime | None = None
    """When somebody last asked."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReplica:
    revision_id: RevisionId
    ordinal: int
    turn: int
    is_surplus: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDecision:
    service: Service
    """To be saved if it is another than the view's."""

    revisions: tuple[Revision, ...] = ()
    """To be saved."""

    submit: tuple[NewReplica, ...] = ()
    cancel: tuple[JobId, ...] = ()
    look_again_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cast:
    """Which part each revision plays."""

    good: RevisionView | None
    next: RevisionView | None
    superseded: tuple[RevisionView, ...] = ()


def decide(view: ServiceView) -> ServiceDecision:
    if view.service.deleted_at is not None:
        return ServiceDecision(service=view.service)
    if view.service.is_leaving:
        return _leave(view)
    parts = _cast(view)
    moved = _moved(view, parts)
    service = _scaled(view, parts)
    revisions = {each.revision.id: moved.get(each.revision.id, each.revision) for each in view.revisions}
    wanted = _wanted(view, parts, revisions, service)
    submit, cancel = _replicas(view, revisions, wanted, service)
    return ServiceDecision(
        service=service,
        revisions=tuple(moved.values()),
        submit=submit,
        cancel=cancel,
        look_again_at=view.now + _pause(view, parts, service, moved),
    )


def _leave(view: ServiceView) -> ServiceDecision:
    moved, cancel = {}, []
    for each in view.revisions:
        gone = _retire(each, view.now, reason="the service was deleted")
        if gone is not None:
            moved[each.revision.id] = gone
        revision = gone or each.revision
        if _has_settled(revision, view.now):
            cancel += [known.replica.job_id for known in each.staying]
    is_empty = not moved and all(
        each.revision.is_over and all(known.is_over for known in each.replicas) for each in view.revisions
    )
    service = view.service.changed(deleted_at=view.now) if is_empty else view.service
    return ServiceDecision(
        service=service,
        revisions=tuple(moved.values()),
        cancel=tuple(cancel),
        look_again_at=None if is_empty else view.now + BUSY,
    )


def _cast(view: ServiceView) -> _Cast:
    states = (RevisionState.PENDING, RevisionState.DEPLOYING, RevisionState.READY)
    candidates = [each for each in view.revisions if each.revision.state in states]
    if not candidates:
        return _Cast(good=None, next=None)
    newest = candidates[-1]
    ready = [each for each in candidates[:-1] if each.revision.state is RevisionState.READY]
    good = max(ready, key=lambda each: (each.revision.weight_ppm, -each.revision.number), default=None)
    if good is None and newest.revision.state is RevisionState.READY:
        good, newest_part = newest, None
    else:
        newest_part = newest
    played = [each for each in (good, newest_part) if each is not None]
    return _Cast(
        good=good, next=newest_part, superseded=tuple(each for each in candidates if each not in played)
    )


def _moved(view: ServiceView, parts: _Cast) -> dict[RevisionId, Revision]:
    """Revisions in another state or with another share than before."""
    moved: dict[RevisionId, Revision] = {}
    for each in view.revisions:
        if each.revision.state is RevisionState.RETIRING:
            _keep(moved, _retire(each, view.now))
    for each in parts.superseded:
        _keep(moved, _retire(each, view.now, reason="a newer revision was deployed"))
    if parts.next is not None:
        _release(view, parts.next, parts.good, moved)
    _share_out(view, parts, moved)
    return moved


def _release(
    view: ServiceView, coming: RevisionView, good: RevisionView | None, moved: dict[RevisionId, Revision]
) -> None:
    """Takes the newest revision one step further."""
    revision, now = coming.revision, view.now
    match revision.state:
        case RevisionState.PENDING:
            _keep(moved, revision.move(RevisionState.DEPLOYING, at=now))
        case RevisionState.DEPLOYING if coming.ready:
            _keep(moved, revision.move(RevisionState.READY, at=now))
        case RevisionState.DEPLOYING:
            if (reason := _why_failed(coming, now)) is not None:
                _keep(moved, revision.move(RevisionState.FAILED, at=now, reason=reason))
        case _ if good is not None:
            _advance(view, coming, good, moved)
        case _:
            pass


def _advance(
    view: ServiceView, coming: RevisionView, good: RevisionView, moved: dict[RevisionId, Revision]
) -> None:
    step = rollouts.step(coming.terms.rollout, _progress(coming), view.service.desired, now=view.now)
    match step.verdict:
        case Verdict.WAIT:
            pass
        case Verdict.SHIFT:
            _keep(moved, coming.revision.weighed(step.weight_ppm, at=view.now))
        case Verdict.BACK:
            _keep(moved, _retire(coming, view.now, reason=step.reason))
        case Verdict.DONE:
            _keep(moved, _retire(good, view.now, reason=f"revision {coming.revision.number} took over"))


def _share_out(view: ServiceView, parts: _Cast, moved: dict[RevisionId, Revision]) -> None:
    """Whatever the newest does not have is the good one's; the shares always add up to all of it."""
    coming = None if parts.next is None else moved.get(parts.next.revision.id, parts.next.revision)
    is_ready = coming is not None and coming.state is RevisionState.READY
    if parts.good is None:
        if coming is not None and is_ready and coming.weight_ppm != ALL_PPM:
            _weigh(view, moved, coming, ALL_PPM)
        return
    good = moved.get(parts.good.revision.id, parts.good.revision)
    if good.state is not RevisionState.READY:
        return
    taken = coming.weight_ppm if coming is not None and is_ready else 0
    if good.weight_ppm != ALL_PPM - taken:
        _weigh(view, moved, good, ALL_PPM - taken)


def _weigh(view: ServiceView, moved: dict[RevisionId, Revision], revision: Revision, weight_ppm: int) -> None:
    """Within the version that a move of this decision made already."""
    weighed = revision.weighed(weight_ppm, at=view.now)
    moved[revision.id] = replace(weighed, version=revision.version) if revision.id in moved else weighed


def _retire(view: RevisionView, now: datetime, *, reason: str | None = None) -> Revision | None:
    """The next move on the way out; None: it has to wait, or is out."""
    revision = view.revision
    match revision.state:
        case RevisionState.PENDING:
            return revision.move(RevisionState.RETIRED, at=now, reason=reason)
        case RevisionState.DEPLOYING | RevisionState.READY:
            return revision.retire(at=now, reason=reason)
        case RevisionState.RETIRING if all(known.is_over for known in view.replicas):
            return revision.move(RevisionState.RETIRED, at=now)
        case _:
            return None


def _why_failed(view: RevisionView, now: datetime) -> str | None:
    failed = [each for each in view.replicas if each.job_state is JobState.FAILED and not each.was_ready]
    if failed:
        return f"replica {failed[-1].replica.job_id} failed: {failed[-1].job_reason}"
    # One that was evicted waits for capacity again, and what only waits has not failed.
    started = [each.started_at for each in view.staying if each.started_at is not None]
    if started and now - min(started) > timedelta(seconds=view.terms.ready_seconds):
        return f"no replica was ready within {view.terms.ready_seconds:g} s"
    return None


def _scaled(view: ServiceView, parts: _Cast) -> Service:
    part = parts.good or parts.next
    if part is None:
        return view.service
    demand = _with_birth(autoscaling.demand_of(view.loads, view.last_at, now=view.now), part.revision)
    ready = sum(each.ready for each in (parts.good, parts.next) if each is not None)
    newest = parts.next or part
    return autoscaling.scaled(view.service, newest.terms.scaling, demand, ready=ready, now=view.now)


def _with_birth(demand: Demand, revision: Revision) -> Demand:
    """What has only just come up counts as asked for: somebody deployed it."""
    moments = [each for each in (demand.last_at, revision.ready_at or revision.since) if each is not None]
    return replace(demand, last_at=max(moments))


def _wanted(
    view: ServiceView, parts: _Cast, revisions: Mapping[RevisionId, Revision], service: Service
) -> dict[RevisionId, int]:
    """How many replicas each revision should have. What is on its way out keeps what it has for a while."""
    wanted: dict[RevisionId, int] = {}
    for each in view.revisions:
        revision = revisions[each.revision.id]
        stays = revision.state is RevisionState.RETIRING and not _has_settled(revision, view.now)
        wanted[revision.id] = len(each.staying) if stays else 0
    coming = parts.next
    if coming is not None and revisions[coming.revision.id].state in _SERVING:
        progress = replace(_progress(coming), revision=revisions[coming.revision.id])
        is_alone = parts.good is None
        wanted[coming.revision.id] = (
            max(1, service.desired)
            if is_alone
            else rollouts.wanted_of_next(coming.terms.rollout, progress, service.desired)
        )
    if parts.good is not None and revisions[parts.good.revision.id].state is RevisionState.READY:
        good = revisions[parts.good.revision.id]
        # A release that failed in this very moment leaves all of it to the good one.
        wanted[good.id] = rollouts.wanted_of_good(good, service.desired)
    return wanted


_SERVING: Final = (RevisionState.DEPLOYING, RevisionState.READY)


def _replicas(
    view: ServiceView,
    revisions: Mapping[RevisionId, Revision],
    wanted: Mapping[RevisionId, int],
    service: Service,
) -> tuple[tuple[NewReplica, ...], tuple[JobId, ...]]:
    submit: list[NewReplica] = []
    cancel: list[JobId] = []
    for each in view.revisions:
        number = wanted[each.revision.id]
        lasting = min(number, service.min_replicas)
        if revisions[each.revision.id].state in _SERVING:
            submit += _missing(each, lasting, number - lasting, view.now)
        cancel += _too_many(each, lasting, number - lasting)
    return tuple(submit), tuple(cancel)


def _missing(view: RevisionView, lasting: int, surplus: int, now: datetime) -> list[NewReplica]:
    if _rests(view, now):
        return []
    have = [each.replica.is_surplus for each in view.staying]
    kinds = [False] * (lasting - have.count(False)) + [True] * (surplus - have.count(True))
    taken = {each.replica.ordinal for each in view.staying}
    free = (ordinal for ordinal in range(len(have) + len(kinds)) if ordinal not in taken)
    return [
        NewReplica(
            revision_id=view.revision.id,
            ordinal=ordinal,
            turn=view.last_turns.get(ordinal, 0) + 1,
            is_surplus=is_surplus,
        )
        for is_surplus, ordinal in zip(kinds, free, strict=False)
    ]


def _too_many(view: RevisionView, lasting: int, surplus: int) -> list[JobId]:
    """Those that do not answer yet go first, then the youngest; and no one that answers while others are awaited."""
    spare = max(0, view.ready - lasting - surplus)
    going: list[JobId] = []
    for is_surplus, number in ((True, surplus), (False, lasting)):
        of_kind = [each for each in view.staying if each.replica.is_surplus is is_surplus]
        for each in sorted(of_kind, key=_worth)[: max(0, len(of_kind) - number)]:
            if each.is_ready and not spare:
                continue
            spare -= each.is_ready
            going.append(each.replica.job_id)
    return going


def _worth(known: KnownReplica) -> tuple[bool, float, str]:
    return known.is_ready, -known.replica.created_at.timestamp(), known.replica.job_id


def _rests(view: RevisionView, now: datetime) -> bool:
    """Whether replicas ended so often lately that the next one has to wait."""
    failures = [each for each in view.replicas if each.is_over and each.cancel_requested_at is None]
    if not failures:
        return False
    doublings = min(len(failures) - 1, 16)
    pause = min(BACKOFF_SECONDS * 2**doublings, LONGEST_BACKOFF_SECONDS)
    return now - max(each.job_since for each in failures) < timedelta(seconds=pause)


def _progress(view: RevisionView) -> Progress:
    return Progress(revision=view.revision, ready=view.ready, requests=view.requests, errors=view.errors)


def _has_settled(revision: Revision, now: datetime) -> bool:
    """Whether every gateway has heard that it takes no more traffic."""
    return revision.is_over or now - revision.since >= SETTLE


def _pause(
    view: ServiceView, parts: _Cast, service: Service, moved: Mapping[RevisionId, Revision]
) -> timedelta:
    is_changing = moved or parts.next is not None or len(view.revisions) > 1
    awaited = any(not known.is_ready for each in view.revisions for known in each.staying)
    if is_changing or awaited:
        return BUSY
    return WATCHING if service.max_replicas > service.min_replicas else CALM


def _keep(moved: dict[RevisionId, Revision], revision: Revision | None) -> None:
    if revision is not None:
        moved[revision.id] = revision
