"""Planted bugs: each is a mistake that somebody made, here or elsewhere, as an edit of our source.

`python -m tests.sim plants` applies them one at a time to a copy of the tree and reports within how many seeds each is
caught. A plant whose text is no longer found has to be planted anew: the net is only as good as the fish it was shown.
Issue numbers are of the projects named; what is planted is the same mistake in our terms.
"""

from dataclasses import dataclass
from typing import Final

ATTEMPTS: Final = "controlplane/reconcilers/attempts.py"
CLAIMS: Final = "controlplane/reconcilers/claims.py"
JOBS: Final = "controlplane/reconcilers/jobs.py"
PLACEMENTS: Final = "controlplane/operations/placements.py"
FLOORS: Final = "controlplane/operations/floors.py"
PICTURES: Final = "controlplane/runtime/pictures.py"
RECORDS: Final = "controlplane/operations/records.py"
SCHEDULING: Final = "controlplane/runtime/scheduling.py"
STORED_ATTEMPTS: Final = "controlplane/store/attempts.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    name: str
    edits: tuple[Edit, ...]
    seen_in: str = ""
    """An upstream issue with the same mistake."""

    net: str = "seeds"
    """Which test has to catch it: `seeds`, `histories`, `hashes` or a test file."""


def plant(name: str, path: str, old: str, new: str, *, seen_in: str = "", net: str = "seeds") -> Plant:
    return Plant(name=name, edits=(Edit(path=path, old=old, new=new),), seen_in=seen_in, net=net)


