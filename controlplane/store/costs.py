"""Rates' and charges' tables, and what live rows say of time that was used and held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, case, delete, func, or_, select
from sqlalchemy.sql.expression import cast

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import Claim, ClaimState, Launch
from controlplane.domain.costs import Charge, Owner, Per, Rate, Span
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId, NodeId, ProjectId, QueueId
from controlplane.store.claims import _CLAIM, _LAUNCH, _claim, _launch
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.rows import MICROSECONDS_PER_SECOND, Row, micros, moment
from controlplane.store.schema import ATTEMPTS, JOBS, NODES, SEATS
from controlplane.store.schema_claims import CLAIMS, LAUNCHES
from controlplane.store.schema_costs import CHARGES, RATES
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_A: Final = ATTEMPTS.c
_C: Final = CHARGES.c
_R: Final = RATES.c
_S: Final = SEATS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedTime:
    """Tasks of one owner and shape on one node, over a window."""

    owner: Owner
    """Without a claim: the node says that."""

    node_id: NodeId
    amounts: Amounts
    """GPUs and CPUs alone."""

    seconds: int
    """Of all of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTask:
    """One task of an attempt, from when it was placed until it let its node go."""

    attempt_id: AttemptId
    owner: Owner
    node_id: NodeId
    amounts: Amounts
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCost:
    """What charges of one owner in one currency come to, over a window."""

    owner: Owner
    currency: str | None
    units: int
    task_seconds: int


def _least(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one < other, one), else_=other)


