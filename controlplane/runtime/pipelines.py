"""The execution loop's step: decides, makes the calls that were asked for, decides again and records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from controlplane.domain.executions import Execution
from controlplane.domain.ids import ExecutionId, StepId
from controlplane.operations.context import Context
from controlplane.operations.executions import stored_spec
from controlplane.operations.jobs import call_off
from controlplane.operations.pipeline_specs import parsed
from controlplane.operations.step_calls import answer
from controlplane.operations.step_jobs import submitted
from controlplane.reconcilers.executions import (
    Call,
    CallKind,
    ExecutionDecision,
    ExecutionView,
    Finding,
    NoAnswer,
    decide,
)
from controlplane.store import Tx, WorkItem

LOOK_SECONDS: Final = 30.0
"""The net below the pokes of jobs that finish."""

UNDER_WAY_SECONDS: Final = 60.0
MOST_KNOWN: Final = 1000
"""Answers that were not recorded yet."""

Question = tuple[StepId, int, CallKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTurn:
    item: WorkItem
    view: ExecutionView | None = None
    """None: there is nothing to find out, or somebody is at it."""

    calls: tuple[Call, ...] = ()
    findings: Mapping[StepId, Finding] = field(default_factory=dict)
    is_busy: bool = False

    @property
    def lane(self) -> str | None:
        return self.item.id if self.calls else None


class PipelineStep:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[Question, Finding] = {}
        """What reading artifacts found out may come later than the claim lasts: it must not be read again then."""

        self._lock = Lock()

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[PipelineTurn]) -> Sequence[PipelineTurn]:
        busy = {turn.item.id for turn in under_way}
        with self._context.store.read() as tx:
            return [self._begun(tx, item, is_busy=item.id in busy) for item in items]

    def act(self, turns: Sequence[PipelineTurn]) -> Sequence[PipelineTurn]:
        return [self._acted(turn, turn.view) for turn in turns if turn.view is not None]

    def record(self, tx: Tx, turns: Sequence[PipelineTurn]) -> None:
        tx.work.settle_many([(turn.item, self._recorded(tx, turn)) for turn in turns])

    def _begun(self, tx: Tx, item: WorkItem, *, is_busy: bool) -> PipelineTurn:
        if is_busy:
            return PipelineTurn(item=item, is_busy=True)
        view = view_of(tx, ExecutionId(item.id), {})
        if view is None:
            return PipelineTurn(item=item)
        calls = decide(view).calls
        known = {call.step.id: found for call in calls if (found := self._known.get(_question(call)))}
        missing = tuple(call for call in calls if call.step.id not in known)
        return PipelineTurn(item=item, view=view, calls=missing, findings=known)

    def _acted(self, turn: PipelineTurn, view: ExecutionView) -> PipelineTurn:
        found = dict(turn.findings)
        for call in turn.calls:
            finding = found[call.step.id] = answer(self._context, view, call)
            if not isinstance(finding, NoAnswer):
                self._remember(_question(call), finding)
        return replace(turn, calls=(), findings=found)

    def _remember(self, question: Question, finding: Finding) -> None:
        with self._lock:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[question] = finding

    def _recorded(self, tx: Tx, turn: PipelineTurn) -> datetime | None:
        """When to look again."""
        if turn.is_busy:
            return tx.now + timedelta(seconds=UNDER_WAY_SECONDS)
        view = view_of(tx, ExecutionId(turn.item.id), turn.findings)
        if view is None:
            return None
        decision = decide(view)
        after = self._saved(tx, view, decision)
        if after.is_over:
            return None
        if decision.calls:
            return tx.now
        return decision.look_again_at or tx.now + timedelta(seconds=LOOK_SECONDS)

    def _saved(self, tx: Tx, view: ExecutionView, decision: ExecutionDecision) -> Execution:
        execution, by_name = view.execution, {each.name: each for each in view.steps}
        for job_id in decision.stop:
            call_off(tx, view.jobs[job_id], by=f"execution {execution.id}")
        for step in decision.steps:
            tx.steps.save(execution, step)
        for step in submitted(self._context, tx, execution, decision.begin, by_name):
            tx.steps.save(execution, step)
        if decision.execution is not None:
            tx.executions.save(decision.execution)
            if decision.execution.is_over and execution.schedule_id is not None:
                tx.work.poke_many(
                    "execution", [each.id for each in tx.executions.open_of(execution.schedule_id)]
                )
        return decision.execution or execution


def view_of(tx: Tx, execution_id: ExecutionId, findings: Mapping[StepId, Finding]) -> ExecutionView | None:
    """None: it is gone, or over."""
    execution = tx.executions.get(execution_id)
    if execution is None or execution.is_over:
        return None
    steps = tx.steps.of(execution_id)
    running = [step.job_id for step in steps if step.job_id is not None and not step.is_over]
    return ExecutionView(
        execution=execution,
        pipeline=parsed(stored_spec(tx, execution_id))[1],
        steps=steps,
        jobs={job.id: job for job in tx.jobs.many(running)},
        is_held_back=_is_held_back(tx, execution),
        now=tx.now,
        findings=findings,
    )


def _is_held_back(tx: Tx, execution: Execution) -> bool:
    """By the one of the tick before: they go one by one."""
    if execution.schedule_id is None or execution.tick is None:
        return False
    ticks = [each.tick for each in tx.executions.open_of(execution.schedule_id) if each.tick is not None]
    return min(ticks, default=execution.tick) < execution.tick


def _question(call: Call) -> Question:
    return (call.step.id, call.step.number, call.kind)
