"""Inputs' table, and which attempts read them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, case, delete, exists, select, update

from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, CopyId, InputId, ProjectId
from controlplane.domain.inputs import USABLE, Input, InputState
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, moment
from controlplane.store.schema import ATTEMPTS, JOBS, WORK
from controlplane.store.schema_inputs import ATTEMPT_INPUTS, INPUTS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = INPUTS.c
_A: Final = ATTEMPT_INPUTS.c
_COLUMNS: Final = (
    _C.id,
    _C.project_id,
    _C.source,
    _C.store,
    _C.state,
    _C.since,
    _C.created_at,
    _C.asked_at,
    _C.used_at,
    _C.address,
    _C.target,
    _C.size_bytes,
    _C.copy_id,
    _C.failures,
    _C.problem,
    _C.version,
    _C.came_from,
)
_INPUT: Final = select(*_COLUMNS)
_GIVEN_ONCE: Final = frozenset({"project_id", "source", "store", "created_at"})
_IS_KEPT: Final = _C.state != fixed(InputState.GONE)

_MOVES: Final = Moves("input", INPUTS, fixed_columns=_GIVEN_ONCE)
_ADD: Final = inserted(INPUTS)
_GET: Final = Statement(_INPUT.where(_C.id == bindparam("id")))
_UNWATCHED: Final = Statement(
    select(_C.id)
    .where(
        _C.state.in_([fixed(each) for each in (InputState.LOOKING, InputState.COPYING, InputState.LEAVING)]),
        _C.id > bindparam("after"),
        ~exists().where(WORK.c.noun == fixed("input"), WORK.c.id == _C.id),
    )
    .order_by(_C.id)
    .limit(bound("limit"))
)
_NEWEST: Final = Statement(
    _INPUT.where(
        _IS_KEPT,
        _C.state.in_([fixed(each) for each in USABLE]),
        _C.project_id == bindparam("project_id"),
        _C.source == bindparam("source"),
        _C.store == bindparam("store"),
        _C.asked_at >= bound("since"),
    )
    .order_by(_C.asked_at.desc(), _C.id)
    .limit(bound("limit"))
)
_OF_TARGET: Final = Statement(_INPUT.where(_IS_KEPT, _C.target == bindparam("target")).order_by(_C.id))
_OF_COPY: Final = Statement(
    select(_C.id)
    .where(_C.copy_id == bindparam("copy_id"), _C.state == fixed(InputState.COPYING))
    .order_by(_C.id)
)
_REFER: Final = inserted(ATTEMPT_INPUTS)
_REPOINT: Final = Statement(
    update(ATTEMPT_INPUTS)
    .where(_A.input_id == bindparam("old_id", type_=_A.input_id.type))
    .values(input_id=bindparam("new_id", type_=_A.input_id.type)),
    table=ATTEMPT_INPUTS,
)
_OF_ATTEMPTS: Final = Statement(
    select(_A.attempt_id, *_COLUMNS)
    .join(INPUTS, _C.id == _A.input_id)
    .where(is_in(_A.attempt_id, "ids"))
    .order_by(_A.attempt_id, _C.created_at, _C.id)
)
_READER: Final = (
    select(_A.attempt_id)
    .join(ATTEMPTS, ATTEMPTS.c.id == _A.attempt_id)
    .join(JOBS, JOBS.c.id == ATTEMPTS.c.job_id)
    .where(_A.input_id == _C.id, JOBS.c.state.in_([fixed(each) for each in ("held", "queued", "active")]))
)
_KEPT: Final = Statement(
    select(case((_READER.exists(), 1), else_=0), *_COLUMNS)
    .where(_C.state.in_([fixed(each) for each in (InputState.COPYING, InputState.READY, InputState.FAILED)]))
    .order_by(_C.id)
)
_PRUNE: Final = Statement(
    delete(INPUTS).where(
        _C.id.in_(
            select(_C.id)
            .where(
                _C.state == fixed(InputState.GONE),
                _C.since < bound("before"),
                ~exists().where(_A.input_id == _C.id),
            )
            .limit(bound("limit"))
        )
    ),
    table=INPUTS,
)


class Inputs:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, each: Input) -> None:
        self._link.change(_ADD, _params(each) | {"came_from": each.came_from})
        self._events.add(_event(each, came_from=each.came_from))

    def get(self, input_id: InputId) -> Input | None:
        row = self._link.row(_GET, {"id": input_id})
        return None if row is None else _input(row)

    def save(self, each: Input) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(each))
        if came_from is not None:
            self._events.add(_event(each, came_from=came_from))

    def unwatched(self, after: str, limit: int) -> list[InputId]:
        """What has work to be done and no loop will ever look at, by id; `after` is the id last seen."""
        return [InputId(row[0]) for row in self._link.rows(_UNWATCHED, {"after": after, "limit": limit})]

    def newest(self, project_id: ProjectId, source: str, store: str, since: datetime) -> Input | None:
        """Of a project, what can be used and is not older than `since`."""
        params = {
            "project_id": project_id,
            "source": source,
            "store": store,
            "since": micros(since),
            "limit": 1,
        }
        row = self._link.row(_NEWEST, params)
        return None if row is None else _input(row)

    def of_target(self, target: str) -> list[Input]:
        """All that are not gone, by id."""
        return [_input(row) for row in self._link.rows(_OF_TARGET, {"target": target})]

    def of_copy(self, copy_id: CopyId) -> list[InputId]:
        """Those that wait for it."""
        return [InputId(row[0]) for row in self._link.rows(_OF_COPY, {"copy_id": copy_id})]

    def refer(self, attempt_id: AttemptId, input_id: InputId) -> None:
        """The attempt reads it."""
        self._link.change(_REFER, {"attempt_id": attempt_id, "input_id": input_id})

    def repoint(self, old_id: InputId, new_id: InputId) -> None:
        """Whoever reads the one reads the other."""
        self._link.change(_REPOINT, {"old_id": old_id, "new_id": new_id})

    def of_attempts(self, attempt_ids: Sequence[AttemptId]) -> dict[AttemptId, list[Input]]:
        """The oldest first; attempts without any are left out."""
        found: dict[AttemptId, list[Input]] = {}
        for attempt_id, *row in self._link.rows(_OF_ATTEMPTS, {"ids": listed(attempt_ids)}):
            found.setdefault(AttemptId(attempt_id), []).append(_input(tuple(row)))
        return found

    def kept(self) -> list[tuple[Input, bool]]:
        """What lies somewhere or was to, and whether a job that is not over reads it."""
        return [(_input(tuple(row)), bool(is_read)) for is_read, *row in self._link.rows(_KEPT, {})]

    def prune(self, before: datetime, limit: int) -> int:
        """Removes rows of what has been gone for long and no kept attempt has read."""
        return self._link.change(_PRUNE, {"before": micros(before), "limit": limit})


def _event(each: Input, *, came_from: str) -> Event:
    return Event(
        kind=f"input.{each.state}",
        subject=each.id,
        at=each.since,
        data={"from": came_from, "source": each.source, "target": each.target, "reason": each.problem},
        project_id=each.project_id,
    )


def _params(each: Input) -> dict[str, object]:
    return {
        "id": each.id,
        "project_id": each.project_id,
        "source": each.source,
        "store": each.store,
        "state": each.state.value,
        "since": micros(each.since),
        "created_at": micros(each.created_at),
        "asked_at": micros(each.asked_at),
        "used_at": micros(each.used_at),
        "address": each.address,
        "target": each.target,
        "size_bytes": each.size_bytes,
        "copy_id": each.copy_id,
        "failures": each.failures,
        "problem": each.problem,
        "version": each.version,
    }


def _input(row: Row) -> Input:
    (id_, project_id, source, store, state, since, created_at, asked_at, used_at, *rest) = row
    (address, target, size_bytes, copy_id, failures, problem, version, came_from) = rest
    return Input(
        id=InputId(id_),
        project_id=ProjectId(project_id),
        source=source,
        store=store,
        state=InputState(state),
        since=moment(since),
        created_at=moment(created_at),
        asked_at=moment(asked_at),
        used_at=moment(used_at),
        address=address,
        target=target,
        size_bytes=size_bytes,
        copy_id=None if copy_id is None else CopyId(copy_id),
        failures=failures,
        problem=problem,
        version=version,
        came_from=came_from,
    )
