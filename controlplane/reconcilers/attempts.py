"""Moves attempts along: start, watch, stop, end. Decides from evidence; silence is not evidence.

The rule that all of this rests on (docs/job-protocol.md): user code starts only after a `hello` that the control plane
accepted, and ends by itself when its lease ran out. So an attempt that never said hello can be ended by one commit, and
any other one after its exit records, its executor's word, or its lease plus clock skew.

The loop calls `decide` with `heard=None`, makes the port call that it asks for, and calls again with the answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from controlplane.domain.attempts import COORDINATOR, Attempt, AttemptState, Outcome
from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.twins import quick
from controlplane.executors.base import Observation, Phase

CALM_POLLS = 6
"""While an attempt renews its lease it speaks for itself, and the executor is asked this many times less often."""

WRAPPER_GAVE_UP = 75
"""Exit code of a wrapper whose lease, start or fence failed: no verdict over the user's code."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RankView:
    """What one task has said so far."""

    rank: int
    heartbeat_at: datetime
    exit_code: int | None = None
    exit_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The executor has it; `session` is the life of the executor that took it."""

    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDelayed:
    """It was not taken, or nobody knows; trying again with the same id is safe."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRefused:
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTold:
    """The executor was asked to stop it, or did not answer: both change nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    observation: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class SawNothing:
    """The cluster did not answer."""

    message: str


Heard = Started | StartDelayed | StartRefused | StopTold | Looked | SawNothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Hand the order to the executor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TellStop:
    """Ask the executor to stop every task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Ask the executor what it knows."""


Call = Start | TellStop | Look


class Footing(StrEnum):
    """Whether the Ray cluster stands that an attempt is to run on."""

    COMING = "coming"
    STANDS = "stands"
    LOST = "lost"
    """It is gone or going, and will not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The Ray cluster of an attempt's claim."""

    footing: Footing
    since: datetime
    problem: str | None = None


class Arrival(StrEnum):
    """How far something is on its way to where an attempt is placed that needs it."""

    WANTED = "wanted"
    """Nobody was asked to bring it yet."""

    UNDER_WAY = "under_way"
    THERE = "there"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """What has to be brought before the attempt starts, a checkpoint or inputs: how far the last of it is."""

    arrival: Arrival
    since: datetime
    problem: str | None = None
    """What is lost of it, and why."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    attempt: Attempt
    cluster: Cluster
    ground: Ground | None = None
    """None: it runs on the cluster's own Ray."""

    awaited: Awaited | None = None
    """None: it needs nothing that it does not find where it is."""

    ranks: tuple[RankView, ...]
    """Those that said hello, and the coordinator's exit if there is one."""

    node_gone: str | None
    """Name of a booked node that the cluster no longer lists."""

    may_start: bool
    """False while enough other attempts of the cluster are starting."""

    lease_seconds: float
    skew: timedelta
    start_timeout: timedelta
    poll: timedelta
    now: datetime
    heard: Heard | None = None

    @property
    def is_grounded(self) -> bool:
        return self.ground is None or self.ground.footing is Footing.STANDS

    @property
    def could_start_since(self) -> datetime:
        waited_for = [each.since for each in (self.ground, self.awaited) if each is not None]
        return max([self.attempt.placed_at, *waited_for])

    @property
    def final(self) -> RankView | None:
        """The exit record that speaks for the whole attempt."""
        return next(
            (each for each in self.ranks if each.rank == COORDINATOR and each.exit_reason is not None), None
        )


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDecision:
    call: Call | None = None
    """A port call to make first; the loop then decides again with what it heard."""

    save: Attempt | None = None
    sends: bool = False
    """Whether what it needs is to be brought to where it is placed."""

    look_again_at: datetime | None = None


def decide(view: AttemptView) -> AttemptDecision:
    attempt = view.attempt
    if not attempt.is_live:
        return AttemptDecision()
    if final := view.final:
        return _end_by_exit_record(view, final)
    if view.cluster.state is ClusterState.DETACHED:
        return _end(view, Outcome.LOST, f"cluster {view.cluster.name!r} was detached by an operator")
    return _BY_STATE[attempt.state](view)


