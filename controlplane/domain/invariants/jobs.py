"""What must hold of a job, its attempts, their seats and records."""

from collections.abc import Iterator
from typing import Final

from controlplane.domain.attempts import ATTEMPT, Attempt, Outcome
from controlplane.domain.events import Event
from controlplane.domain.invariants.books import Dossier, is_kept_whole
from controlplane.domain.invariants.breaches import Breach, Rule
from controlplane.domain.invariants.floor import words
from controlplane.domain.invariants.walks import walk
from controlplane.domain.jobs import JOB, Ask, JobState

BLAMELESS: Final = frozenset(
    {Outcome.SUCCEEDED, Outcome.PREEMPTED, Outcome.EVICTED, Outcome.RESIZED, Outcome.LOST}
)
"""After these a job never fails: it has succeeded, or it is tried again."""

COORDINATOR: Final = -1
"""The rank that speaks for the whole attempt."""


def of_job(dossier: Dossier) -> Iterator[Breach]:
    """Raises nothing: whatever the rows hold, the answer is a list of breaches."""
    yield from _state_and_attempts(dossier)
    yield from _attempt_numbers(dossier)
    yield from _outcome(dossier)
    yield from _budget(dossier)
    for attempt in dossier.attempts:
        ask = next((each for each in dossier.asks if each.id == attempt.ask_id), None)
        yield from _seats(dossier, attempt, ask)
        yield from _records(dossier, attempt, ask)
        yield from _times(attempt)
    yield from _events(dossier)


def _state_and_attempts(dossier: Dossier) -> Iterator[Breach]:
    job = dossier.job
    live = [attempt.id for attempt in dossier.attempts if attempt.is_live]
    if job.state is JobState.ACTIVE and not dossier.attempts:
        yield Breach(rule=Rule.STATE_AND_ATTEMPTS, subject=job.id, sentence="is active without an attempt")
    if job.state is not JobState.ACTIVE and live:
        sentence = f"is {job.state}, but attempt {live[0]} lives"
        yield Breach(rule=Rule.STATE_AND_ATTEMPTS, subject=job.id, sentence=sentence)


def _attempt_numbers(dossier: Dossier) -> Iterator[Breach]:
    numbers = [attempt.number for attempt in dossier.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        sentence = f"its attempts are numbered {numbers}"
        yield Breach(rule=Rule.ATTEMPT_NUMBERS, subject=dossier.job.id, sentence=sentence)
    for attempt in dossier.attempts[:-1]:
        if attempt.is_live:
            sentence = f"attempt {attempt.number} of {len(numbers)} lives, which is not the newest"
            yield Breach(rule=Rule.ATTEMPT_NUMBERS, subject=dossier.job.id, sentence=sentence)


def _outcome(dossier: Dossier) -> Iterator[Breach]:
    job = dossier.job
    outcomes = [attempt.outcome for attempt in dossier.attempts]
    if Outcome.SUCCEEDED in outcomes[:-1]:
        sentence = f"ran again after an attempt that succeeded: {[str(each) for each in outcomes]}"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)
    newest = outcomes[-1] if outcomes else None
    if job.state is JobState.FAILED and newest in BLAMELESS:
        sentence = f"failed, but its newest attempt ended as {newest}, which is not its own doing"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)
    if job.state is JobState.SUCCEEDED and newest is not Outcome.SUCCEEDED:
        sentence = f"succeeded, but its newest attempt ended as {newest}"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)
    if newest is Outcome.SUCCEEDED and job.state not in (JobState.SUCCEEDED, JobState.ACTIVE):
        sentence = f"is {job.state}, but its newest attempt succeeded"
        yield Breach(rule=Rule.OUTCOME_DECIDES, subject=job.id, sentence=sentence)


