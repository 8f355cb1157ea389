"""Bulk: thousands of jobs in one call, each accepted or refused by itself.

They are written in units, so that nobody waits long for the database. With an idempotency key each unit remembers its
own part of the answer, in the transaction that writes it: when the call breaks off in the middle and is sent again, the
units that were written are answered from memory and the rest is written.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final

from controlplane.domain.errors import KeyReused, UserError
from controlplane.domain.ids import JobId
from controlplane.domain.jobs import Job
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations import sources
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, Replay, write_once
from controlplane.operations.submission import Desk, Draft, examine, ids_of, open_desk, write
from controlplane.store import NewJob, NewRows, Store, Tx, rows_of
from controlplane.wire.jobspec import JobSpec

UNIT: Final = 200
"""Jobs that are committed together: some 20 ms in which no other process writes to SQLite."""

SEPARATOR: Final = "\x1f"
"""Between a call's key and the place of a unit. No caller's key holds it: those are printable."""

HINT: Final = "; a bulk call knows jobs by their ids alone, a batch knows its own by name"

Entry = tuple[JobSpec, str] | UserError
"""A spec with its JSON as it was sent, or why it is none."""

Verdict = Job | UserError
Render = Callable[[Sequence[Verdict]], str]
Examined = Sequence[NewJob | UserError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one unit writes and answers, made before the database is asked for anything."""

    new: tuple[NewJob, ...]
    rows: NewRows
    readers: tuple[JobId, ...]
    """Those that may read objects."""

    answer: str


def submit_each(
    context: Context,
    principal: Principal,
    entries: Iterable[Entry],
    render: Render,
    *,
    once: Once[str] | None = None,
) -> list[str]:
    """The rendered verdicts in the order of the entries, one text for each `UNIT` of them.

    Entries are taken as they are needed: one unit is made ready while the one before is written.
    """
    authorize(principal, Action.SUBMIT)
    answers: list[str] = []
    under_way: Future[str] | None = None
    for number, unit in enumerate(_units(entries)):
        examined = _examined(context, principal, unit)
        part = _part(examined, render)
        if under_way is not None:
            # Whatever stops one unit stops the call: what is written is always a beginning of it.
            answers.append(under_way.result())
        deed = partial(_answered, context.store, examined, part, render, _of_unit(once, number))
        under_way = context.pace.write(deed)
    return answers if under_way is None else [*answers, under_way.result()]


def _units(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    taken = iter(entries)
    while unit := list(islice(taken, UNIT)):
        yield unit


def _of_unit(once: Once[str] | None, number: int) -> Once[str] | None:
    """The first bears the call's own key, so that a key stands for one request of whatever kind."""
    return replace(once, key=f"{once.key}{SEPARATOR}{number}") if once is not None and number else once


def _examined(context: Context, principal: Principal, entries: Sequence[Entry]) -> Examined:
    """Outside the write, which then holds nobody up with arithmetic."""
    # Of jobs that come at the same moment the smaller id goes first: they keep the order of the request.
    ids = sorted(context.ids.new("job") for _ in entries)
    with context.store.read() as tx:
        desk = replace(open_desk(tx, principal), unknown_job_hint=HINT)
        desk.jobs([each for entry in entries if isinstance(entry, tuple) for each in ids_of(entry[0])])
        return [_verdict(desk, entry, JobId(id_)) for entry, id_ in zip(entries, ids, strict=True)]


def _verdict(desk: Desk, entry: Entry, job_id: JobId) -> NewJob | UserError:
    if isinstance(entry, UserError):
        return entry
    spec, spec_json = entry
    try:
        return examine(desk, Draft(spec=spec, spec_json=spec_json, job_id=job_id, depends_on=ids_of(spec)))
    except UserError as refused:
        return refused


def _part(examined: Examined, render: Render) -> Part:
    new = tuple(each for each in examined if isinstance(each, NewJob))
    verdicts = [each.job if isinstance(each, NewJob) else each for each in examined]
    readers = tuple(each.job.id for each in new if sources.may_read(each.spec))
    return Part(new=new, rows=rows_of(new), readers=readers, answer=render(verdicts))


def _answered(store: Store, examined: Examined, part: Part, render: Render, once: Once[str] | None) -> str:
    """Writes the unit, or what is left of it. Answers from memory if it was written before."""
    try:
        return _written(store, part, once)
    except Replay as before:
        return before.remembered.body
    except KeyReused:
        raise
    except UserError:
        # One that the database refuses takes its unit along: the losers drop out, the others go in together.
        return _written(store, _part(_tried(store, examined), render), once)


def _written(store: Store, part: Part, once: Once[str] | None) -> str:
    if not part.new and once is None:
        return part.answer

    def unit(tx: Tx) -> str:
        write(tx, part.new, part.rows)
        if part.readers:  # stores may have come or gone since they were examined
            sources.follow(tx, part.readers)
        return part.answer

    return write_once(store, unit, once)


def _tried(store: Store, examined: Examined) -> Examined:
    """Puts what the database says in the place of those that it refuses."""
    return [_refusal(store, each) or each if isinstance(each, NewJob) else each for each in examined]


class _TakenBack(Exception):
    """It would have been written."""


def _refusal(store: Store, new: NewJob) -> UserError | None:
    """What the database says to it alone; nothing is kept."""

    def unit(tx: Tx) -> None:
        write(tx, (new,))
        raise _TakenBack

    try:
        store.write(unit)
    except UserError as refused:
        return refused
    except _TakenBack:
        pass
    return None