def _placed(view: AttemptView) -> AttemptDecision:
    attempt, now = view.attempt, view.now
    if _tasks(view):  # it runs: the answer to the start was lost
        return _save(view, attempt.start(session=None, at=now))
    if going := _must_go(view) or _awaits_freight(view):
        return going
    match view.heard:
        case Started(session=session):
            return _save(view, attempt.start(session=session, at=now))
        case StartRefused(message=message):
            return _end(view, Outcome.NEVER_STARTED, message)
        case StartDelayed(message=message) if now - view.could_start_since > view.start_timeout:
            return _end(view, Outcome.NEVER_STARTED, f"could not be started: {message}")
        case StartDelayed(message=message) if message != attempt.reason:
            return _save(view, attempt.delay(message))
        case None if view.may_start:
            return AttemptDecision(call=Start())
        case _:
            return _later(view)


def _starting(view: AttemptView) -> AttemptDecision:
    attempt, now = view.attempt, view.now
    if tasks := _tasks(view):
        return _save(view, attempt.run(at=min(rank.heartbeat_at for rank in tasks)))
    if going := _must_go(view):
        return going
    if now - attempt.since > view.start_timeout:
        return _tell_then_end(view, f"no task said hello for {view.start_timeout.total_seconds():g} s")
    match view.heard:
        case None:
            return AttemptDecision(call=Look())
        case Looked(observation=seen) if _is_other_life(view, seen):
            return _end(view, Outcome.EVICTED, "the cluster was restarted before the code started")
        case Looked(observation=seen) if seen.phase in (Phase.EXITED, Phase.DIED, Phase.ABSENT):
            return _end(
                view, Outcome.NEVER_STARTED, seen.message or f"the executor says that it is {seen.phase}"
            )
        case _:
            return _later(view)


def _running(view: AttemptView) -> AttemptDecision:
    if _lease_is_over(view):
        return _end(view, Outcome.LOST, "no task renewed its lease")
    if reason := _eviction(view):
        return _stop(view, Outcome.EVICTED, reason)
    match view.heard:
        case None:
            return AttemptDecision(call=Look())
        case Looked(observation=seen) if _is_other_life(view, seen):
            return _stop(view, Outcome.EVICTED, "the cluster was restarted")
        case Looked(observation=seen) if seen.phase is Phase.EXITED:
            return _end_by_executor(view, seen)
        case Looked(observation=seen) if seen.phase in (Phase.DIED, Phase.ABSENT):
            return _stop(view, Outcome.LOST, seen.message or f"the executor says that it is {seen.phase}")
        case _:
            polls = 1 if _is_quiet(view) else CALM_POLLS
            return AttemptDecision(look_again_at=view.now + polls * view.poll)


def _stopping(view: AttemptView) -> AttemptDecision:
    attempt = view.attempt
    outcome = attempt.stop_outcome or Outcome.LOST
    never_spoke = not view.ranks and attempt.lease_until is None
    if never_spoke and view.heard is not None:
        return _end(view, outcome, attempt.reason)  # its hello would be refused from now on
    tasks = _tasks(view)
    if tasks and all(task.exit_reason is not None for task in tasks):
        return _end(view, outcome, attempt.reason)
    if not never_spoke and _lease_is_over(view):
        return _end(view, outcome, attempt.reason)
    match view.heard:
        case None:
            return AttemptDecision(call=TellStop())
        case StopTold():
            return AttemptDecision(call=Look())
        case Looked(observation=seen) if seen.phase is Phase.EXITED:
            return _end(view, outcome, attempt.reason, exit_code=seen.exit_code)
        case Looked(observation=seen) if _is_other_life(view, seen) and _is_quiet(view):
            return _end(view, outcome, attempt.reason)
        case _:
            return _later(view)


def _awaits_freight(view: AttemptView) -> AttemptDecision | None:
    """While its Ray cluster is still coming, too: both take their time."""
    if view.awaited is None or view.awaited.arrival is Arrival.THERE:
        return None
    if view.awaited.arrival is Arrival.LOST:
        return _end(view, Outcome.NEVER_STARTED, view.awaited.problem)
    return replace(_later(view), sends=view.awaited.arrival is Arrival.WANTED)


def _must_go(view: AttemptView) -> AttemptDecision | None:
    """Before the first hello the attempt can be ended without waiting for anybody."""
    reason = _eviction(view)
    if reason and view.attempt.state is AttemptState.PLACED and not view.is_grounded:
        return _end(view, Outcome.NEVER_STARTED, reason)  # nobody is there to be told
    return _tell_then_end(view, reason, Outcome.EVICTED) if reason else None