def _budget(dossier: Dossier) -> Iterator[Breach]:
    failures = sum(attempt.outcome is Outcome.FAILED for attempt in dossier.attempts)
    limit = dossier.job.retry.max_attempts
    if failures > limit:
        sentence = f"{failures} attempts failed by the user's code; its retry policy allows {limit}"
        yield Breach(rule=Rule.RETRY_BUDGET, subject=dossier.job.id, sentence=sentence)


def _seats(dossier: Dossier, attempt: Attempt, ask: Ask | None) -> Iterator[Breach]:
    seats = [seat for seat in dossier.seats if seat.attempt_id == attempt.id]
    held = [seat for seat in seats if seat.released_at is None]
    if held and not attempt.is_live:
        sentence = f"has ended and still holds {len(held)} seats"
        yield Breach(rule=Rule.SEATS_NOT_RELEASED, subject=attempt.id, sentence=sentence)
    ranks = sorted(seat.rank for seat in (held if attempt.is_live else seats))
    if ask is None or ranks != list(range(len(ranks))) or not ask.fewest <= len(ranks) <= ask.tasks:
        verb = "holds" if attempt.is_live else "had"
        wanted = f"{ask.fewest} to {ask.tasks} tasks" if ask else "no ask"
        sentence = f"is {attempt.state} and {verb} the seats of ranks {ranks} for {wanted}"
        yield Breach(rule=Rule.SEATS_ARE_PLACEMENTS, subject=attempt.id, sentence=sentence)
    for seat in seats:
        if ask is not None and seat.amounts != ask.amounts_of(seat.rank):
            sentence = f"has a seat of another size than its ask, {words(ask.amounts_of(seat.rank))}"
            yield Breach(rule=Rule.SEATS_ARE_PLACEMENTS, subject=attempt.id, sentence=sentence)
            return


def _records(dossier: Dossier, attempt: Attempt, ask: Ask | None) -> Iterator[Breach]:
    for told in dossier.ranks:
        if told.attempt_id != attempt.id:
            continue
        if ask is not None and not COORDINATOR <= told.rank < ask.tasks:
            sentence = f"has records of rank {told.rank}, but its ask has {ask.tasks} tasks"
            yield Breach(rule=Rule.RANKS_OF_ASK, subject=attempt.id, sentence=sentence)
        if told.log_offset != told.log_bytes:
            sentence = (
                f"rank {told.rank} was told that {told.log_offset} bytes are kept, not {told.log_bytes}"
            )
            yield Breach(rule=Rule.LOG_IS_WHOLE, subject=attempt.id, sentence=sentence)


def _times(attempt: Attempt) -> Iterator[Breach]:
    told = [at for at in (attempt.placed_at, attempt.started_at, attempt.ended_at) if at is not None]
    if told != sorted(told):
        sentence = (
            f"was placed at {attempt.placed_at}, started {attempt.started_at}, ended {attempt.ended_at}"
        )
        yield Breach(rule=Rule.TIMES_IN_ORDER, subject=attempt.id, sentence=sentence)


def _events(dossier: Dossier) -> Iterator[Breach]:
    job, since = dossier.job, dossier.kept_since
    born_at = job.submitted_at if is_kept_whole(job.submitted_at, since) else None
    yield from walk(JOB, job, dossier.events, born_at=born_at, born_moved=str(JOB.initial))
    for attempt in dossier.attempts:
        born_at = attempt.placed_at if is_kept_whole(attempt.placed_at, since) else None
        yield from walk(ATTEMPT, attempt, dossier.events, born_at=born_at)
        yield from _told_outcome(attempt, dossier.events)


def _told_outcome(attempt: Attempt, events: tuple[Event, ...]) -> Iterator[Breach]:
    for event in events:
        told = event.data.get("outcome")
        if event.subject == attempt.id and event.kind == "attempt.ended" and told != attempt.outcome:
            sentence = f"its row says that it ended as {attempt.outcome}, its event as {told}"
            yield Breach(rule=Rule.EVENTS_TELL_ALL, subject=attempt.id, sentence=sentence)
