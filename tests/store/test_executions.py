"""Executions, their steps and schedules: what is stored comes back whole, and old versions are refused."""

from dataclasses import replace

import pytest

from controlplane.domain.errors import Conflict, StaleWrite
from controlplane.domain.executions import ExecutionState, StepArtifact, StepState
from controlplane.domain.ids import ExecutionId, JobId, ScheduleId, StepId
from controlplane.domain.pipelines import ArtifactKind
from controlplane.domain.schedules import Overlap
from controlplane.store import Store
from tests import factories
from tests.store.planting import plant

MODEL = StepArtifact(
    name="model", kind=ArtifactKind.MODEL, uri="s3://made/model.pt", size_bytes=2**40, sha256="ab"
)
RICH = factories.execution(
    7,
    state=ExecutionState.RUNNING,
    paused_at=factories.after(1),
    cancel_requested_at=factories.after(2),
    retry_of=ExecutionId("execution-1"),
    schedule_id=ScheduleId("schedule-1"),
    tick=factories.after(3),
    reason="why",
)
DONE = factories.step(
    7,
    state=StepState.SUCCEEDED,
    number=2,
    job_id=JobId("job-1"),
    cache_key="key",
    taken_from=StepId("execution-1.0"),
    not_before=factories.after(4),
    outputs=(MODEL,),
    reason="so",
    begun_at=factories.after(5),
)


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store)
    store.write(lambda tx: tx.tokens.add(factories.token()))
    store.write(lambda tx: tx.executions.add(factories.execution(), spec="{}", schema_version=1))
    store.write(lambda tx: tx.steps.add([factories.step()]))
    return store


def test_an_execution_and_its_steps_come_back_whole(planted: Store) -> None:
    planted.write(lambda tx: tx.executions.add(RICH, spec='{"a":1}', schema_version=1))
    planted.write(lambda tx: tx.steps.add([DONE]))

    with planted.read() as tx:
        assert tx.executions.get(RICH.id) == RICH
        assert tx.executions.get(ExecutionId("x")) is None
        assert tx.executions.specs([RICH.id, ExecutionId("x")]) == {RICH.id: '{"a":1}'}
        assert tx.steps.of(RICH.id) == (DONE,)
        assert tx.steps.get(DONE.id) == DONE
        assert [each.id for each in tx.executions.newest(None, None, 9)] == ["execution-7", "execution-1"]
        assert [each.id for each in tx.executions.newest(RICH.project_id, "execution-7", 9)] == [
            "execution-1"
        ]
        assert tx.executions.newest(factories.project(2).id, None, 9) == []


def test_what_is_saved_comes_back_and_an_old_version_is_refused(planted: Store) -> None:
    execution = replace(factories.execution().move(ExecutionState.RUNNING, at=factories.after(9)), reason="?")
    ready = replace(factories.step().move(StepState.READY, at=factories.after(9)), cache_key="k")
    planted.write(lambda tx: tx.executions.save(execution))
    planted.write(lambda tx: tx.steps.save(execution, ready))

    with planted.read() as tx:
        assert (tx.executions.get(execution.id), tx.steps.get(ready.id)) == (execution, ready)
    with pytest.raises(StaleWrite):
        planted.write(lambda tx: tx.executions.save(execution))
    with pytest.raises(StaleWrite):
        planted.write(lambda tx: tx.steps.save(execution, ready))


def test_kept_outputs_are_found_by_key_inside_their_project_alone(planted: Store) -> None:
    planted.write(lambda tx: tx.executions.add(RICH, spec="{}", schema_version=1))
    planted.write(lambda tx: tx.steps.add([DONE]))

    with planted.read() as tx:
        assert tx.steps.kept(RICH.project_id, "key") == DONE
        assert tx.steps.kept(RICH.project_id, "other") is None
        assert tx.steps.kept(factories.project(2).id, "key") is None


def test_who_waits_for_a_job_is_found_while_the_step_is_at_it(planted: Store) -> None:
    running = replace(factories.step(state=StepState.READY, version=1), job_id=JobId("job-9"))
    planted.write(lambda tx: tx.executions.add(RICH, spec="{}", schema_version=1))
    planted.write(lambda tx: tx.steps.add([DONE]))
    with planted.read() as tx:
        assert tx.steps.waiting_for([JobId("job-1"), JobId("job-9")]) == []
    for state in (StepState.READY, StepState.RUNNING):
        with planted.read() as tx:
            (step,) = tx.steps.of(ExecutionId("execution-1"))
        moved = replace(step.move(state, at=factories.NOON), job_id=running.job_id)
        planted.write(lambda tx, moved=moved: tx.steps.save(factories.execution(), moved))  # type: ignore[misc] # bound now
    with planted.read() as tx:
        assert tx.steps.waiting_for([JobId("job-1"), JobId("job-9")]) == ["execution-1"]
        assert tx.steps.waiting_for([]) == []


def test_open_executions_that_no_loop_will_look_at_are_found(planted: Store) -> None:
    planted.write(lambda tx: tx.executions.add(RICH, spec="{}", schema_version=1))
    planted.write(lambda tx: tx.work.poke("execution", "execution-1"))

    with planted.read() as tx:
        assert tx.executions.unwatched("", 9) == [RICH.id]
        assert tx.executions.unwatched(RICH.id, 9) == []
        assert tx.executions.open_of(ScheduleId("schedule-1")) == [RICH]


def test_a_schedule_comes_back_whole_is_saved_and_goes(planted: Store) -> None:
    added = factories.schedule(overlap=Overlap.QUEUE)
    planted.write(lambda tx: tx.schedules.add(added, spec="{}", schema_version=1))
    saved = added.changed(
        next_at=factories.after(1), last_at=factories.after(2), problem="late", paused_at=factories.after(3)
    )
    with planted.read() as tx:
        assert tx.schedules.get(added.id) == added == tx.schedules.by_name(added.project_id, added.name)
        assert tx.schedules.unwatched("", 9) == [added.id]
    planted.write(lambda tx: tx.schedules.save(saved))
    with planted.read() as tx:
        assert tx.schedules.page(added.project_id, "", 9) == [saved]
        assert tx.schedules.page(factories.project(2).id, "", 9) == []
        assert tx.schedules.unwatched("", 9) == []
    with pytest.raises(StaleWrite):
        planted.write(lambda tx: tx.schedules.save(saved))
    with pytest.raises(Conflict):
        planted.write(
            lambda tx: tx.schedules.add(factories.schedule(2, name=added.name), spec="{}", schema_version=1)
        )
    planted.write(lambda tx: tx.schedules.remove(added.id))
    with planted.read() as tx:
        assert tx.schedules.get(added.id) is None
