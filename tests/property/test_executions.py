"""Any pipeline, whatever its jobs and its calls come to: it ends, and nothing is begun before its time."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.executions import Execution, ExecutionState, Step, StepArtifact, StepState, step_id
from controlplane.domain.ids import ExecutionId, JobId, ProjectId, QueueId, TokenId
from controlplane.domain.jobs import Job, JobKind, JobState
from controlplane.domain.pipelines import (
    ArtifactKind,
    Input,
    Output,
    Pipeline,
    PlannedStep,
    StepKind,
    pipeline_of,
)
from controlplane.reconcilers.executions import (
    Call,
    CallKind,
    ExecutionDecision,
    ExecutionView,
    Finding,
    Made,
    NoAnswer,
    NothingKept,
    Recalled,
    Refused,
    begun,
    decide,
)

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
MOST_ROUNDS: Final = 400
ENDS: Final = (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(slots=True)
class Table:
    """Rows in memory, jobs that end as they like, and somebody who pauses and cancels."""

    pipeline: Pipeline
    chance: Random
    is_calm: bool
    execution: Execution = field(init=False)
    steps: list[Step] = field(init=False)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.execution = Execution(
            id=ExecutionId("e"),
            project_id=ProjectId("p"),
            name="any",
            token_id=TokenId("t"),
            outputs_uri="file:///o/",
            state=ExecutionState.WAITING,
            since=NOW,
            created_at=NOW,
        )
        self.steps = [
            Step(
                id=step_id(self.execution.id, at),
                execution_id=self.execution.id,
                position=at,
                name=planned.name,
                state=StepState.PENDING,
                since=NOW,
            )
            for at, planned in enumerate(self.pipeline.steps)
        ]

    def round(self) -> None:
        decision = decide(
            ExecutionView(
                execution=self.execution,
                pipeline=self.pipeline,
                steps=tuple(self.steps),
                jobs=self.jobs,
                is_held_back=False,
                now=self.now,
                findings={step.id: found for step in self.steps if (found := self.findings.get(step.id))},
            )
        )
        self._check(decision)
        self.findings.clear()
        self._apply(decision)
        self._live()
        self.now += timedelta(seconds=self.chance.choice((0, 5, 4000)))

    def _check(self, decision: ExecutionDecision) -> None:
        by_name = {step.name: step for step in self.steps}
        for step in decision.begin:
            planned = self.pipeline.step(step.name)
            assert self.execution.paused_at is None
            assert self.execution.cancel_requested_at is None
            assert all(by_name[name].is_done for name in planned.needs)
            assert step.number <= planned.retries
        touched = [step.id for step in (*decision.steps, *decision.begin)]
        assert len(set(touched)) == len(touched)
        assert not self.execution.is_over

    def _apply(self, decision: ExecutionDecision) -> None:
        for step in decision.steps:
            self.steps[step.position] = step
        for step in decision.begin:
            job = _job(f"{step.id}/{step.number}")
            self.jobs[job.id] = job
            self.steps[step.position] = begun(step, at=self.now, job_id=job.id)
        for job_id in decision.stop:
            self.jobs[job_id] = replace(self.jobs[job_id], cancel_requested_at=self.now)
        for call in decision.calls:
            self.findings[call.step.id] = self._answer(call)
        self.execution = decision.execution or self.execution

    def _live(self) -> None:
        for job in list(self.jobs.values()):
            if not job.is_finished and self.chance.random() < 0.5:
                end = JobState.CANCELLED if job.cancel_requested_at else self.chance.choice(ENDS)
                self.jobs[job.id] = job.move(JobState.SUCCEEDED if self.is_calm else end, at=self.now)
        if self.is_calm or self.execution.is_over:
            return
        if self.chance.random() < 0.1:
            self.execution = self.execution.pause(at=self.now)
        elif self.chance.random() < 0.5:
            self.execution = self.execution.resume()
        if self.chance.random() < 0.05:
            self.execution = self.execution.request_cancel(at=self.now)

    def _answer(self, call: Call) -> Finding:
        planned = self.pipeline.steps[call.step.position]
        made = tuple(_made(planned, each) for each in planned.outputs)
        if not self.is_calm and self.chance.random() < 0.3:
            return self.chance.choice((NoAnswer(reason="away", seconds=5), Refused(reason="gone")))
        if call.kind is not CallKind.RECALL:
            return Made(outputs=made)
        if self.chance.random() < 0.5:
            return NothingKept()
        return Recalled(taken_from=call.step.id, job_id=None, outputs=made)


def _made(planned: PlannedStep, output: Output) -> StepArtifact:
    """A function of what made it, as content is."""
    text = f"{planned.substance}/{output.name}"
    return StepArtifact(name=output.name, kind=output.kind, uri=f"file:///{text}", size_bytes=1, sha256=text)


def _job(job_id: str) -> Job:
    held = Job(
        id=JobId(job_id),
        project_id=ProjectId("p"),
        queue_id=QueueId("q"),
        name="n",
        kind=JobKind.COMMAND,
        priority=0,
        state=JobState.HELD,
        since=NOW,
        submitted_at=NOW,
    )
    return held.move(JobState.QUEUED, at=NOW).move(JobState.ACTIVE, at=NOW)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Any graph of up to eight steps, written down in any order."""
    steps: list[PlannedStep] = []
    for number in range(draw(st.integers(1, 8))):
        earlier = draw(st.lists(st.sampled_from(steps), unique=True, max_size=3)) if steps else []
        readable = [each for each in earlier if each.outputs]
        publishes = bool(readable) and draw(st.booleans()) and draw(st.booleans())
        outputs = draw(st.integers(0, 2)) if not publishes else 1
        kind = ArtifactKind.VERSION if publishes else ArtifactKind.FILE
        steps.append(
            PlannedStep(
                name=f"s{number}",
                kind=StepKind.PUBLISH if publishes else StepKind.JOB,
                substance=f"s{number}",
                inputs=tuple(
                    Input(name=f"i{at}", step=each.name, output=each.outputs[0].name)
                    for at, each in enumerate(readable)
                ),
                outputs=tuple(Output(name=f"o{at}", kind=kind, path="x") for at in range(outputs)),
                after=tuple(each.name for each in earlier if not each.outputs),
                retries=draw(st.integers(0, 2)),
                is_cached=draw(st.booleans()),
            )
        )
    return pipeline_of("any", draw(st.permutations(steps)))


