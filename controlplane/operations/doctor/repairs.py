"""Repairs: what may be put right without asking anybody. Each goes through the ordinary moves, and may be repeated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import PluginError
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, ClaimId, JobId
from controlplane.domain.invariants import Breach, Rule
from controlplane.domain.leases import LeaseState
from controlplane.operations.context import Context
from controlplane.operations.doctor.reports import Ports
from controlplane.operations.endpoints import endpoint_of
from controlplane.store import Tx

STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """What became of a repair."""

    sentence: str
    is_done: bool
    """False: there was nothing left to do, or it did not work."""


def repair(context: Context, ports: Ports, breach: Breach) -> Mend | None:
    """Does it and writes it down as an event; None when this breach is not for us to repair."""
    mend = _MENDS.get(breach.rule) or (None if breach.due is None else _poke)
    return None if mend is None else mend(context, ports, breach)


def note(context: Context, breach: Breach, what: str) -> None:
    """Writes down what was done outside of the database."""
    context.store.write(lambda tx: _tell(tx, breach, what))


def _release(context: Context, _: Ports, breach: Breach) -> Mend:
    def unit(tx: Tx) -> str | None:
        count = tx.repairs.release_seats(AttemptId(breach.subject))
        return f"released {count} seats" if count else None

    return _written(context, breach, unit)


def _forget_site(context: Context, _: Ports, breach: Breach) -> Mend:
    def unit(tx: Tx) -> str | None:
        claim_id = ClaimId(breach.subject)
        if claim_id not in tx.sites.of_nobody():
            return None
        tx.sites.end(claim_id)
        return "forgot the Ray cluster of a claim that is gone"

    return _written(context, breach, unit)


def _recount(context: Context, _: Ports, breach: Breach) -> Mend:
    def unit(tx: Tx) -> str | None:
        count = tx.repairs.recount()
        return f"put {count} counts right" if count else None

    return _written(context, breach, unit)


def _end_old_leases(context: Context, _: Ports, breach: Breach) -> Mend:
    def unit(tx: Tx) -> str | None:
        rows = [lease for lease in tx.leases.every() if lease.name == breach.subject]
        old = [lease for lease in rows[:-1] if lease.state is LeaseState.HELD]
        for lease in old:
            tx.leases.release(lease)
        return f"ended the leases with tokens {[lease.token for lease in old]}" if old else None

    return _written(context, breach, unit)


def _poke(context: Context, _: Ports, breach: Breach) -> Mend:
    due = breach.due
    if due is None:
        return Mend(sentence="nobody's look is due", is_done=False)

    def unit(tx: Tx) -> str:
        tx.work.poke(due.noun, due.id)
        return f"put {due.noun} {due.id} on the work list"

    return _written(context, breach, unit)


def _stop(context: Context, ports: Ports, breach: Breach) -> Mend | None:
    """Only what is ours for certain: its attempt is in our books, and has ended there."""
    if breach.cluster_id is None:
        return None
    attempt_id = AttemptId(breach.subject)
    with context.store.read() as tx:
        attempt, cluster = tx.attempts.get(attempt_id), tx.clusters.get(breach.cluster_id)
    endpoint = None if cluster is None else endpoint_of(context, cluster)
    if attempt is None or attempt.is_live or endpoint is None:
        return Mend(sentence="nothing is left to be stopped", is_done=False)
    try:
        ports.executor.stop(endpoint, attempt_id, deadline=STOP_SECONDS)
    except PluginError as problem:
        return Mend(sentence=f"could not be stopped: {problem.message}", is_done=False)
    what = "told the executor to stop it"
    note(context, breach, what)
    return Mend(sentence=what, is_done=True)


def _written(context: Context, breach: Breach, unit: Callable[[Tx], str | None]) -> Mend:
    """Runs it and, in the same transaction, tells of it if it did anything."""

    def whole(tx: Tx) -> str | None:
        what = unit(tx)
        if what is not None:
            _tell(tx, breach, what)
        return what

    done = context.store.write(whole)
    return Mend(sentence=done or "was right again already", is_done=done is not None)


def _tell(tx: Tx, breach: Breach, what: str) -> None:
    """In the story of its job, if it belongs to one."""
    attempt = tx.attempts.get(AttemptId(breach.subject))
    job = tx.jobs.get(JobId(breach.subject) if attempt is None else attempt.job_id)
    tx.events.add(
        Event(
            kind="doctor.repaired",
            subject=breach.subject,
            at=tx.now,
            project_id=None if job is None else job.project_id,
            job_id=None if job is None else job.id,
            data={"rule": breach.rule, "what": what, "why": breach.sentence},
        )
    )


_MENDS: Final[Mapping[Rule, Callable[[Context, Ports, Breach], Mend | None]]] = {
    Rule.SEATS_NOT_RELEASED: _release,
    Rule.COUNTS: _recount,
    Rule.ONE_HOLDER: _end_old_leases,
    Rule.PROCESS_OF_NOBODY: _stop,
    Rule.SITE_OF_NOBODY: _forget_site,
}
