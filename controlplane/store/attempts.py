"""Attempts' table, and the seats they hold."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import bindparam, case, exists, func, or_, select, update

from controlplane.domain.attempts import COORDINATOR, Attempt, AttemptState, Outcome, Seat
from controlplane.domain.events import Event
from controlplane.domain.ids import AskId, AttemptId, ClaimId, ClusterId, JobId, NodeId, ProjectId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves, stale
from controlplane.store.rows import (
    Row,
    amounts_of,
    amounts_params,
    micros,
    micros_or_none,
    moment,
    moment_or_none,
    remembered,
)
from controlplane.store.schema import ATTEMPTS, NODES, RANKS, SEATS, WORK
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = ATTEMPTS.c
_S: Final = SEATS.c
COLUMNS: Final = (
    _C.id,
    _C.job_id,
    _C.ask_id,
    _C.project_id,
    _C.cluster_id,
    _C.number,
    _C.state,
    _C.since,
    _C.placed_at,
    _C.version,
    _C.outcome,
    _C.exit_code,
    _C.reason,
    _C.started_at,
    _C.ended_at,
    _C.lease_until,
    _C.stop_outcome,
    _C.stop_requested_at,
    _C.session,
    _C.claim_id,
    _C.came_from,
)
_ATTEMPT: Final = select(*COLUMNS)
_IS_LIVE: Final = _C.state != fixed(AttemptState.ENDED)
_LATER: Final = bound("lease_until")
_LATEST_LEASE: Final = case(
    (or_(_C.lease_until.is_(None), _C.lease_until < _LATER), _LATER), else_=_C.lease_until
)
_GIVEN_ONCE: Final = frozenset(
    {"job_id", "ask_id", "project_id", "cluster_id", "claim_id", "number", "placed_at"}
)

_MOVES: Final = Moves("attempt", ATTEMPTS, fixed_columns=_GIVEN_ONCE, values={"lease_until": _LATEST_LEASE})
_ADD: Final = inserted(ATTEMPTS)
_GET: Final = Statement(_ATTEMPT.where(_C.id == bindparam("id")))
_MANY: Final = Statement(_ATTEMPT.where(is_in(_C.id, "ids")))
_OF_JOBS: Final = Statement(_ATTEMPT.where(is_in(_C.job_id, "ids")).order_by(_C.job_id, _C.number))
_NUMBERS: Final = Statement(
    select(_C.job_id, func.max(_C.number)).where(is_in(_C.job_id, "ids")).group_by(_C.job_id)
)
_LIVE_IDS: Final = Statement(select(_C.id).where(_IS_LIVE, _C.cluster_id == bindparam("id")).order_by(_C.id))
_LIVE_OF_CLAIM: Final = Statement(
    select(_C.id).where(_C.claim_id.is_not(None), _IS_LIVE, _C.claim_id == bindparam("id")).order_by(_C.id)
)
_COUNT_LIVE: Final = Statement(
    select(func.count()).select_from(ATTEMPTS).where(_IS_LIVE, _C.cluster_id == bindparam("id"))
)
_WAITING: Final = Statement(
    select(_C.id)
    .where(
        _IS_LIVE,
        _C.cluster_id == bindparam("id"),
        _C.state == fixed(AttemptState.PLACED),
        WORK.c.noun == fixed("attempt"),
        WORK.c.id == _C.id,
        WORK.c.holder.is_(None),
        WORK.c.due_at > bound("now"),
    )
    .order_by(_C.placed_at, _C.id)
    .limit(bound("limit"))
)
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _IS_LIVE,
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("attempt"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_LIVE_OF_JOBS: Final = Statement(_ATTEMPT.where(_IS_LIVE, is_in(_C.job_id, "ids")).order_by(_C.id))
_STARTING: Final = Statement(
    select(func.count())
    .select_from(ATTEMPTS)
    .where(_IS_LIVE, _C.cluster_id == bindparam("id"), _C.state == fixed(AttemptState.STARTING))
)
_OUTCOMES: Final = Statement(
    select(_C.outcome).where(_C.job_id == bindparam("id"), _C.outcome.is_not(None)).order_by(_C.number.desc())
)
_EXTEND: Final = Statement(
    update(ATTEMPTS).where(_C.id == bindparam("id"), _IS_LIVE).values(lease_until=_LATEST_LEASE),
    table=ATTEMPTS,
)
_LEASES: Final = Statement(
    select(_C.id, func.coalesce(_C.lease_until, 0))
    .where(is_in(_C.id, "ids"))
    .order_by(_C.id)
    .with_for_update()
)
_TOLD: Final = Statement(
    select(RANKS.c.attempt_id)
    .where(is_in(RANKS.c.attempt_id, "ids"), RANKS.c.rank == bound("whole"), RANKS.c.exit_reason.is_not(None))
    .order_by(RANKS.c.attempt_id)
)
_ADD_SEAT: Final = inserted(SEATS)
_RELEASE_SEATS: Final = Statement(
    update(SEATS)
    .where(_S.attempt_id == bindparam("id"), _S.released_at.is_(None))
    .values(released_at=bindparam("released_at")),
    table=SEATS,
)
_SEATS: Final = Statement(
    select(
        _S.attempt_id,
        _S.rank,
        _S.node_id,
        _S.heir,
        _S.cpu_milli,
        _S.memory_bytes,
        _S.gpu_milli,
        _S.custom_milli,
    )
    .where(is_in(_S.attempt_id, "ids"))
    .order_by(_S.attempt_id, _S.rank)
)
_NODES_GONE: Final = Statement(
    select(_S.attempt_id, NODES.c.name)
    .where(
        is_in(_S.attempt_id, "ids"),
        NODES.c.id == _S.node_id,
        or_(NODES.c.gone_at.is_not(None), NODES.c.leaving_at.is_not(None)),
    )
    .order_by(_S.attempt_id, _S.rank.desc())  # the lowest rank's comes last
)
_ON_NODE: Final = Statement(
    select(_S.attempt_id)
    .distinct()
    .where(_S.node_id == bindparam("id"), _S.released_at.is_(None))
    .order_by(_S.attempt_id)
)


class Attempts:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, attempt: Attempt, seats: Sequence[Seat]) -> None:
        """Together with its seats. A second live attempt of the same ask is a `Conflict`."""
        self.add_many([(attempt, seats)])

    def add_many(self, new: Sequence[tuple[Attempt, Sequence[Seat]]]) -> None:
        attempts = [attempt for attempt, _ in new]
        self._link.change_all(_ADD, [_params(each) | {"came_from": each.came_from} for each in attempts])
        self._link.change_all(_ADD_SEAT, [_seat_params(seat) for _, seats in new for seat in seats])
        self._events.add(*(_event(each, came_from=each.came_from) for each in attempts))

    def get(self, attempt_id: AttemptId) -> Attempt | None:
        row = self._link.row(_GET, {"id": attempt_id})
        return None if row is None else attempt_of(row)

    def many(self, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, Attempt]:
        """Unknown ones are left out."""
        found = map(attempt_of, self._link.rows(_MANY, {"ids": listed(attempt_ids)}))
        return {attempt.id: attempt for attempt in found}

    def save(self, attempt: Attempt) -> None:
        """Raises `StaleWrite` unless the row is one version behind. Releases the seats when it has ended.

        An end without an exit code rests on silence, so it is stale too when the lease was extended meanwhile.
        """
        self.save_many([attempt])

    def save_many(self, attempts: Sequence[Attempt]) -> None:
        """All or, raising what `save` raises, none that may be kept."""
        self._check_silence([each for each in attempts if not each.is_live and each.exit_code is None])
        origins = _MOVES.save_many(self._link, [_params(each) for each in attempts])
        ended = [(each.id, each.ended_at) for each in attempts if each.ended_at is not None]
        self._link.change_all(
            _RELEASE_SEATS, [{"id": id_, "released_at": micros(ended_at)} for id_, ended_at in ended]
        )
        moved = zip(attempts, origins, strict=True)
        self._events.add(*(_event(each, came_from=origin) for each, origin in moved if origin is not None))

    def check_unheard(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Raises `StaleWrite` if one of them has its final exit record by now; none comes before the commit."""
        if not attempt_ids:
            return
        ids = {"ids": listed(attempt_ids)}
        # First the lock: whoever brings a record extends the lease behind it, and is refused once the end is kept.
        self._link.rows(_LEASES, ids)
        told = self._link.row(_TOLD, ids | {"whole": COORDINATOR})
        if told is not None:
            raise stale("attempt", told[0])

    def of_job(self, job_id: JobId) -> list[Attempt]:
        """By number."""
        return self.of_jobs([job_id]).get(job_id, [])

    def of_jobs(self, job_ids: Sequence[JobId]) -> dict[JobId, list[Attempt]]:
        """Each job's by number; jobs without any are left out."""
        found: dict[JobId, list[Attempt]] = {}
        for row in self._link.rows(_OF_JOBS, {"ids": listed(job_ids)}):
            attempt = attempt_of(row)
            found.setdefault(attempt.job_id, []).append(attempt)
        return found

    def newest_numbers(self, job_ids: Sequence[JobId]) -> dict[JobId, int]:
        """Jobs without an attempt are left out."""
        return {JobId(row[0]): row[1] for row in self._link.rows(_NUMBERS, {"ids": listed(job_ids)})}

    def live_of_job(self, job_id: JobId) -> Attempt | None:
        return self.live_of_jobs([job_id]).get(job_id)

    def live_of_jobs(self, job_ids: Sequence[JobId]) -> dict[JobId, Attempt]:
        live = map(attempt_of, self._link.rows(_LIVE_OF_JOBS, {"ids": listed(job_ids)}))
        return {attempt.job_id: attempt for attempt in live}

    def live(self, cluster_id: ClusterId | None = None) -> list[Attempt]:
        rows = self._link.rows(_live(of_a_cluster=cluster_id is not None), {"id": cluster_id})
        return [attempt_of(row) for row in rows]

    def live_ids(self, cluster_id: ClusterId) -> list[AttemptId]:
        return [AttemptId(row[0]) for row in self._link.rows(_LIVE_IDS, {"id": cluster_id})]

    def live_of_claim(self, claim_id: ClaimId) -> list[AttemptId]:
        """Those whose tasks run on the Ray cluster of a claim, or will."""
        return [AttemptId(row[0]) for row in self._link.rows(_LIVE_OF_CLAIM, {"id": claim_id})]

    def count_live(self, cluster_id: ClusterId) -> int:
        row = self._link.row(_COUNT_LIVE, {"id": cluster_id})
        return 0 if row is None else int(row[0])

    def waiting_to_start(self, cluster_id: ClusterId, limit: int) -> list[AttemptId]:
        """Placed ones that nobody is at or will be at before their time; the longest placed first."""
        params = {"id": cluster_id, "now": self._link.now_us, "limit": limit}
        return [AttemptId(row[0]) for row in self._link.rows(_WAITING, params)]

    def unwatched(self, after: str, limit: int) -> list[AttemptId]:
        """Live ones that no loop will ever look at, by id; `after` is the id last seen."""
        return [AttemptId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def on_node(self, node_id: NodeId) -> list[AttemptId]:
        """Those that hold a seat there."""
        return [AttemptId(row[0]) for row in self._link.rows(_ON_NODE, {"id": node_id})]

    def count_starting(self, cluster_id: ClusterId) -> int:
        row = self._link.row(_STARTING, {"id": cluster_id})
        return 0 if row is None else int(row[0])

    def seats(self, attempt_id: AttemptId) -> list[Seat]:
        """By rank, released ones included."""
        return self.seats_of([attempt_id]).get(attempt_id, [])

    def seats_of(self, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, list[Seat]]:
        """Each attempt's by rank, released ones included."""
        found: dict[AttemptId, list[Seat]] = {}
        for row in self._link.rows(_SEATS, {"ids": listed(attempt_ids)}):
            seat = _seat(row)
            found.setdefault(seat.attempt_id, []).append(seat)
        return found

    def nodes_gone(self, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, str]:
        """Name of the first booked node that is gone or about to go, of those that have one."""
        rows = self._link.rows(_NODES_GONE, {"ids": listed(attempt_ids)})
        return {AttemptId(attempt_id): name for attempt_id, name in rows}

    def failures(self, job_id: JobId) -> int:
        """How many consumed the retry budget."""
        return sum(outcome is Outcome.FAILED for outcome in self._outcomes(job_id))

    def never_started_in_a_row(self, job_id: JobId) -> int:
        """Counted back from the newest."""
        count = 0
        for outcome in self._outcomes(job_id):
            if outcome is not Outcome.NEVER_STARTED:
                break
            count += 1
        return count

    def extend_lease(self, attempt_id: AttemptId, until: datetime) -> bool:
        """Never shortens. False when the attempt has ended: nobody may believe that it runs on."""
        return self._link.change(_EXTEND, {"id": attempt_id, "lease_until": micros(until)}) > 0

    def _outcomes(self, job_id: JobId) -> list[Outcome]:
        return [Outcome(row[0]) for row in self._link.rows(_OUTCOMES, {"id": job_id})]

    def _check_silence(self, attempts: Sequence[Attempt]) -> None:
        if not attempts:
            return
        leases: dict[str, int] = dict(self._link.rows(_LEASES, {"ids": listed(each.id for each in attempts)}))
        for attempt in attempts:
            known = micros_or_none(attempt.lease_until) or 0
            if attempt.id not in leases or leases[attempt.id] > known:
                raise stale("attempt", attempt.id)


@cache
def _live(*, of_a_cluster: bool) -> Statement:
    live = _ATTEMPT.where(_IS_LIVE).order_by(_C.id)
    return Statement(live.where(_C.cluster_id == bindparam("id")) if of_a_cluster else live)


def _event(attempt: Attempt, *, came_from: str) -> Event:
    return Event(
        kind=f"attempt.{attempt.state}",
        subject=attempt.id,
        at=attempt.since,
        project_id=attempt.project_id,
        job_id=attempt.job_id,
        data={
            "from": came_from,
            "reason": attempt.reason,
            "outcome": attempt.outcome,
            "exit_code": attempt.exit_code,
            "number": attempt.number,
            "cluster_id": attempt.cluster_id,
        },
    )


def _params(attempt: Attempt) -> dict[str, object]:
    return {
        "id": attempt.id,
        "job_id": attempt.job_id,
        "ask_id": attempt.ask_id,
        "project_id": attempt.project_id,
        "cluster_id": attempt.cluster_id,
        "number": attempt.number,
        "state": attempt.state.value,
        "since": micros(attempt.since),
        "placed_at": micros(attempt.placed_at),
        "version": attempt.version,
        "outcome": None if attempt.outcome is None else attempt.outcome.value,
        "exit_code": attempt.exit_code,
        "reason": attempt.reason,
        "started_at": micros_or_none(attempt.started_at),
        "ended_at": micros_or_none(attempt.ended_at),
        "lease_until": micros_or_none(attempt.lease_until),
        "stop_outcome": None if attempt.stop_outcome is None else attempt.stop_outcome.value,
        "stop_requested_at": micros_or_none(attempt.stop_requested_at),
        "session": attempt.session,
        "claim_id": attempt.claim_id,
    }


@remembered
def attempt_of(row: Row) -> Attempt:
    """From `COLUMNS`."""
    (id_, job_id, ask_id, project_id, cluster_id, number, state, since, placed_at, version, *rest) = row
    (outcome, exit_code, reason, started_at, ended_at, lease_until, *rest) = rest
    (stop_outcome, stop_requested_at, session, claim_id, came_from) = rest
    return Attempt(
        id=AttemptId(id_),
        job_id=JobId(job_id),
        ask_id=AskId(ask_id),
        project_id=ProjectId(project_id),
        cluster_id=ClusterId(cluster_id),
        number=number,
        state=AttemptState(state),
        since=moment(since),
        placed_at=moment(placed_at),
        version=version,
        outcome=None if outcome is None else Outcome(outcome),
        exit_code=exit_code,
        reason=reason,
        started_at=moment_or_none(started_at),
        ended_at=moment_or_none(ended_at),
        lease_until=moment_or_none(lease_until),
        stop_outcome=None if stop_outcome is None else Outcome(stop_outcome),
        stop_requested_at=moment_or_none(stop_requested_at),
        session=session,
        claim_id=None if claim_id is None else ClaimId(claim_id),
        came_from=came_from,
    )


def _seat_params(seat: Seat) -> dict[str, object]:
    return amounts_params(seat.amounts) | {
        "attempt_id": seat.attempt_id,
        "rank": seat.rank,
        "node_id": seat.node_id,
        "heir": seat.heir,
        "released_at": None,
    }


@remembered
def _seat(row: Row) -> Seat:
    (attempt_id, rank, node_id, heir, *amounts) = row
    return Seat(
        attempt_id=AttemptId(attempt_id),
        rank=rank,
        node_id=NodeId(node_id),
        amounts=amounts_of(*amounts),
        heir=None if heir is None else AskId(heir),
    )
