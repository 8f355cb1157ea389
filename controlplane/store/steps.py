"""Steps' table: how far each step of an execution got, and what it made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import bindparam, case, func, select

from controlplane.domain.events import Event
from controlplane.domain.executions import DONE, Execution, Step, StepArtifact, StepState
from controlplane.domain.ids import ExecutionId, JobId, ProjectId, StepId
from controlplane.domain.pipelines import ArtifactKind
from controlplane.store.events import Events
from controlplane.store.links import Link
from controlplane.store.moves import Moves
from controlplane.store.rows import Row, micros, micros_or_none, moment, moment_or_none, packed, unpacked
from controlplane.store.schema_pipelines import EXECUTIONS, STEPS
from controlplane.store.statements import Statement, bound, fixed, inserted, is_in, listed

_C: Final = STEPS.c
_STEP: Final = select(
    _C.id,
    _C.execution_id,
    _C.position,
    _C.name,
    _C.state,
    _C.since,
    _C.number,
    _C.job_id,
    _C.cache_key,
    _C.taken_from,
    _C.not_before,
    _C.outputs,
    _C.reason,
    _C.begun_at,
    _C.version,
    _C.came_from,
)
_MOVES: Final = Moves("step", STEPS, fixed_columns=frozenset({"execution_id", "position", "name"}))
_ADD: Final = inserted(STEPS)
_GET: Final = Statement(_STEP.where(_C.id == bindparam("id")))
_OF_EXECUTIONS: Final = Statement(
    _STEP.where(is_in(_C.execution_id, "ids")).order_by(_C.execution_id, _C.position)
)
_KEPT: Final = Statement(
    _STEP.join(EXECUTIONS, EXECUTIONS.c.id == _C.execution_id)
    .where(
        EXECUTIONS.c.project_id == bindparam("project_id"),
        _C.cache_key == bindparam("cache_key"),
        _C.cache_key.is_not(None),
        _C.state == fixed(StepState.SUCCEEDED),
    )
    .order_by(_C.id.desc())
    .limit(bound("limit"))
)
_COUNTS: Final = Statement(
    select(
        _C.execution_id,
        func.count(),
        func.count(case((_C.state.in_([fixed(each) for each in sorted(DONE)]), _C.id))),
    )
    .where(is_in(_C.execution_id, "ids"))
    .group_by(_C.execution_id)
)
_WAITING_FOR: Final = Statement(
    select(_C.execution_id)
    .where(is_in(_C.job_id, "ids"), _C.state == fixed(StepState.RUNNING), _C.job_id.is_not(None))
    .distinct()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    steps: int
    done: int


class Steps:
    __slots__ = ("_events", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._events = Events(link)

    def add(self, steps: Sequence[Step]) -> None:
        """Of a new execution, whose own event tells of them."""
        self._link.change_all(
            _ADD,
            [
                _params(step)
                | {
                    "execution_id": step.execution_id,
                    "position": step.position,
                    "name": step.name,
                    "came_from": step.came_from,
                }
                for step in steps
            ],
        )

    def get(self, step_id: StepId) -> Step | None:
        row = self._link.row(_GET, {"id": step_id})
        return None if row is None else _step(row)

    def of(self, execution_id: ExecutionId) -> tuple[Step, ...]:
        """In the order of the pipeline."""
        return self.of_many([execution_id]).get(execution_id, ())

    def of_many(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, tuple[Step, ...]]:
        found: dict[ExecutionId, tuple[Step, ...]] = {}
        for step in map(_step, self._link.rows(_OF_EXECUTIONS, {"ids": listed(execution_ids)})):
            found[step.execution_id] = (*found.get(step.execution_id, ()), step)
        return found

    def counts(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, StepCounts]:
        rows = self._link.rows(_COUNTS, {"ids": listed(execution_ids)})
        return {ExecutionId(id_): StepCounts(steps=steps, done=done) for id_, steps, done in rows}

    def kept(self, project_id: ProjectId, cache_key: str) -> Step | None:
        """The newest one that made what is asked for."""
        row = self._link.row(_KEPT, {"project_id": project_id, "cache_key": cache_key, "limit": 1})
        return None if row is None else _step(row)

    def waiting_for(self, job_ids: Sequence[JobId]) -> list[ExecutionId]:
        """Executions of which a step runs as one of these jobs."""
        if not job_ids:
            return []
        return [ExecutionId(row[0]) for row in self._link.rows(_WAITING_FOR, {"ids": listed(job_ids)})]

    def save(self, execution: Execution, step: Step) -> None:
        """Raises `StaleWrite` unless the row is one version behind."""
        came_from = _MOVES.save(self._link, _params(step))
        if came_from is not None:
            self._events.add(_event(execution, step, came_from=came_from))


def _event(execution: Execution, step: Step, *, came_from: str) -> Event:
    return Event(
        kind=f"step.{step.state}",
        subject=step.id,
        at=step.since,
        data={"from": came_from, "execution": execution.id, "step": step.name, "reason": step.reason},
        project_id=execution.project_id,
        job_id=step.job_id,
    )


def _params(step: Step) -> dict[str, object]:
    return {
        "id": step.id,
        "state": step.state.value,
        "since": micros(step.since),
        "number": step.number,
        "job_id": step.job_id,
        "cache_key": step.cache_key,
        "taken_from": step.taken_from,
        "not_before": micros_or_none(step.not_before),
        "outputs": packed([asdict(each) for each in step.outputs]),
        "reason": step.reason,
        "begun_at": micros_or_none(step.begun_at),
        "version": step.version,
    }


def _step(row: Row) -> Step:
    (id_, execution_id, position, name, state, since, number, job_id, *rest) = row
    (cache_key, taken_from, not_before, outputs, reason, begun_at, version, came_from) = rest
    return Step(
        id=StepId(id_),
        execution_id=ExecutionId(execution_id),
        position=position,
        name=name,
        state=StepState(state),
        since=moment(since),
        number=number,
        job_id=None if job_id is None else JobId(job_id),
        cache_key=cache_key,
        taken_from=None if taken_from is None else StepId(taken_from),
        not_before=moment_or_none(not_before),
        outputs=tuple(_artifact(each) for each in unpacked(outputs)),
        reason=reason,
        begun_at=moment_or_none(begun_at),
        version=version,
        came_from=came_from,
    )


def _artifact(said: dict[str, Any]) -> StepArtifact:  # JSON values
    return StepArtifact(**{**said, "kind": ArtifactKind(said["kind"])})