def _eviction(view: AttemptView) -> str | None:
    """Why it cannot stay where it is; None when it can."""
    if view.cluster.state is ClusterState.DRAINING:
        return f"cluster {view.cluster.name!r} is being drained"
    if view.ground is not None and view.ground.footing is Footing.LOST:
        return f"its Ray cluster is lost: {view.ground.problem or 'its claim is over'}"
    return f"node {view.node_gone} is gone" if view.node_gone is not None else None


def _tell_then_end(
    view: AttemptView, reason: str, outcome: Outcome = Outcome.NEVER_STARTED
) -> AttemptDecision:
    """The executor may have begun to set it up: it is told first, whatever it answers."""
    if view.heard is None:
        return AttemptDecision(call=TellStop())
    return _end(view, outcome, reason)


def _end_by_exit_record(view: AttemptView, final: RankView) -> AttemptDecision:
    """The wrapper's word: no user code of this attempt runs any more."""
    code, attempt = final.exit_code, view.attempt
    match final.exit_reason:
        case "completed":
            return _end(view, Outcome.SUCCEEDED, None, exit_code=code)
        case "stopped" | "lost" if attempt.stop_outcome is not None:
            return _end(view, attempt.stop_outcome, attempt.reason, exit_code=code)
        case "stopped":
            return _end(view, Outcome.EVICTED, "stopped from outside the control plane", exit_code=code)
        case "start_timeout":
            return _end(view, Outcome.NEVER_STARTED, "the cluster did not grant the booked nodes in time")
        case "lease_lost" | "fenced" | "lost":
            return _end(
                view,
                attempt.stop_outcome or Outcome.LOST,
                attempt.reason or f"ended itself: {final.exit_reason}",
            )
        case _ if view.node_gone is not None:
            return _end(view, Outcome.EVICTED, f"node {view.node_gone} is gone", exit_code=code)
        case _:
            return _end(view, Outcome.FAILED, f"exited with code {code}", exit_code=code)


def _end_by_executor(view: AttemptView, seen: Observation) -> AttemptDecision:
    """The wrapper ended but could not tell us itself; its exit code is the attempt's."""
    if seen.exit_code == 0:
        return _end(view, Outcome.SUCCEEDED, None, exit_code=0)
    if seen.exit_code == WRAPPER_GAVE_UP:
        return _end(view, Outcome.LOST, "ended itself without its lease")
    return _end(view, Outcome.FAILED, f"exited with code {seen.exit_code}", exit_code=seen.exit_code)


def _tasks(view: AttemptView) -> tuple[RankView, ...]:
    return tuple(each for each in view.ranks if each.rank != COORDINATOR)


def _lease_is_over(view: AttemptView) -> bool:
    until = view.attempt.may_run_until(skew=view.skew)
    return until is not None and view.now > until


def _is_quiet(view: AttemptView) -> bool:
    """Nobody spoke for so long that several heartbeats must have been missed."""
    newest = max((rank.heartbeat_at for rank in view.ranks), default=None)
    return newest is None or (view.now - newest).total_seconds() > view.lease_seconds / 2


def _is_other_life(view: AttemptView, seen: Observation) -> bool:
    return view.attempt.session is not None and seen.session != view.attempt.session


def _save(view: AttemptView, attempt: Attempt) -> AttemptDecision:
    return AttemptDecision(save=attempt, look_again_at=view.now + view.poll)


def _stop(view: AttemptView, outcome: Outcome, reason: str) -> AttemptDecision:
    return AttemptDecision(
        save=view.attempt.stop(outcome, at=view.now, reason=reason), look_again_at=view.now
    )


def _end(
    view: AttemptView, outcome: Outcome, reason: str | None, *, exit_code: int | None = None
) -> AttemptDecision:
    return AttemptDecision(save=view.attempt.end(outcome, at=view.now, exit_code=exit_code, reason=reason))


def _later(view: AttemptView) -> AttemptDecision:
    return AttemptDecision(look_again_at=view.now + view.poll)


_BY_STATE: Final[Mapping[AttemptState, Callable[[AttemptView], AttemptDecision]]] = {
    AttemptState.PLACED: _placed,
    AttemptState.STARTING: _starting,
    AttemptState.RUNNING: _running,
    AttemptState.STOPPING: _stopping,
}
