"""Moves claims along: buys what they want, and ends what they bought. Nothing is bought twice, nothing stays behind.

What that rests on:

- A call that buys is made from a Launch that a commit has written down, and at most one Launch of a claim is open. An
  open one is called again, with the same id, until the cloud has answered; only then another zone gets another Launch.
- A list may lag. What it does not show is missing only when the list is younger than the last call that buys by the
  call's deadline and the cloud's list lag, and when a second such list, a list lag later, says the same.
- A claim is gone only when the cloud says that nothing is left, and such a list shows nothing either.
- A Ray cluster ends with its head. When that machine is missing by the same two lists, the claim goes, whatever else it
  has: nothing can run there any more, and whoever needs machines gets others.
- One that a plan or an attempt wants is given up when its cloud leaves a launch without any answer: whoever waits asks
  elsewhere. It ends like any other: it stays in the books for as long as nobody knows what the launch has brought up.
- It is ready when its machines have joined one Ray cluster: the one behind the cluster's own address, the one that
  they form by checking in, or the one that the adapter builds for one attempt on nodes that the cluster lends.

The loop calls `decide` with `heard=None`. It commits `save` before it makes the port call that is asked for, then
loads the rows anew and calls again with the answer: the cloud is listed first, and compared with rows that are younger.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from cloud_adapters.base import Built, MachineState, OwnedMachine, Termination
from controlplane.domain.claims import Claim, ClaimState, Launch, LaunchOutcome, launch_id
from controlplane.domain.clusters import ClusterState
from controlplane.domain.copies import replace
from controlplane.reconcilers.claim_views import (
    Call,
    ClaimDecision,
    ClaimView,
    Delayed,
    Ensure,
    Granted,
    Heard,
    Inspect,
    Joining,
    Listed,
    ListOwned,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    Stands,
    Terminate,
    Terminated,
    Unrenewed,
)

__all__ = [
    "ENSURE_SECONDS",
    "Call",
    "ClaimDecision",
    "ClaimView",
    "Delayed",
    "Ensure",
    "Granted",
    "Heard",
    "Inspect",
    "Joining",
    "ListOwned",
    "Listed",
    "Refused",
    "Release",
    "Released",
    "Renew",
    "Renewed",
    "Stands",
    "Terminate",
    "Terminated",
    "Unrenewed",
    "decide",
]

ENSURE_SECONDS: Final = 30.0
"""Deadline of a call that buys: after it, nothing new comes of that call."""

COOL_DOWN: Final = timedelta(seconds=60)
"""After every zone refused."""

PATIENCE: Final = timedelta(minutes=5)
"""A launch without an answer is called again for so long; then the lists decide, or their absence does."""

CALM_POLLS: Final = 6
"""A claim that has all its machines is looked at this many times less often."""


def decide(view: ClaimView) -> ClaimDecision:
    claim = view.claim
    if not claim.is_live:
        return ClaimDecision()
    if claim.state is ClaimState.REQUESTED and _must_go(view):
        return _move(view, ClaimState.GONE, problem=claim.problem)
    if not view.sells:
        return _note(view, f"the plugin {view.cluster.adapter!r} is not installed, or sells nothing")
    return _BY_STATE[claim.state](view)


def _requested(view: ClaimView) -> ClaimDecision:
    if view.cluster.takes_tasks:
        return _buy(view, view.claim.machines_min)
    if not view.claim.tries_again and view.now - view.claim.since > PATIENCE:
        problem = f"cluster {view.cluster.name!r} has taken no tasks for {PATIENCE.total_seconds():g} s"
        return _move(view, ClaimState.GONE, problem=problem)
    return _later(view)


def _launching(view: ClaimView) -> ClaimDecision:
    if _must_go(view):
        return _move(view, ClaimState.TERMINATING, problem=view.claim.problem)
    return _hold(view)


def _ready(view: ClaimView) -> ClaimDecision:
    # Never straight to terminating: the cordon is committed before anybody counts what still runs there.
    return _move(view, ClaimState.DRAINING, problem=view.claim.problem) if _must_go(view) else _hold(view)


def _draining(view: ClaimView) -> ClaimDecision:
    if not _must_go(view):
        return _move(view, ClaimState.READY)
    if not view.has_tasks:
        return _move(view, ClaimState.TERMINATING, problem=view.claim.problem)
    match view.heard:
        case None:
            return _renewal(view) or _later(view)  # what runs there may run for long
        case Renewed(until=until):
            return ClaimDecision(
                save=view.claim.changed(renewed_until=until), look_again_at=view.now + view.poll
            )
        case _:
            return _later(view)


def _terminating(view: ClaimView) -> ClaimDecision:
    match view.heard:
        case None:
            return ClaimDecision(call=Terminate())
        case Terminated(answer=Termination.GOING):
            return _later(view)
        case Terminated() if view.now < _settled_at(view):
            return ClaimDecision(look_again_at=_settled_at(view))
        case Terminated():
            return ClaimDecision(call=ListOwned())
        case Listed() as listed if listed.asked_at >= _settled_at(view) and not _of_claim(view, listed):
            return _gone(view)
        case Delayed(message=message):
            return _note(view, message)
        case _:
            return _later(view)


def _gone(view: ClaimView) -> ClaimDecision:
    launch = _open_launch(view)
    resolved = launch and launch.resolve(
        LaunchOutcome.REFUSED, at=view.now, problem="the claim was released; nothing of it is left"
    )
    moved = _move(view, ClaimState.GONE, problem=view.claim.problem)
    return replace(moved, resolve=resolved, look_again_at=None)


def _hold(view: ClaimView) -> ClaimDecision:
    launch = _open_launch(view)
    return _tend(view) if launch is None else _pursue(view, launch)


def _pursue(view: ClaimView, launch: Launch) -> ClaimDecision:
    """Until the open launch is resolved, nothing else is bought."""
    match view.heard:
        case None:
            return _call_again(view, launch)
        case Granted(machines=machines):
            return _judge(view, launch, machines)
        case Listed(machines=machines):
            return _judge(view, launch, tuple(each for each in machines if each.launch_id == launch.id))
        case Refused(message=message):
            return _refused(view, launch, message)
        case Released():
            return _refused(view, launch, f"fewer than {launch.machines} machines came; they were given back")
        case Delayed(message=message, retry_after=retry_after):
            return _unanswered(view, launch, message) or _note(view, message, wait=retry_after)
        case _:
            return _later(view)


def _unanswered(view: ClaimView, launch: Launch, message: str) -> ClaimDecision | None:
    """Whoever can be served elsewhere waits no longer for a cloud that answers nothing, as with keys that were revoked.

    What the launch has brought up stays in the books until the cloud answers again. One that is merely busy, or runs
    what was bought before, is waited for.
    """
    is_busy = isinstance(view.heard, Delayed) and bool(view.heard.retry_after)
    is_late = view.now - launch.created_at > PATIENCE
    if is_busy or not is_late or view.claim.tries_again or view.claim.state is not ClaimState.LAUNCHING:
        return None
    waited = f"the cloud has not answered for {PATIENCE.total_seconds():g} s"
    return _move(view, ClaimState.TERMINATING, problem=f"{waited}: {message}")


def _call_again(view: ClaimView, launch: Launch) -> ClaimDecision:
    last = view.claim.last_launch_at
    is_new = (
        last is None or last < launch.created_at
    )  # it waited for its turn, and the cloud knows nothing of it
    if is_new or view.now - launch.created_at <= PATIENCE:
        return ClaimDecision(call=Ensure(launch=launch), save=view.claim.changed(last_launch_at=view.now))
    if view.now < _settled_at(view):
        return ClaimDecision(look_again_at=_settled_at(view))
    return ClaimDecision(call=ListOwned())


def _judge(view: ClaimView, launch: Launch, machines: tuple[OwnedMachine, ...]) -> ClaimDecision:
    """All or none: a part that came is of no use to a gang, and goes back before another zone is asked."""
    if len(machines) >= launch.machines:
        resolved = launch.resolve(LaunchOutcome.GRANTED, at=view.now)
        return ClaimDecision(
            resolve=resolved, save=view.claim.changed(problem=None), look_again_at=view.now + view.poll
        )
    if machines:
        return ClaimDecision(call=Release(members=_names(machines)))
    return _refused(view, launch, f"0 of {launch.machines} machines came")


def _refused(view: ClaimView, launch: Launch, message: str) -> ClaimDecision:
    """What is missing is known from the answer: it counts as the first of the two witnesses."""
    claim = view.claim
    saved = claim.changed(problem=message, missing_since=claim.missing_since or view.now)
    resolved = launch.resolve(LaunchOutcome.REFUSED, at=view.now, problem=message)
    return ClaimDecision(resolve=resolved, save=saved, look_again_at=view.now)


def _tend(view: ClaimView) -> ClaimDecision:
    """No launch is open: compares what is with what should be."""
    match view.heard:
        case Listed() as listed:
            return _compare(view, listed)
        case Stands(built=built):
            return _stands(view, built)
        case Delayed(message=message, retry_after=retry_after):
            return _given_up(view, message) or _note(view, message, wait=retry_after)
        case Renewed(until=until):
            return ClaimDecision(save=view.claim.changed(renewed_until=until), look_again_at=view.now)
        case Unrenewed(message=message):
            # What is there, what is missing and what is idle depends on no renewal.
            return replace(_note_when_ready(view, message), call=ListOwned(), look_again_at=None)
        case None:
            return _after_refusal(view) or _renewal(view) or ClaimDecision(call=ListOwned())
        case _:
            return _later(view)


def _renewal(view: ClaimView) -> ClaimDecision | None:
    """Long before the machines would end: a control plane that is away for a while must not lose them."""
    until = view.claim.renewed_until
    if not view.renews or (until is not None and until - view.now > view.dead_man / 2):
        return None
    return ClaimDecision(call=Renew(until=view.now + view.dead_man))


def _note_when_ready(view: ClaimView, problem: str) -> ClaimDecision:
    """Of a claim that is not, the list that follows tells what it waits for."""
    return _note(view, problem) if view.claim.state is ClaimState.READY else ClaimDecision()


def _after_refusal(view: ClaimView) -> ClaimDecision | None:
    """The next zone at once; where there is none, and nobody wants to wait for one, the end."""
    claim, last = view.claim, view.launches[-1]
    if last.outcome is not LaunchOutcome.REFUSED:
        return None
    if _has_next_zone(view):
        return _buy(view, last.machines) if view.cluster.takes_tasks else None
    if claim.state is ClaimState.LAUNCHING and not claim.tries_again:
        return _move(view, ClaimState.TERMINATING, problem=claim.problem)
    return None


def _stands(view: ClaimView, built: Built) -> ClaimDecision:
    if view.claim.state is ClaimState.LAUNCHING:
        return replace(_move(view, ClaimState.READY), stands=built)
    return replace(_calm(view), stands=built)


def _given_up(view: ClaimView, message: str) -> ClaimDecision | None:
    """Machines that came and never joined are of no use, and cost money."""
    granted = [launch for launch in view.launches if launch.outcome is LaunchOutcome.GRANTED]
    resolved_at = granted[-1].resolved_at if granted else None
    is_late = resolved_at is not None and view.now - resolved_at > view.boot_timeout
    if view.claim.state is not ClaimState.LAUNCHING or not is_late:
        return None
    waited = f"not ready {view.boot_timeout.total_seconds():g} s after its machines came"
    return _move(view, ClaimState.TERMINATING, problem=f"{waited}: {message}")


def _compare(view: ClaimView, listed: Listed) -> ClaimDecision:
    claim = view.claim
    granted = {launch.id for launch in view.launches if launch.outcome is LaunchOutcome.GRANTED}
    alive = tuple(each for each in _of_claim(view, listed) if each.state is not MachineState.STOPPING)
    # A launch that was refused has nothing to leave behind, whatever the cloud made of it.
    strays = tuple(each for each in alive if each.launch_id not in granted)
    if strays:
        return ClaimDecision(call=Release(members=_names(strays)))
    if view.head is not None and view.head not in _names(alive):
        problem = f"its head machine {view.head} is gone, and its Ray with it"
        return _not_yet(view, listed) or _move(view, ClaimState.TERMINATING, problem=problem)
    if never := _never_heard_of(view, alive):
        return ClaimDecision(call=Release(members=never))
    running = sum(each.state is MachineState.RUNNING for each in alive)
    if claim.state is ClaimState.LAUNCHING and running >= claim.machines_min:
        return _joining(view)
    is_grown = claim.state is ClaimState.READY and len(alive) >= claim.machines_min
    missing = (claim.machines_want if is_grown else claim.machines_min) - len(alive)
    if missing > 0:
        return _short(view, listed, missing)
    problems = sorted({each.problem for each in alive if each.problem})
    if claim.state is ClaimState.LAUNCHING:
        message = "; ".join(problems) or f"{running} of {claim.machines_min} machines run"
        return _given_up(view, message) or (_note(view, message) if problems else _calm(view))
    return ClaimDecision(call=Inspect()) if view.joining is Joining.BUILT else _calm(view)


def _joining(view: ClaimView) -> ClaimDecision:
    """All that are needed run; now for Ray."""
    match view.joining:
        case Joining.CLUSTER:
            return _move(view, ClaimState.READY)
        case Joining.BUILT:
            return ClaimDecision(call=Inspect())
        case Joining.CHECK_IN if view.joined >= view.claim.machines_min:
            return _move(view, ClaimState.READY)
        case Joining.CHECK_IN:
            message = f"{view.joined} of {view.claim.machines_min} machines have joined its Ray cluster"
            return _given_up(view, message) or _note(view, message)


def _never_heard_of(view: ClaimView, alive: tuple[OwnedMachine, ...]) -> tuple[str, ...]:
    """Bought for a claim that is ready, and silent ever since: they will not join, and cost money."""
    if view.joining is not Joining.CHECK_IN or view.claim.state is not ClaimState.READY:
        return ()
    late = {
        launch.id
        for launch in view.launches
        if launch.resolved_at is not None and view.now - launch.resolved_at > view.boot_timeout
    }
    return _names(tuple(each for each in alive if each.launch_id in late and each.name not in view.spoke))


def _not_yet(view: ClaimView, listed: Listed) -> ClaimDecision | None:
    """What to do until a second list has said that something is missing; None: it has."""
    claim = view.claim
    if listed.asked_at < _settled_at(view):
        return _later(view)
    if claim.missing_since is None:
        saved = claim.changed(missing_since=listed.asked_at)
        return ClaimDecision(save=saved, look_again_at=listed.asked_at + view.list_lag)
    return _later(view) if listed.asked_at < claim.missing_since + view.list_lag else None


def _short(view: ClaimView, listed: Listed, missing: int) -> ClaimDecision:
    claim, last = view.claim, view.launches[-1]
    if not_yet := _not_yet(view, listed):
        return not_yet
    refused_at = last.resolved_at if last.outcome is LaunchOutcome.REFUSED else None
    if refused_at is not None and listed.asked_at < refused_at + COOL_DOWN:
        return _later(view)
    if claim.shares or claim.wanted_by is not None:
        # An attempt cannot get a member back, and a plan chooses anew among all that is offered.
        what = "members" if claim.shares else "machines"
        why = "; ".join(sorted({each.problem for each in _of_claim(view, listed) if each.problem}))
        lost = f"{missing} of {claim.machines_min} {what} are gone" + (f": {why}" if why else "")
        return ClaimDecision(
            save=claim.changed(release_requested_at=view.now, problem=lost), look_again_at=view.now
        )
    return _buy(view, missing) if view.cluster.takes_tasks else _later(view)


def _calm(view: ClaimView) -> ClaimDecision:
    claim = view.claim
    is_ready, is_used = claim.state is ClaimState.READY, view.has_tasks or view.is_promised
    is_well = is_ready and _renewal(view) is None  # else it was refused just now, and is tried again soon
    saved = replace(
        claim,
        missing_since=None,
        problem=None if is_well else claim.problem,
        idle_since=None if is_used or claim.idle_seconds is None else claim.idle_since or view.now,
    )
    if _is_idle_for_too_long(saved, view.now):
        saved = replace(saved, release_requested_at=view.now, problem=f"idle for {claim.idle_seconds:g} s")
    polls = CALM_POLLS if is_well else 1
    return ClaimDecision(
        save=saved.changed() if saved != claim else None, look_again_at=view.now + polls * view.poll
    )


def _is_idle_for_too_long(claim: Claim, now: datetime) -> bool:
    if claim.idle_seconds is None or claim.idle_since is None or claim.state is not ClaimState.READY:
        return False
    return now - claim.idle_since >= timedelta(seconds=claim.idle_seconds)


def _buy(view: ClaimView, machines: int) -> ClaimDecision:
    """Writes the launch down. The call comes with a later decision, from the row."""
    claim = view.claim
    generation, ordinal = claim.generation + 1, 1
    if _has_next_zone(view):
        generation, ordinal = claim.generation, view.launches[-1].ordinal + 1
    launch = Launch(
        id=launch_id(claim.id, generation, ordinal),
        claim_id=claim.id,
        generation=generation,
        ordinal=ordinal,
        zone=claim.zones[ordinal - 1],
        machines=machines,
        created_at=view.now,
    )
    ahead = replace(claim, generation=generation, missing_since=None)
    is_first = claim.state is ClaimState.REQUESTED
    saved = ahead.move(ClaimState.LAUNCHING, at=view.now) if is_first else ahead.changed()
    return ClaimDecision(save=saved, add=launch, look_again_at=view.now)


def _has_next_zone(view: ClaimView) -> bool:
    """Whether this generation, which was refused so far, has a zone left."""
    last = view.launches[-1] if view.launches else None
    return last is not None and last.outcome is LaunchOutcome.REFUSED and last.ordinal < len(view.claim.zones)


def _must_go(view: ClaimView) -> bool:
    if view.claim.shares and not view.has_tasks:  # what it was built for is over
        return True
    leaving = (ClusterState.DRAINING, ClusterState.DETACHED)
    return view.claim.release_requested_at is not None or view.cluster.state in leaving


def _settled_at(view: ClaimView) -> datetime:
    """From here on a list shows whatever the last call that buys has brought up."""
    last = view.claim.last_launch_at
    if last is None:
        return view.claim.created_at
    return last + timedelta(seconds=ENSURE_SECONDS) + view.list_lag


def _open_launch(view: ClaimView) -> Launch | None:
    return next((launch for launch in view.launches if launch.is_open), None)


def _of_claim(view: ClaimView, listed: Listed) -> tuple[OwnedMachine, ...]:
    return tuple(each for each in listed.machines if each.claim_id == view.claim.id)


def _names(machines: tuple[OwnedMachine, ...]) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in machines))


def _move(view: ClaimView, new: ClaimState, *, problem: str | None = None) -> ClaimDecision:
    moved = replace(view.claim, missing_since=None, problem=problem).move(new, at=view.now)
    return ClaimDecision(save=moved, look_again_at=view.now if moved.is_live else None)


def _note(view: ClaimView, problem: str, *, wait: timedelta = timedelta()) -> ClaimDecision:
    """Once, and not at every look."""
    saved = None if problem == view.claim.problem else view.claim.changed(problem=problem)
    return ClaimDecision(save=saved, look_again_at=view.now + max(wait, view.poll))


def _later(view: ClaimView) -> ClaimDecision:
    return ClaimDecision(look_again_at=view.now + view.poll)


_BY_STATE: Final[Mapping[ClaimState, Callable[[ClaimView], ClaimDecision]]] = {
    ClaimState.REQUESTED: _requested,
    ClaimState.LAUNCHING: _launching,
    ClaimState.READY: _ready,
    ClaimState.DRAINING: _draining,
    ClaimState.TERMINATING: _terminating,
}