def _most(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


def _second(column: ColumnElement[int]) -> ColumnElement[int]:
    """In whole numbers on both databases."""
    return column.op("/")(bound("per_second"))


def _seconds(start: ColumnElement[int], end: ColumnElement[int]) -> ColumnElement[int]:
    """Of the part that lies in the window."""
    first, last = _most(start, bound("start")), _least(end, bound("end"))
    return _most(_second(last) - _second(first), bound("none"))


# A node that is gone is paid for no longer, however long it takes until its attempts are given up.
_LET_GO_AT: Final = _least(
    func.coalesce(_S.released_at, _A.ended_at, bound("end")), func.coalesce(NODES.c.gone_at, bound("end"))
)
_OWNER: Final = (_A.project_id, JOBS.c.queue_id, _A.cluster_id)
_HELD: Final = and_(_A.id == _S.attempt_id, JOBS.c.id == _A.job_id, NODES.c.id == _S.node_id)
_TASK: Final = (_S.node_id, _S.gpu_milli, _S.cpu_milli)
_KEPT: Final = Statement(
    select(_A.id, *_OWNER, _A.job_id, *_TASK, _A.placed_at, _LET_GO_AT)
    .where(_HELD, is_in(_A.job_id, "ids"))
    .order_by(_A.id, _S.rank)
)
_RATE: Final = (_R.cluster_id, _R.flavor, _R.per, _R.valid_from, _R.currency, _R.price_millionths)
_RATES: Final = Statement(select(*_RATE).order_by(_R.cluster_id, _R.flavor, _R.per, _R.valid_from))
_ADD_RATE: Final = inserted(RATES)
_REMOVE_RATE: Final = Statement(
    delete(RATES).where(
        *(_R[name] == bindparam(name) for name in ("cluster_id", "flavor", "per", "valid_from"))
    ),
    table=RATES,
)
_ADD_CHARGE: Final = inserted(CHARGES)
_HELD_SINCE: Final = Statement(
    _CLAIM.where(or_(CLAIMS.c.state != fixed(ClaimState.GONE), CLAIMS.c.since > bound("start"))).order_by(
        CLAIMS.c.id
    )
)
_LAUNCHES: Final = Statement(
    _LAUNCH.where(is_in(LAUNCHES.c.claim_id, "ids")).order_by(LAUNCHES.c.generation, LAUNCHES.c.ordinal)
)


class Costs:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def rates(self) -> list[Rate]:
        """By cluster, flavor, what they are for, and when they begin."""
        return [_rate(row) for row in self._link.rows(_RATES)]

    def put_rate(self, rate: Rate, *, by: str) -> None:
        """Inserts, or replaces the one for the same from the same moment on."""
        params = _rate_params(rate)
        self._link.change(_REMOVE_RATE, params)
        self._link.change(_ADD_RATE, params)
        subject = "/".join((rate.cluster_id or "*", rate.flavor or "*", rate.per))
        self._events.add(Event(kind="rate.changed", subject=subject, at=self._link.now, data={"by": by}))

    def used(
        self, window: Span, *, node_ids: Sequence[NodeId] | None = None, is_by_job: bool
    ) -> Iterator[UsedTime]:
        """What attempts held that are not archived, added up; on these nodes alone, or on all."""
        statement = _used(is_by_job=is_by_job, of_nodes=node_ids is not None)
        for row in self._link.each(statement, _window(window) | {"ids": listed(node_ids or ())}):
            (project_id, queue_id, cluster_id, node_id, gpu_milli, cpu_milli, seconds, *job) = row
            yield UsedTime(
                owner=Owner(
                    project_id=ProjectId(project_id),
                    queue_id=QueueId(queue_id),
                    job_id=JobId(job[0]) if is_by_job else None,
                    cluster_id=ClusterId(cluster_id),
                ),
                node_id=NodeId(node_id),
                amounts=Amounts(gpu_milli=gpu_milli, cpu_milli=cpu_milli),
                seconds=int(seconds),
            )

    def kept(self, job_ids: Sequence[JobId]) -> list[KeptTask]:
        """Every task of their attempts, by attempt and rank; what is not over ends now."""
        params = {"ids": listed(job_ids), "end": self._link.now_us}
        return [_kept(row) for row in self._link.rows(_KEPT, params)]

    def charge(self, charges: Sequence[Charge]) -> None:
        """Writes them down for good."""
        ordinals: dict[AttemptId, int] = {}
        many = []
        for each in charges:
            ordinal = ordinals[each.attempt_id] = ordinals.get(each.attempt_id, 0) + 1
            many.append(_charge_params(each, ordinal))
        self._link.change_all(_ADD_CHARGE, many)

    def past(self, window: Span, *, is_by_job: bool) -> Iterator[PastCost]:
        """What archived attempts have cost in the window."""
        for row in self._link.each(_past(is_by_job=is_by_job), _window(window)):
            (project_id, queue_id, cluster_id, claim_id, currency, units, task_seconds, *job) = row
            yield PastCost(
                owner=Owner(
                    project_id=ProjectId(project_id),
                    queue_id=QueueId(queue_id),
                    job_id=JobId(job[0]) if is_by_job else None,
                    cluster_id=ClusterId(cluster_id),
                    claim_id=None if claim_id is None else ClaimId(claim_id),
                ),
                currency=currency,
                units=int(units),
                task_seconds=int(task_seconds),
            )

    def claims(self, window: Span) -> list[tuple[Claim, list[Launch]]]:
        """Those that were there in the window, by id, each with its launches."""
        claims = [_claim(row) for row in self._link.rows(_HELD_SINCE, {"start": micros(window.start)})]
        found = [claim for claim in claims if claim.created_at < window.end and not claim.shares]
        launches: dict[ClaimId, list[Launch]] = {}
        for row in self._link.rows(_LAUNCHES, {"ids": listed(claim.id for claim in found)}):
            launch = _launch(row)
            launches.setdefault(launch.claim_id, []).append(launch)
        return [(claim, launches.get(claim.id, [])) for claim in found]


@cache
def _used(*, is_by_job: bool, of_nodes: bool) -> Statement:
    keys = (*_OWNER, *_TASK)
    job = (_A.job_id,) if is_by_job else ()
    seconds = cast(func.sum(_seconds(_A.placed_at, _LET_GO_AT)), BigInteger)
    lives = and_(_A.placed_at < bound("end"), func.coalesce(_A.ended_at, bound("end")) > bound("start"))
    found = select(*keys, seconds, *job).where(_HELD, lives).group_by(*keys, *job).order_by(*keys, *job)
    return Statement(found.where(is_in(_S.node_id, "ids")) if of_nodes else found)


@cache
def _past(*, is_by_job: bool) -> Statement:
    keys = (_C.project_id, _C.queue_id, _C.cluster_id, _C.claim_id, _C.currency)
    job = (_C.job_id,) if is_by_job else ()
    seconds = _seconds(_C.started_at, _C.ended_at)
    sums = (func.sum(_C.rate_millionths * seconds), func.sum(_C.tasks * seconds))
    return Statement(
        select(*keys, *(cast(each, BigInteger) for each in sums), *job)
        .where(_C.started_at < bound("end"), _C.ended_at > bound("start"))
        .group_by(*keys, *job)
        .order_by(*keys, *job)
    )


def _window(window: Span) -> dict[str, object]:
    return {
        "start": micros(window.start),
        "end": micros(window.end),
        "none": 0,
        "per_second": MICROSECONDS_PER_SECOND,
    }


def _kept(row: Row) -> KeptTask:
    (attempt_id, project_id, queue_id, cluster_id, job_id, node_id, gpu_milli, cpu_milli, start, end) = row
    return KeptTask(
        attempt_id=AttemptId(attempt_id),
        owner=Owner(
            project_id=ProjectId(project_id),
            queue_id=QueueId(queue_id),
            job_id=JobId(job_id),
            cluster_id=ClusterId(cluster_id),
        ),
        node_id=NodeId(node_id),
        amounts=Amounts(gpu_milli=gpu_milli, cpu_milli=cpu_milli),
        span=Span(moment(start), moment(max(start, end))),
    )


def _charge_params(charge: Charge, ordinal: int) -> dict[str, object]:
    owner = charge.owner
    return {
        "attempt_id": charge.attempt_id,
        "ordinal": ordinal,
        "project_id": owner.project_id,
        "queue_id": owner.queue_id,
        "job_id": owner.job_id,
        "cluster_id": owner.cluster_id,
        "claim_id": owner.claim_id,
        "started_at": micros(charge.span.start),
        "ended_at": micros(charge.span.end),
        "currency": charge.currency,
        "rate_millionths": charge.rate_millionths,
        "tasks": charge.tasks,
    }


def _rate_params(rate: Rate) -> dict[str, object]:
    return {
        "cluster_id": rate.cluster_id or "",
        "flavor": rate.flavor or "",
        "per": rate.per.value,
        "valid_from": micros(rate.valid_from),
        "currency": rate.currency,
        "price_millionths": rate.price_millionths,
    }


def _rate(row: Row) -> Rate:
    (cluster_id, flavor, per, valid_from, currency, price_millionths) = row
    return Rate(
        cluster_id=ClusterId(cluster_id) if cluster_id else None,
        flavor=flavor or None,
        per=Per(per),
        currency=currency,
        price_millionths=price_millionths,
        valid_from=moment(valid_from),
    )