def ended(pipeline: Pipeline, seed: int, *, is_calm: bool) -> Table:
    table = Table(pipeline=pipeline, chance=Random(seed), is_calm=is_calm)
    for _ in range(MOST_ROUNDS):
        if table.execution.is_over:
            return table
        table.round()
    raise AssertionError(f"still {table.execution.state}: {[str(step.state) for step in table.steps]}")


@settings(max_examples=80, deadline=None)
@given(pipelines(), st.integers(0, 2**32))
def test_whatever_happens_an_execution_ends_and_tells_truly_how(pipeline: Pipeline, seed: int) -> None:
    table = ended(pipeline, seed, is_calm=False)
    by_name = {step.name: step for step in table.steps}
    assert all(step.is_over for step in table.steps)
    succeeded = table.execution.state is ExecutionState.SUCCEEDED
    assert succeeded == all(step.is_done for step in table.steps)
    for planned in pipeline.steps:
        step = by_name[planned.name]
        if step.is_done:
            assert all(by_name[name].is_done for name in planned.needs)
            assert {each.name for each in step.outputs} == {each.name for each in planned.outputs}
        if step.state is StepState.SKIPPED:
            assert any(not by_name[name].is_done for name in planned.needs)
    if table.execution.state is ExecutionState.CANCELLED:
        assert table.execution.cancel_requested_at is not None
    assert all(job.is_finished for job in table.jobs.values())


@settings(max_examples=40, deadline=None)
@given(pipelines(), st.integers(0, 2**32))
def test_where_nothing_fails_cached_or_not_the_artifacts_are_equal(pipeline: Pipeline, seed: int) -> None:
    tables = [ended(pipeline, each, is_calm=True) for each in (seed, seed + 1)]
    assert {table.execution.state for table in tables} == {ExecutionState.SUCCEEDED}
    first, second = ({step.name: step.outputs for step in table.steps} for table in tables)
    assert first == second
