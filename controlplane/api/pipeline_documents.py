"""Documents of executions, their steps, and schedules."""

import json
from dataclasses import asdict
from typing import Any

from controlplane.domain.executions import Execution, Step, StepState
from controlplane.domain.pipelines import PlannedStep
from controlplane.operations.executions import ExecutionReport, ExecutionSummary
from controlplane.operations.schedules import ScheduleReport
from controlplane.wire import pipelines as wire
from controlplane.wire.pipelines import ArtifactFound, ExecutionDocument, ScheduleDocument, StepDocument


def execution(report: ExecutionReport) -> ExecutionDocument:
    return ExecutionDocument(
        **_head(report.execution, report.project_name),
        outputs_uri=report.execution.outputs_uri,
        steps=[
            _step(planned, step) for planned, step in zip(report.pipeline.steps, report.steps, strict=True)
        ],
        spec=json.loads(report.spec_json),
    )


def summary(found: ExecutionSummary) -> wire.ExecutionSummary:
    return wire.ExecutionSummary(
        **_head(found.execution, found.project_name), steps=found.steps, done=found.done
    )


def schedule(report: ScheduleReport) -> ScheduleDocument:
    found = report.schedule
    return ScheduleDocument(
        id=found.id,
        project=report.project_name,
        name=found.name,
        pipeline=report.pipeline_name,
        cron=found.cron,
        zone=found.zone,
        overlap=found.overlap.value,
        created_at=found.created_at,
        next_at=None if found.paused_at is not None else found.next_at,
        last_at=found.last_at,
        problem=found.problem,
        paused_at=found.paused_at,
        version=found.version,
    )


def _head(found: Execution, project_name: str) -> dict[str, Any]:  # fields of an `ExecutionHead`
    return {
        "id": found.id,
        "project": project_name,
        "pipeline": found.name,
        "state": found.state.value,
        "since": found.since,
        "created_at": found.created_at,
        "paused_at": found.paused_at,
        "cancel_requested_at": found.cancel_requested_at,
        "retry_of": found.retry_of,
        "schedule": found.schedule_id,
        "tick": found.tick,
        "reason": found.reason,
        "version": found.version,
    }


def _step(planned: PlannedStep, step: Step) -> StepDocument:
    maker = step.taken_from if step.state is StepState.CACHED else None
    return StepDocument(
        name=step.name,
        kind=planned.kind.value,
        needs=list(planned.needs),
        state=step.state.value,
        since=step.since,
        begun_at=step.begun_at,
        number=step.number,
        job_id=step.job_id,
        taken_from=None if maker is None else maker.rpartition(".")[0],
        not_before=step.not_before,
        reason=step.reason,
        outputs=[ArtifactFound(**asdict(each)) for each in step.outputs],
    )
