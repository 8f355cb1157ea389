"""Executions' table: pipelines at work, each with the pipeline as it was sent."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Final

from sqlalchemy import bindparam, delete, exists, select

from controlplane.domain.events import Event
from controlplane.domain.executions import Execution, ExecutionState
from controlplane.domain.ids import ExecutionId, ProjectId, ScheduleId, TokenId
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none
from controlplane.store.schema import WORK
from controlplane.store.schema_pipelines import EXECUTIONS, STEPS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = EXECUTIONS.c
_COLUMNS: Final = (
    _C.id,
    _C.project_id,
    _C.name,
    _C.token_id,
    _C.outputs_uri,
    _C.state,
    _C.since,
    _C.created_at,
    _C.paused_at,
    _C.cancel_requested_at,
    _C.retry_of,
    _C.schedule_id,
    _C.tick,
    _C.reason,
    _C.version,
    _C.came_from,
)
_EXECUTION: Final = select(*_COLUMNS)
_GIVEN_ONCE: Final = frozenset(
    {"project_id", "name", "token_id", "spec", "schema_version", "outputs_uri", "created_at"}
    | {"retry_of", "schedule_id", "tick"}
)
_IS_OPEN: Final = _C.state.in_([fixed(ExecutionState.WAITING), fixed(ExecutionState.RUNNING)])

_MOVES: Final = Moves("execution", EXECUTIONS, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(EXECUTIONS)
_GET: Final = Statement(_EXECUTION.where(_C.id == bindparam("id")))
_SPECS: Final = Statement(select(_C.id, _C.spec).where(is_in(_C.id, "ids")))
_OPEN_OF_SCHEDULE: Final = Statement(
    _EXECUTION.where(_C.schedule_id == bindparam("schedule_id"), _IS_OPEN).order_by(_C.tick)
)
_OPEN_OF_PROJECT: Final = Statement(
    select(_C.id)
    .where(_C.project_id == bindparam("project_id"), _IS_OPEN)
    .offset(bound("offset"))
    .limit(bound("limit"))
)
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _IS_OPEN,
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("execution"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_OLD: Final = Statement(
    select(_C.id).where(~_IS_OPEN, _C.since < bound("before")).order_by(_C.id).limit(bound("limit"))
)
_DROP_STEPS: Final = Statement(delete(STEPS).where(is_in(STEPS.c.execution_id, "ids")), table=STEPS)
_DROP: Final = Statement(delete(EXECUTIONS).where(is_in(_C.id, "ids")), table=EXECUTIONS)


class Executions:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, execution: Execution, *, spec: str, schema_version: int) -> None:
        """A second one for a tick of a schedule is a `Conflict`."""
        given = {"came_from": execution.came_from, "spec": spec, "schema_version": schema_version}
        self._link.change(_ADD, _params(execution) | _given(execution) | given)
        self._events.add(_event(execution, came_from=execution.came_from))

    def get(self, execution_id: ExecutionId) -> Execution | None:
        row = self._link.row(_GET, {"id": execution_id})
        return None if row is None else _execution(row)

    def specs(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, str]:
        """As they were sent; unknown executions are left out."""
        rows = self._link.rows(_SPECS, {"ids": listed(execution_ids)})
        return {ExecutionId(id_): spec for id_, spec in rows}

    def save(self, execution: Execution) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(execution))
        if came_from is not None:
            self._events.add(_event(execution, came_from=came_from))

    def newest(self, project_id: ProjectId | None, before: str | None, limit: int) -> list[Execution]:
        """Newest ids first; `before` is the id last seen."""
        params = {"project_id": project_id, "before": before, "limit": limit}
        statement = _page(of_a_project=project_id is not None, is_first=before is None)
        return [_execution(row) for row in self._link.rows(statement, params)]

    def open_of(self, schedule_id: ScheduleId) -> list[Execution]:
        """Of one schedule, by tick."""
        return [_execution(row) for row in self._link.rows(_OPEN_OF_SCHEDULE, {"schedule_id": schedule_id})]

    def has_open(self, project_id: ProjectId, number: int) -> bool:
        """Whether so many of a project, or more, are not over."""
        params = {"project_id": project_id, "offset": number - 1, "limit": 1}
        return self._link.row(_OPEN_OF_PROJECT, params) is not None

    def unwatched(self, after: str, limit: int) -> list[ExecutionId]:
        """Open ones that no loop will ever look at, by id; `after` is the id last seen."""
        return [ExecutionId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def prune(self, before: datetime, limit: int) -> int:
        """Removes those that were over before that moment, with their steps; says how many."""
        found: Sequence[Row] = self._link.rows(_OLD, {"before": micros(before), "limit": limit})
        ids = {"ids": listed(row[0] for row in found)}
        self._link.change(_DROP_STEPS, ids)
        return self._link.change(_DROP, ids)


@cache
def _page(*, of_a_project: bool, is_first: bool) -> Statement:
    page = _EXECUTION.order_by(_C.id.desc()).limit(bound("limit"))
    if of_a_project:
        page = page.where(_C.project_id == bindparam("project_id"))
    return Statement(page if is_first else page.where(_C.id < bindparam("before")))


def _event(execution: Execution, *, came_from: str) -> Event:
    return Event(
        kind=f"execution.{execution.state}",
        subject=execution.id,
        at=execution.since,
        data={"from": came_from, "pipeline": execution.name, "reason": execution.reason},
        project_id=execution.project_id,
    )


def _given(execution: Execution) -> dict[str, object]:
    return {
        "project_id": execution.project_id,
        "name": execution.name,
        "token_id": execution.token_id,
        "outputs_uri": execution.outputs_uri,
        "created_at": micros(execution.created_at),
        "retry_of": execution.retry_of,
        "schedule_id": execution.schedule_id,
        "tick": micros_or_none(execution.tick),
    }


def _params(execution: Execution) -> dict[str, object]:
    return {
        "id": execution.id,
        "state": execution.state.value,
        "since": micros(execution.since),
        "paused_at": micros_or_none(execution.paused_at),
        "cancel_requested_at": micros_or_none(execution.cancel_requested_at),
        "reason": execution.reason,
        "version": execution.version,
    }


def _execution(row: Row) -> Execution:
    (id_, project_id, name, token_id, outputs_uri, state, since, created_at, *rest) = row
    (paused_at, cancel_requested_at, retry_of, schedule_id, tick, reason, version, came_from) = rest
    return Execution(
        id=ExecutionId(id_),
        project_id=ProjectId(project_id),
        name=name,
        token_id=TokenId(token_id),
        outputs_uri=outputs_uri,
        state=ExecutionState(state),
        since=moment(since),
        created_at=moment(created_at),
        paused_at=moment_or_none(paused_at),
        cancel_requested_at=moment_or_none(cancel_requested_at),
        retry_of=None if retry_of is None else ExecutionId(retry_of),
        schedule_id=None if schedule_id is None else ScheduleId(schedule_id),
        tick=moment_or_none(tick),
        reason=reason,
        version=version,
        came_from=came_from,
    )
