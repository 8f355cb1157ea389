"""Inputs come near the work once, whole and as they are now, and go when nobody reads them; whoever dies on the way."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.ids import JobId
from controlplane.domain.inputs import Input, InputState
from controlplane.domain.residency import Residency, Subject
from controlplane.executors.base import Order
from controlplane.operations import explain, object_stores, projects, residency, submission
from controlplane.runtime.process import Loops
from controlplane.storage.base import ObjectStore, Place
from controlplane.storage.fake import FakeStore
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import JobSpec
from schedulers.priority import Priority
from tests.databases import postgresql_in_verify
from tests.unit.runtime.copy_site import Crash, Instead, Perilous
from tests.unit.runtime.test_flow import ADMIN, World, world

__all__ = ["world"]

DAY = 86_400.0
CORPUS = {"corpus/a": b"first", "corpus/b/c": b"second", "corpus/empty": b""}
MANY = 60


@dataclass(slots=True)
class Stage:
    """`far`, where the inputs are, and `near`, which is near the cluster."""

    world: World
    far: FakeStore
    near: Perilous
    replicas: int = 1

    def submit(self, uri: str = "s3://far/corpus/", project: str = "default") -> JobId:
        spec = JobSpec(name="work", entrypoint="true", project=project, inputs={"corpus": uri})
        job = submission.submit(self.world.context, ADMIN, spec, spec.model_dump_json()).job.id
        self.pass_time(0)
        return job

    def order(self, job: JobId) -> Order | None:
        orders = (each for each in self.world.executor.orders.values() if each.job_id == job)
        return next(orders, None)

    def told(self, job: JobId) -> str:
        """Where the code of a job was told that its input is, once it was started."""
        for _ in range(MANY):
            order = self.order(job)
            if order is not None:
                return order.environment["CROSSDOCK_INPUT_CORPUS"]
            self.pass_time(5)
        raise AssertionError(explain.explain(self.world.context, ADMIN, job).sentence)

    def read(self, uri: str) -> dict[str, bytes]:
        """What the code finds below it."""
        prefix = uri.removeprefix("s3://near/")
        found = self.near.inner.objects.items()
        return {f"corpus/{key.removeprefix(prefix)}": data for key, data in found if key.startswith(prefix)}

    def rows(self, *states: InputState) -> list[Input]:
        with self.world.context.store.read() as tx:
            found = [row for target in self.targets() for row in tx.inputs.of_target(target)]
        return [row for row in found if not states or row.state in states]

    def targets(self) -> list[str]:
        with self.world.context.store.read() as tx:
            return sorted({copy.target for copy in tx.copies.newest(None, None, 100)})

    def pass_time(self, seconds: float) -> None:
        """A replica that dies is followed by another, once its claims have run out."""
        for _ in range(MANY):
            try:
                self.world.pass_time(seconds)
            except Crash:
                self._follow()
                seconds = 130
            else:
                return
        raise AssertionError("it never ends")

    def finish(self, job: JobId) -> None:
        (attempt,) = self.world.attempts(job)
        self.world.hello(attempt.id)
        self.world.exit(attempt.id, 0, "completed")

    def collect(self) -> None:
        try:
            self.world.loops.retention.round()
        except Crash:
            self._follow()
            self.pass_time(130)
            self.world.loops.retention.round()
        self.pass_time(0)

    def _follow(self) -> None:
        self.replicas += 1
        self.world.loops = Loops(
            self.world.context,
            adapters={"ray": self.world.lab},
            executor=self.world.executor,
            policy=Priority(),
            holder=f"replica-{self.replicas}",
        )


@pytest.fixture
def stage(world: World) -> Stage:
    far, near = FakeStore(now=lambda: world.now), Perilous(inner=FakeStore(now=lambda: world.now))
    stores: dict[str, ObjectStore] = {"far": far, "near": near}

    def opens(kind: str, place: Place, folder: Path) -> ObjectStore:
        del kind, folder
        return stores[place.bucket]

    world.context = replace(world.context, object_stores=opens)
    world.__post_init__()
    for name, clusters in (("far", []), ("near", ["lab"])):
        object_stores.add(world.context, ADMIN, StoreCreate(name=name, uri=f"s3://{name}", near=clusters))
    far.objects.update(CORPUS)
    return Stage(world=world, far=far, near=near)


def test_a_job_finds_its_input_near_it_whole_and_nothing_else_beside_it(stage: Stage) -> None:
    told = stage.told(stage.submit())
    assert told.startswith("s3://near/crossdock-inputs/")
    assert stage.read(told) == CORPUS
    assert stage.near.inner.objects.keys() == {
        f"{told.removeprefix('s3://near/')}{key.removeprefix('corpus/')}" for key in CORPUS
    }


def test_one_object_keeps_its_name(stage: Stage) -> None:
    told = stage.told(stage.submit("s3://far/corpus/b/c"))
    assert told.endswith("/c")
    assert stage.near.inner.objects == {told.removeprefix("s3://near/"): b"second"}


def test_the_same_content_is_copied_once_for_all_jobs_and_for_all_prefixes(stage: Stage) -> None:
    first = stage.submit()
    told = stage.told(first)
    sent = stage.near.calls.count("put_part")
    stage.finish(first)
    stage.far.objects.update({key.replace("corpus", "same", 1): data for key, data in CORPUS.items()})
    assert stage.told(stage.submit()) == told
    assert stage.told(stage.submit("s3://far/same/")) == told
    assert stage.near.calls.count("put_part") == sent
    assert [row.state for row in stage.rows()] == [InputState.READY] * 2


def test_projects_neither_share_a_copy_nor_wait_for_one_anothers(stage: Stage) -> None:
    projects.create_project(stage.world.context, ADMIN, name="other")
    mine, its = stage.told(stage.submit()), stage.told(stage.submit(project="other"))
    assert mine != its
    assert stage.read(mine) == stage.read(its) == CORPUS
    with stage.world.context.store.read() as tx:
        owners = {(copy.project_id, copy.target) for copy in tx.copies.newest(None, None, 9)}
    assert len({project for project, _ in owners}) == 2
    assert {target for _, target in owners} == {mine, its}


def test_a_job_reads_what_is_there_when_it_is_placed_and_not_what_was_there_before(stage: Stage) -> None:
    before = stage.told(stage.submit())
    stage.far.objects["corpus/a"] = b"newer"
    after = stage.told(stage.submit())
    assert after != before
    assert stage.read(before) == CORPUS
    assert stage.read(after) == CORPUS | {"corpus/a": b"newer"}


def test_what_changes_while_it_is_copied_is_brought_as_it_is_then(stage: Stage) -> None:
    before, put_part = stage.near.inner, stage.near.inner.put_part

    def change_then_put(*args: object) -> object:
        stage.far.objects["corpus/b/c"] = b"newest"
        return put_part(*args)  # type: ignore[arg-type]

    stage.near.inner = cast("FakeStore", Instead(stage.near.inner, {"put_part": change_then_put}))
    told = stage.told(stage.submit())
    assert stage.read(told) == CORPUS | {"corpus/b/c": b"newest"}
    stage.pass_time(10)
    assert len(stage.near.inner.objects) == len(CORPUS)

    stage.near.inner, stage.far.objects["corpus/b/c"] = before, CORPUS["corpus/b/c"]
    assert stage.read(stage.told(stage.submit())) == CORPUS


def test_explain_names_what_a_job_waits_for(stage: Stage) -> None:
    stage.far.is_away = True
    job = stage.submit()
    stage.pass_time(5)
    sentence = explain.explain(stage.world.context, ADMIN, job).sentence
    assert "waits for its input s3://far/corpus/, which is copied to store 'near'" in sentence
    assert stage.order(job) is None
    stage.far.is_away = False
    assert stage.read(stage.told(job)) == CORPUS


def test_an_input_that_is_not_there_ends_the_attempt_and_says_why(stage: Stage) -> None:
    job = stage.submit("s3://far/nothing/")
    stage.pass_time(10)
    attempt = stage.world.attempts(job)[0]
    assert (attempt.state, attempt.outcome) == (AttemptState.ENDED, Outcome.NEVER_STARTED)
    assert "its input s3://far/nothing/ could not be brought: there is nothing at" in str(attempt.reason)


def test_what_may_not_be_near_the_cluster_is_read_where_it_is(stage: Stage) -> None:
    at_home = Residency(regions=("eu-central-1",))
    residency.put(stage.world.context, ADMIN, Subject.DATA, "far", at_home)
    residency.put(stage.world.context, ADMIN, Subject.CLUSTER, "lab", at_home)
    assert stage.told(stage.submit()) == "s3://far/corpus/"
    assert stage.near.inner.objects == {}


def test_what_lies_in_no_registered_store_is_left_to_the_code(stage: Stage) -> None:
    assert stage.told(stage.submit("s3://unknown/corpus/")) == "s3://unknown/corpus/"


def test_what_is_old_goes_but_not_while_a_job_reads_it(stage: Stage) -> None:
    job = stage.submit()
    stage.told(job)
    (attempt,) = stage.world.attempts(job)
    stage.world.hello(attempt.id)
    with_reader = len(stage.near.inner.objects)
    stage.world.now = stage.world.now.replace(month=2)
    stage.world.loops.retention.round()
    assert len(stage.near.inner.objects) == with_reader
    stage.world.exit(attempt.id, 0, "completed")
    stage.collect()
    assert len(stage.near.inner.objects) == with_reader
    stage.world.now = stage.world.now.replace(month=3)
    stage.collect()
    assert stage.near.inner.objects == {}
    assert stage.rows() == []
    assert stage.read(stage.told(stage.submit())) == CORPUS


def test_what_somebody_took_away_is_brought_again(stage: Stage) -> None:
    first = stage.submit()
    told = stage.told(first)
    stage.finish(first)
    stage.near.inner.delete(f"{told.removeprefix('s3://near/')}a")
    assert stage.told(stage.submit()) == told
    assert stage.read(told) == CORPUS


@postgresql_in_verify
@pytest.mark.parametrize("is_before", [True, False])
def test_whoever_dies_at_any_call_the_job_reads_all_of_it_and_nothing_is_left_when_it_goes(
    stage: Stage, *, is_before: bool
) -> None:
    """Every call to the store near the work in turn, until there is no such call."""
    number = 0
    while True:
        stage.near.calls.clear()
        stage.near.wrong_call, stage.near.is_before = number, is_before
        stage.far.put("corpus/a", io.BytesIO(f"version {number}".encode()))
        job = stage.submit()
        assert stage.read(stage.told(job)) == stage.far.objects, number
        stage.finish(job)
        stage.world.now = stage.world.now.replace(year=stage.world.now.year + 1)
        stage.collect()
        assert (stage.near.inner.objects, stage.rows()) == ({}, []), number
        assert list(stage.near.inner.list_uploads("")) == [], number
        if len(stage.near.calls) <= number:
            break
        number += 1
    assert number > 20
