"""What a policy must find again: promised seats, decided rivalries, reservations, past use."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, exists, not_, or_, select

from controlplane.domain.events import Event
from controlplane.domain.ids import AskId, ClusterId, NodeId
from controlplane.domain.jobs import JobState
from controlplane.store.events import Events
from controlplane.store.links import NOTHING, Link
from controlplane.store.rows import packed, unpacked
from controlplane.store.schema import ASKS, JOBS, AnyColumn
from controlplane.store.schema_quotas import NOMINATIONS, PAST_USES, RESERVATIONS, VERDICTS
from controlplane.store.statements import Statement, fixed, inserted, is_in, listed
from schedulers.demand import Nomination, PastUse, Reservation, Verdict

_N: Final = NOMINATIONS.c
_V: Final = VERDICTS.c
_R: Final = RESERVATIONS.c
_P: Final = PAST_USES.c

_ADD_NOMINATION: Final = inserted(NOMINATIONS)
_NOMINATIONS: Final = Statement(select(_N.ask_id, _N.cluster_id, _N.seats, _N.until).order_by(_N.ask_id))
_END_NOMINATIONS: Final = Statement(delete(NOMINATIONS).where(is_in(_N.ask_id, "ask_ids")), table=NOMINATIONS)
_ADD_VERDICT: Final = inserted(VERDICTS)
_END_VERDICT: Final = Statement(
    delete(VERDICTS).where(_V.winner == bindparam("winner"), _V.loser == bindparam("loser")), table=VERDICTS
)
_VERDICTS: Final = Statement(select(_V.winner, _V.loser).order_by(_V.winner, _V.loser))
_ADD_RESERVATION: Final = inserted(RESERVATIONS)
_RESERVATIONS: Final = Statement(
    select(_R.ask_id, _R.cluster_id, _R.seats, _R.starts_at, _R.ends_at).order_by(_R.ask_id)
)
_END_RESERVATIONS: Final = Statement(delete(RESERVATIONS), table=RESERVATIONS)
_ADD_PAST_USE: Final = inserted(PAST_USES)
_PAST_USES: Final = Statement(select(_P.queue_id, _P.epoch, _P.used).order_by(_P.queue_id))
_END_PAST_USES: Final = Statement(delete(PAST_USES), table=PAST_USES)


def _is_over(column: AnyColumn) -> ColumnElement[bool]:
    """Of asks whose job is neither queued nor active."""
    is_open = or_(*(JOBS.c.state == fixed(each) for each in (JobState.QUEUED, JobState.ACTIVE)))
    return not_(exists().where(ASKS.c.id == column, JOBS.c.id == ASKS.c.job_id, is_open))


_PRUNED: Final = (
    Statement(delete(NOMINATIONS).where(_is_over(_N.ask_id)), table=NOMINATIONS),
    Statement(delete(VERDICTS).where(or_(_is_over(_V.winner), _is_over(_V.loser))), table=VERDICTS),
)


class Memories:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def nominations(self) -> list[Nomination]:
        """By ask."""
        return [
            Nomination(
                ask_id=AskId(ask_id), cluster_id=ClusterId(cluster_id), seats=_seats(seats), until=until
            )
            for ask_id, cluster_id, seats, until in self._link.rows(_NOMINATIONS)
        ]

    def nominate(self, nomination: Nomination) -> None:
        """Inserts or replaces."""
        self._link.change(_END_NOMINATIONS, {"ask_ids": listed([nomination.ask_id])})
        self._link.change(_ADD_NOMINATION, _promise(nomination) | {"until": nomination.until})
        self._tell(nomination.ask_id)

    def end_nominations(self, ask_ids: Sequence[AskId]) -> None:
        """Unknown ones are fine."""
        if ask_ids and self._link.change(_END_NOMINATIONS, {"ask_ids": listed(ask_ids)}):
            self._tell(ask_ids[0])

    def verdicts(self) -> list[Verdict]:
        return [
            Verdict(winner=AskId(winner), loser=AskId(loser)) for winner, loser in self._link.rows(_VERDICTS)
        ]

    def judge(self, verdict: Verdict) -> None:
        pair = {"winner": verdict.winner, "loser": verdict.loser}
        self._link.change(_END_VERDICT, pair)
        self._link.change(_ADD_VERDICT, pair)

    def reservations(self) -> list[Reservation]:
        """By ask."""
        return [
            Reservation(
                ask_id=AskId(ask_id),
                cluster_id=ClusterId(cluster_id),
                seats=_seats(seats),
                starts_at=starts_at,
                ends_at=ends_at,
            )
            for ask_id, cluster_id, seats, starts_at, ends_at in self._link.rows(_RESERVATIONS)
        ]

    def reserve(self, reservations: Sequence[Reservation]) -> None:
        """All that hold now; the others are over."""
        self._link.change(_END_RESERVATIONS, NOTHING)
        times = ({"starts_at": each.starts_at, "ends_at": each.ends_at} for each in reservations)
        rows = [_promise(each) | time for each, time in zip(reservations, times, strict=True)]
        self._link.change_all(_ADD_RESERVATION, rows)
        self._tell("reservations")

    def past_uses(self) -> list[PastUse]:
        """By queue."""
        return [
            PastUse(queue_id=queue_id, epoch=epoch, used=used)
            for queue_id, epoch, used in self._link.rows(_PAST_USES)
        ]

    def note_past_uses(self, uses: Sequence[PastUse]) -> None:
        self._link.change(_END_PAST_USES, NOTHING)
        rows = [{"queue_id": each.queue_id, "epoch": each.epoch, "used": each.used} for each in uses]
        self._link.change_all(_ADD_PAST_USE, rows)
        self._tell("past_uses")

    def prune(self) -> None:
        """Forgets what was promised to, or decided about, asks that are over."""
        for statement in _PRUNED:
            self._link.change(statement, NOTHING)

    def _tell(self, subject: str) -> None:
        self._events.add(Event(kind="memory.changed", subject=subject, at=self._link.now, data={}))


def _promise(promise: Nomination | Reservation) -> dict[str, object]:
    return {
        "ask_id": promise.ask_id,
        "cluster_id": promise.cluster_id,
        "seats": packed([[rank, node_id] for rank, node_id in promise.seats]),
    }


def _seats(column: str) -> tuple[tuple[int, NodeId], ...]:
    return tuple((rank, NodeId(node_id)) for rank, node_id in unpacked(column))
