"""What must hold of the parts that keep everything moving: work list, reasons, the table of legal moves."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, Final

from controlplane.domain.attempts import AttemptState
from controlplane.domain.invariants.books import Dossier, WaitingClass
from controlplane.domain.invariants.breaches import Breach, Due, Rule
from controlplane.domain.jobs import Job, JobState
from controlplane.domain.lifecycles import Lifecycle

PATIENCE: Final = timedelta(minutes=3)
"""Several rounds of the sweep: what it would have put right by itself is not worth a word."""


def of_unwatched(due: Due, since: datetime, *, now: datetime) -> Iterator[Breach]:
    """About what is not on the work list, although since then something has to be done about it."""
    if now - since > PATIENCE:
        sentence = f"waits to be looked at since {since:%Y-%m-%dT%H:%M:%SZ} and is on no loop's list"
        yield Breach(rule=Rule.NOBODY_LOOKS, subject=due.id, sentence=sentence, due=due)


def waits_since(dossier: Dossier, dependencies: Sequence[Job]) -> datetime | None:
    """Since when the job loop has something to do about a job. None: it has not."""
    match dossier.job.state:
        case JobState.HELD:
            return _held_since(dossier.job, dependencies)
        case JobState.QUEUED:
            return dossier.job.cancel_requested_at
        case JobState.ACTIVE:
            return _active_since(dossier)
        case _:
            return None


def of_waiting(
    waiting: WaitingClass, codes: AbstractSet[str], *, now: datetime, has_scheduler: bool
) -> Iterator[Breach]:
    """`codes`: the closed list. Without a scheduler nobody can say why something waits."""
    if waiting.code is not None and waiting.code not in codes:
        sentence = f"{waiting.asks} asks wait for {waiting.code!r}, which is not in the closed list"
        yield Breach(rule=Rule.UNEXPLAINED_WAIT, subject=waiting.class_id, sentence=sentence)
    if waiting.code is None and has_scheduler and now - waiting.waits_since > PATIENCE:
        since = f"{waiting.waits_since:%Y-%m-%dT%H:%M:%SZ}"
        sentence = f"{waiting.asks} asks wait since {since} and nobody has said why"
        yield Breach(rule=Rule.UNEXPLAINED_WAIT, subject=waiting.class_id, sentence=sentence)


# `Any`: the lifecycle of any noun.
def of_edges(
    rows: AbstractSet[tuple[str, str, str]], lifecycles: Sequence[Lifecycle[Any]]
) -> Iterator[Breach]:
    """`rows`: noun, old and new state, as the database believes them to be legal."""
    legal = {(each.noun, old, new) for each in lifecycles for old, new in each.pairs()}
    for noun, old, new in sorted(rows ^ legal):
        what = "is missing" if (noun, old, new) in legal else "is too much"
        yield Breach(rule=Rule.EDGES, subject=noun, sentence=f"{old} -> {new} {what} in the table of moves")


def _held_since(job: Job, dependencies: Sequence[Job]) -> datetime | None:
    lost = [each.since for each in dependencies if each.is_finished and each.state is not JobState.SUCCEEDED]
    ends = lost if job.cancel_requested_at is None else [*lost, job.cancel_requested_at]
    if ends:
        return max(job.since, min(ends))
    if all(each.state is JobState.SUCCEEDED for each in dependencies):
        return max([job.since, *(each.since for each in dependencies)])
    return None


def _active_since(dossier: Dossier) -> datetime | None:
    job = dossier.job
    if not dossier.attempts:
        return job.since
    newest = dossier.attempts[-1]
    if not newest.is_live:
        return newest.ended_at
    if newest.state is AttemptState.STOPPING:
        return None
    if job.cancel_requested_at is not None:
        return max(job.cancel_requested_at, newest.placed_at)
    if job.max_runtime_seconds is None or newest.started_at is None:
        return None
    return newest.started_at + timedelta(seconds=job.max_runtime_seconds)