PLANTS: Final = (
    plant(
        "unreachable treated as failed",
        ATTEMPTS,
        "        case Looked(observation=seen) if seen.phase is Phase.EXITED:\n            return _end_by_executor",
        "        case SawNothing():\n            return _end(view, Outcome.LOST, 'unreachable')\n"
        "        case Looked(observation=seen) if seen.phase is Phase.EXITED:\n            return _end_by_executor",
        seen_in="skypilot #10123, #10157; dstack #2346",
    ),
    plant(
        "a stop that was told counts as done",
        ATTEMPTS,
        "        case StopTold():\n            return AttemptDecision(call=Look())",
        "        case StopTold():\n            return _end(view, outcome, attempt.reason)",
        seen_in="dstack #4285",
    ),
    plant(
        "clock skew forgotten",
        "controlplane/domain/attempts.py",
        "else self.lease_until + skew",
        "else self.lease_until - skew",
    ),
    plant(
        "one rank's exit ends the gang",
        ATTEMPTS,
        "if each.rank == COORDINATOR and each.exit_reason is not None",
        "if each.exit_reason is not None",
        seen_in="dstack #3130, #4146",
    ),
    Plant(
        name="late start not fenced",
        edits=(
            Edit(
                path=RECORDS,
                old="    if not attempt.is_live:\n        if not batch",
                new="    if not attempt.is_live and not batch.says_hello:\n        if not batch",
            ),
            Edit(
                path=RECORDS,
                old="    if row.acked_seq and not tx",
                new="    if not batch.says_hello and not tx",
            ),
        ),
        seen_in="skypilot #6133",
    ),
    plant(
        "an end decided before the last words came is kept",
        "controlplane/runtime/attempts.py",
        "        tx.attempts.check_unheard([AttemptId(turn.item.id) for turn in turns if turn.ends_unheard])\n",
        "",
        net="tests/unit/runtime/test_flow.py",
    ),
    plant(
        "exit record dropped",
        RECORDS,
        "tx.records.save_rank(attempt.id, COORDINATOR, ended)",
        "pass",
        seen_in="skypilot #9189, #6133",
    ),
    Plant(
        name="an eviction uses up the user's retry budget",
        edits=(
            Edit(
                path=JOBS, old="    if outcome in FREE_OF_CHARGE:", new="    if outcome is Outcome.PREEMPTED:"
            ),
            Edit(
                path="controlplane/runtime/jobs.py",
                old="failures=outcomes.count(Outcome.FAILED),",
                new="failures=len(outcomes),",
            ),
        ),
        seen_in="skypilot #5031",
    ),
    plant(
        "forgotten requeue",
        JOBS,
        "        return _again(view, attempt, view.now + waits if waits else None)",
        "        return JobDecision()",
        seen_in="armada #4340",
    ),
    plant(
        "retry budget not counted",
        JOBS,
        "if view.job.retry.wants_another(failures=view.failures,",
        "if view.job.retry.wants_another(failures=0,",
        seen_in="dstack #3130",
    ),
    plant(
        "terminal state left",
        JOBS,
        "    if view.job.is_finished:\n        return JobDecision()\n    match",
        "    match",
    ),
    Plant(
        name="every job of a plan is given the same free room",
        edits=(
            Edit(
                path="schedulers/priority.py",
                old="self.free[each.node_id] = self.free[each.node_id].minus(amounts)",
                new="pass",
            ),
            Edit(
                path=FLOORS,
                old="            if not amounts.fits_in(self._unpromised(place.ask_id, node.id, free)):",
                new="            if False:",
            ),
        ),
        seen_in="karmada #6518",
    ),
    Plant(
        name="placed on a cluster that is being left",
        edits=(
            Edit(
                path="schedulers/priority.py",
                old="if cluster.blocked is not None or not",
                new="if not",
            ),
            Edit(
                path=PICTURES,
                old="open_ids = {view.id for view in views if view.blocked is None}",
                new="open_ids = {view.id for view in views}",
            ),
            Edit(path=FLOORS, old="if not self.cluster.takes_tasks:", new="if False:"),
        ),
        seen_in="dstack #3449",
    ),
    plant(
        "placed though it was cancelled meanwhile",
        PLACEMENTS,
        "job.state is JobState.QUEUED and job.cancel_requested_at is None",
        "True",
        seen_in="skypilot #4410",
    ),
    Plant(
        name="half a gang is placed",
        edits=(
            Edit(
                path="schedulers/seating.py",
                old="        if len(found) < role.tasks:\n            return ()\n",
                new="",
            ),
            Edit(
                path="schedulers/priority.py",
                old="for each, amounts in zip(seats, sizes, strict=True):",
                new="for each, amounts in zip(seats, sizes, strict=False):",
            ),
            Edit(
                path=FLOORS,
                old="return ask.fewest <= len(ranks) <= ask.tasks and",
                new="return",
            ),
        ),
        seen_in="kai-scheduler #500, kuberay #4066, yunikorn #234",
    ),
    plant(
        "every task gets what the first role needs",
        FLOORS,
        "amounts=ask.amounts_of(each.rank),",
        "amounts=ask.amounts,",
    ),
    plant(
        "seats released before the attempt ended",
        STORED_ATTEMPTS,
        "ended = [(each.id, each.ended_at) for each in attempts if each.ended_at is not None]",
        "ended = [(each.id, each.since) for each in attempts if each.stop_requested_at or each.ended_at]",
        seen_in="volcano #5805",
    ),
    plant(
        "ended in silence though the lease was renewed meanwhile",
        STORED_ATTEMPTS,
        "if not each.is_live and each.exit_code is None])",
        "if False])",
        seen_in="skypilot #10155",
    ),
    plant(
        "a move without its event",
        STORED_ATTEMPTS,
        "for each, origin in moved if origin is not None))",
        "for each, origin in moved if origin is not None and each.is_live))",
    ),
    plant(
        "lost wake-up: a poke during a claim is dropped",
        "controlplane/store/work.py",
        "            if next_at is None and poked_for is None:",
        "            if next_at is None:",
        seen_in="dstack #4293",
    ),
    plant(
        "wrong read order: rows before the feed's cursor, in two reads",
        SCHEDULING,
        "        with self._store.read() as tx:  # one snapshot: rows and cursor belong together\n"
        "            seen, cursor = snapshot(tx, self._sight), tx.events.head()",
        "        with self._store.read() as tx:\n            seen = snapshot(tx, self._sight)\n"
        "        with self._store.read() as tx:\n            cursor = tx.events.head()",
        net="tests/unit/runtime/test_flow.py",
    ),
    plant(
        "set iteration in a plan",
        "schedulers/priority.py",
        "ordered = tuple(sorted(clusters, key=lambda cluster: (cluster.name, cluster.id)))",
        "ordered = tuple(frozenset(clusters))",
        net="hashes",
    ),
    Plant(
        name="an answered request is not remembered",
        edits=(
            Edit(
                path="controlplane/operations/idempotency.py",
                old="        if before is not None:\n            return before, None",
                new="        if False:\n            return before, None",
            ),
            Edit(
                path="controlplane/operations/idempotency.py",
                old="        body = once.render(result)\n        tx.idempotency.put(",
                new="        body = once.render(result)\n        (lambda *_: None)(",
            ),
        ),
    ),
    plant(
        "the row before the bytes",
        "controlplane/operations/uploads.py",
        "    context.objects.put(upload_key(digest), file)\n",
        "    context.store.write(lambda tx: tx.uploads.add(digest, size_bytes, tx.now))\n"
        "    context.objects.put(upload_key(digest), file)\n",
    ),
    plant(
        "launch before its row is durable",
        CLAIMS,
        "def _requested(view: ClaimView) -> ClaimDecision:\n",
        "def _requested(view: ClaimView) -> ClaimDecision:\n"
        "    if view.heard is None:\n"
        "        first = _buy(view, view.claim.machines_min).add\n"
        "        return ClaimDecision(call=Ensure(launch=first))\n",
        seen_in="dstack #3453",
    ),
    plant(
        "launch id reused in another zone",
        "controlplane/domain/claims.py",
        'return LaunchId(f"{claim_id}-g{generation}-l{ordinal}")',
        'return LaunchId(f"{claim_id}-g{generation}-l{min(ordinal, 1)}")',
    ),
    Plant(
        name="a lost answer is taken for a refusal, and what it bought for ours",
        edits=(
            Edit(
                path="controlplane/runtime/claims.py",
                old="    except (NoCapacity, QuotaExceeded, Rejected) as refused:",
                new="    except PluginError as refused:",
            ),
            Edit(path=CLAIMS, old="    if strays:\n", new="    if False:\n"),
        ),
        seen_in="skypilot #4431",
    ),
    plant(
        "termination given up",
        CLAIMS,
        "        case Terminated(answer=Termination.GOING):\n            return _later(view)",
        "        case Terminated(answer=Termination.GOING) if view.now < view.claim.since:\n"
        "            return _later(view)\n"
        "        case Terminated() | Delayed() if view.claim.version > 0:\n            return _gone(view)",
        seen_in="dstack #1551",
    ),
    plant(
        "absence from a lagging list believed at once",
        CLAIMS,
        "    if not_yet := _not_yet(view, listed):\n        return not_yet\n    refused_at",
        "    return _buy(view, missing)\n    refused_at",
        seen_in="skypilot #4443",
    ),
    plant(
        "feed cursor by seq alone",
        "controlplane/store/events.py",
        "        return Cursor(xid=oldest_open - 1, seq=newest_seq)",
        "        return Cursor(xid=2**62, seq=newest_seq)",
        net="tests/store/test_events.py",
    ),
    Plant(
        name="missing fencing check",
        edits=(
            Edit(
                path=PLACEMENTS,
                old="    tx.leases.fence(lease)\n    seen = _Seen.load",
                new="    seen = _Seen.load",
            ),
            Edit(
                path=PLACEMENTS,
                old="    tx.leases.fence(lease)\n    tx.reasons.put_many",
                new="    tx.reasons.put_many",
            ),
        ),
        net="tests/races/test_takeover.py",
    ),
    plant(
        "an heir that is archived stays written on seats",
        "controlplane/store/retention.py",
        "        _DISINHERIT,\n",
        "",
    ),
)
