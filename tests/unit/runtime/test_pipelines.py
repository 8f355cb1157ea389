"""Pipelines at work, on both databases: steps become jobs, hand artifacts on, are cached, paused and tried again."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.domain.executions import ExecutionState
from controlplane.domain.jobs import JobState
from controlplane.domain.residency import Residency, Subject
from controlplane.operations import executions, object_stores, residency, retention, tokens
from controlplane.reconcilers.executions import MOST_BEGUN
from controlplane.wire.data import StoreCreate
from controlplane.wire.pipelines import PipelineSpec
from tests.unit.runtime.pipeline_world import PipelineWorld, chain, job_step, makes, pipeline_world

ONE = {"name": "one", "steps": [job_step("only", outputs=makes())]}


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[PipelineWorld]:
    with pipeline_world(tmp_path, database_url) as made:
        yield made


@pytest.fixture
def sqlite(tmp_path: Path, sqlite_url: str) -> Iterator[PipelineWorld]:
    with pipeline_world(tmp_path, sqlite_url) as made:
        yield made


def test_a_step_is_begun_when_what_it_reads_is_there_and_is_told_where(world: PipelineWorld) -> None:
    execution = world.submit(chain())
    assert world.states(execution) == {"first": "running", "second": "pending"}
    world.end(execution, "first", made="raw data")
    assert world.states(execution) == {"first": "succeeded", "second": "running"}
    spec = world.spec(execution, "second")
    first = world.report(execution).steps[0]
    assert spec.environment == {"INPUT_RAW": first.output("made").uri}
    assert Path(spec.environment["INPUT_RAW"].removeprefix("file://")).read_text() == "raw data"
    assert spec.labels == {"pipeline": "chain", "execution": execution, "step": "second"}
    assert (spec.name, spec.project, spec.queue) == ("chain-second", "default", "default")

    world.end(execution, "second", made="clean data")
    assert world.states(execution) == {"first": "succeeded", "second": "succeeded"}
    assert world.report(execution).execution.state is ExecutionState.SUCCEEDED


def test_an_execution_survives_the_loss_of_every_replica(world: PipelineWorld) -> None:
    execution = world.submit(chain())
    world.restart()
    world.end(execution, "first", made="x")
    world.restart()
    world.pass_seconds(200)
    world.end(execution, "second", made="y")
    assert world.report(execution).execution.state is ExecutionState.SUCCEEDED
    assert [step.number for step in world.report(execution).steps] == [1, 1]


def test_equal_work_is_taken_from_an_earlier_execution(world: PipelineWorld) -> None:
    first = world.submit(chain())
    world.end(first, "first", made="x")
    world.end(first, "second", made="y")
    second = world.submit(chain())
    assert world.states(second) == {"first": "cached", "second": "cached"}
    old, new = world.report(first).steps, world.report(second).steps
    assert [step.outputs for step in new] == [step.outputs for step in old]
    assert [step.taken_from for step in new] == [step.id for step in old]
    third = world.submit(chain())
    assert [step.taken_from for step in world.report(third).steps] == [step.id for step in old]


@pytest.mark.parametrize("change", ["other command", "outputs are gone", "outputs have changed", "opted out"])
def test_a_step_is_done_again_when_anything_differs(sqlite: PipelineWorld, change: str) -> None:
    first = sqlite.submit(ONE)
    sqlite.end(first, "only", made="x")
    made = Path(sqlite.report(first).steps[0].output("made").uri.removeprefix("file://"))
    step = job_step("only", outputs=makes())
    match change:
        case "other command":
            step["job"] = {"entrypoint": "make other"}
        case "outputs are gone":
            made.unlink()
        case "outputs have changed":
            made.write_text("tampered")
        case _:
            step["cache"] = False
    assert sqlite.states(sqlite.submit({"name": "one", "steps": [step]})) == {"only": "running"}


def test_a_step_is_done_again_when_its_input_has_other_content(sqlite: PipelineWorld) -> None:
    first = sqlite.submit(chain())
    sqlite.end(first, "first", made="x")
    sqlite.end(first, "second", made="y")
    again = chain()
    again["steps"][0]["job"] = {"entrypoint": "make differently"}
    second = sqlite.submit(again)
    sqlite.end(second, "first", made="z")
    assert sqlite.states(second) == {"first": "succeeded", "second": "running"}
    third = sqlite.submit(again | {"steps": [{**again["steps"][0], "cache": False}, again["steps"][1]]})
    sqlite.end(third, "first", made="x")
    assert sqlite.states(third) == {"first": "succeeded", "second": "cached"}


def test_what_only_says_when_and_where_a_job_runs_is_no_other_work(sqlite: PipelineWorld) -> None:
    first = sqlite.submit(ONE)
    sqlite.end(first, "only", made="x")
    step = job_step("only", outputs=makes())
    step["job"] |= {"priority": 7, "labels": {"who": "anna"}, "retry": {"max_attempts": 3}}
    assert sqlite.states(sqlite.submit({"name": "two", "steps": [step]})) == {"only": "cached"}


def test_nothing_is_taken_from_where_the_project_may_no_longer_be(sqlite: PipelineWorld) -> None:
    sqlite.end(sqlite.submit(ONE), "only", made="x")
    plane, elsewhere = sqlite.plane, f"file://{sqlite.folder.parent}/elsewhere"
    new = StoreCreate(name="elsewhere", uri=elsewhere, region="eu-1")
    object_stores.add(plane.context, plane.root, new)
    there = {**ONE, "outputs_uri": f"{elsewhere}/"}
    assert sqlite.states(sqlite.submit(there)) == {"only": "cached"}
    residency.put(plane.context, plane.root, Subject.PROJECT, "default", Residency(regions=("eu-1",)))

    assert sqlite.states(sqlite.submit(there)) == {"only": "running"}


def test_a_step_without_outputs_is_never_cached(sqlite: PipelineWorld) -> None:
    pipeline = {"name": "bell", "steps": [job_step("ring")]}
    sqlite.end(sqlite.submit(pipeline), "ring")
    assert sqlite.states(sqlite.submit(pipeline)) == {"ring": "running"}


def test_an_output_may_be_all_that_is_below_a_folder(sqlite: PipelineWorld) -> None:
    pipeline = {"name": "many", "steps": [job_step("only", outputs=makes("shards/", "dataset"))]}
    first = sqlite.submit(pipeline)
    for key in ("shards/b", "shards/deep/a", "elsewhere"):
        sqlite.write(first, "only", key, key)
    sqlite.write(first, "only", "shards/empty", "")
    sqlite.end(first, "only")
    found = sqlite.report(first).steps[0].output("made")
    assert (found.uri[-8:], found.size_bytes) == ("/shards/", len("shards/b" + "shards/deep/a"))
    assert sqlite.states(sqlite.submit(pipeline)) == {"only": "cached"}


def test_a_step_whose_job_left_no_output_fails_and_says_which(sqlite: PipelineWorld) -> None:
    execution = sqlite.submit(chain())
    sqlite.end(execution, "first")
    assert sqlite.states(execution) == {"first": "failed", "second": "skipped"}
    report = sqlite.report(execution)
    assert "there is no object file://" in str(report.steps[0].reason)
    assert report.execution.state is ExecutionState.FAILED
    assert str(report.execution.reason).startswith("step 'first' failed: there is no object")
    assert report.steps[1].reason == "it needs step 'first', which was failed"


def test_a_failed_step_is_tried_again_as_often_as_it_may_be(sqlite: PipelineWorld) -> None:
    execution = sqlite.submit({"name": "p", "steps": [job_step("only", retries=1, backoff_seconds=60)]})
    first = sqlite.job_id(execution, "only")
    sqlite.end(execution, "only", JobState.FAILED)
    assert sqlite.states(execution) == {"only": "ready"}
    sqlite.pass_seconds(61)
    assert sqlite.states(execution) == {"only": "running"}
    assert sqlite.job_id(execution, "only") != first
    assert str(sqlite.spec(execution, "only").outputs_uri).endswith(f"/{execution}/only/2/outputs")
    sqlite.end(execution, "only", JobState.FAILED)
    assert sqlite.states(execution) == {"only": "failed"}


def test_a_paused_execution_begins_nothing_until_it_is_resumed(world: PipelineWorld) -> None:
    execution = world.submit(chain())
    executions.pause(world.plane.context, world.user, execution)
    world.end(execution, "first", made="x")
    world.pass_seconds(3600)
    assert world.states(execution) == {"first": "succeeded", "second": "ready"}
    executions.resume(world.plane.context, world.user, execution)
    world.settle()
    assert world.states(execution) == {"first": "succeeded", "second": "running"}


def test_a_cancelled_execution_cancels_its_jobs_and_begins_no_more(world: PipelineWorld) -> None:
    execution = world.submit(chain())
    executions.cancel(world.plane.context, world.user, execution)
    world.settle()
    assert world.job(execution, "first").state is JobState.CANCELLED
    assert world.states(execution) == {"first": "cancelled", "second": "cancelled"}
    assert world.report(execution).execution.state is ExecutionState.CANCELLED


def test_a_retry_takes_what_succeeded_even_if_it_opted_out_of_the_cache(world: PipelineWorld) -> None:
    pipeline = chain()
    pipeline["steps"][0]["cache"] = False
    first = world.submit(pipeline)
    world.end(first, "first", made="x")
    world.end(first, "second", JobState.FAILED)
    second = executions.retry(world.plane.context, world.user, first).execution.id
    world.settle()
    assert world.states(second) == {"first": "cached", "second": "running"}
    assert world.report(second).execution.retry_of == first
    world.end(second, "second", made="y")
    assert world.report(second).execution.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize(("made_anew", "state"), [("x", "cached"), ("other", "running")])
def test_a_retry_takes_nothing_that_was_made_of_something_else(
    sqlite: PipelineWorld, made_anew: str, state: str
) -> None:
    pipeline = chain(cache=False)
    both = {"raw": "steps.first.outputs.made", "made": "steps.second.outputs.made"}
    pipeline["steps"][0]["cache"] = False
    pipeline["steps"].append(job_step("third", inputs=both))
    first = sqlite.submit(pipeline)
    sqlite.end(first, "first", made="x")
    sqlite.end(first, "second", made="of x")
    sqlite.end(first, "third", JobState.FAILED)
    gone = sqlite.report(first).steps[0].output("made").uri
    Path(gone.removeprefix("file://")).unlink()
    second = executions.retry(sqlite.plane.context, sqlite.user, first).execution.id
    sqlite.settle()
    assert sqlite.states(second) == {"first": "running", "second": "pending", "third": "pending"}
    sqlite.end(second, "first", made=made_anew)
    assert sqlite.states(second)["second"] == state


def test_of_a_wide_pipeline_a_few_steps_are_begun_in_each_transaction(sqlite: PipelineWorld) -> None:
    """All at once they would keep everybody else from writing."""
    wide = {"name": "wide", "steps": [job_step(f"step-{number}") for number in range(2 * MOST_BEGUN + 5)]}
    text = PipelineSpec.model_validate(wide).model_dump_json(exclude_unset=True)
    execution = executions.submit(sqlite.plane.context, sqlite.user, text).execution.id
    begun = [0]
    for _ in range(6):
        (item,) = sqlite.store.write(lambda tx: tx.work.claim("execution", "slow", 9, 60.0))
        turns = sqlite.steps.begin([item], [])
        sqlite.store.write(lambda tx, turns=turns: sqlite.steps.record(tx, turns))  # type: ignore[misc]
        begun.append(list(sqlite.states(execution).values()).count("running"))

    assert begun == [0, 0, 0, MOST_BEGUN, 2 * MOST_BEGUN, 2 * MOST_BEGUN + 5, 2 * MOST_BEGUN + 5]


def test_steps_are_begun_with_the_rights_of_a_token_and_end_with_it(sqlite: PipelineWorld) -> None:
    execution = sqlite.submit(chain())
    tokens.revoke(sqlite.plane.context, sqlite.plane.root, sqlite.user.token_id)
    sqlite.end(execution, "first", made="x")
    assert sqlite.states(execution) == {"first": "succeeded", "second": "failed"}
    assert "token 'anna' was revoked" in str(sqlite.report(execution).steps[1].reason)


def test_old_executions_are_pruned_with_their_steps(world: PipelineWorld) -> None:
    over, still_open = world.submit(ONE), world.submit({"name": "two", "steps": [job_step("a")]})
    world.end(over, "only", made="x")
    later = world.plane.clock.at + timedelta(days=1)
    assert world.store.write(lambda tx: tx.executions.prune(later, 10)) == 1
    with world.store.read() as tx:
        assert [each.id for each in tx.executions.newest(None, None, 9)] == [still_open]
        assert tx.steps.of(world.report(still_open).execution.id) != ()
    assert world.states(world.submit(ONE)) == {"only": "running"}


def test_old_executions_are_pruned_a_few_in_each_transaction(
    sqlite: PipelineWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EXECUTIONS_BATCH", 1)
    first = sqlite.submit(ONE)
    sqlite.end(first, "only", made="x")
    assert sqlite.states(sqlite.submit(ONE)) == {"only": "cached"}
    sqlite.plane.clock.pass_seconds(timedelta(days=100).total_seconds())
    lease = sqlite.store.write(lambda tx: tx.leases.take("retention", "here", 60.0))
    assert lease is not None
    left = []
    for _ in range(2):
        retention.prune(sqlite.plane.context, lease)
        with sqlite.store.read() as tx:
            left.append(len(tx.executions.newest(None, None, 9)))
    assert left == [1, 0]


def test_what_a_call_found_out_outlives_a_claim_that_ran_out(sqlite: PipelineWorld) -> None:
    """Reading large artifacts takes longer than a claim lasts: what was read must count all the same."""
    execution = sqlite.submit(ONE)
    step = sqlite.steps
    sqlite.write(execution, "only", "made", "x")
    with sqlite.store.read() as tx:
        job = tx.jobs.get(sqlite.job_id(execution, "only"))
    assert job is not None
    active = job.move(JobState.ACTIVE, at=sqlite.plane.clock.at)
    sqlite.store.write(lambda tx: tx.jobs.save(active))
    done = active.move(JobState.SUCCEEDED, at=sqlite.plane.clock.at)
    sqlite.store.write(lambda tx: tx.jobs.save(done))
    sqlite.pass_seconds(0)
    sqlite.plane.clock.pass_seconds(31)
    (item,) = sqlite.store.write(lambda tx: tx.work.claim("execution", "slow", 9, 1.0))
    moving = step.begin([item], [])
    sqlite.store.write(lambda tx: step.record(tx, moving))
    (item,) = sqlite.store.write(lambda tx: tx.work.claim("execution", "slow", 9, 1.0))
    (turn,) = step.begin([item], [])
    step.act([turn])
    Path(str(sqlite.spec(execution, "only").outputs_uri).removeprefix("file://"), "made").unlink()
    sqlite.pass_seconds(130)
    assert sqlite.states(execution) == {"only": "succeeded"}
