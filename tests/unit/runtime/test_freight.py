"""Checkpoints follow the work: an attempt resumes from a copy that is whole, near where it runs, or does not start."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.bootstrap import open_store
from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.data_copies import Copy, CopyState
from controlplane.domain.errors import Conflict, NotFound
from controlplane.domain.ids import JobId
from controlplane.domain.residency import Residency, Subject
from controlplane.executors.base import Order
from controlplane.operations import explain, object_stores, residency
from controlplane.wire.data import StoreCreate
from tests import factories
from tests.inline_pool import InlinePool
from tests.unit.runtime.test_flow import ADMIN, World, world

__all__ = ["world"]


@pytest.fixture
def stores(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`old`, where the job's checkpoints are to go, and `new`, which is near the cluster."""
    top = tmp_path_factory.mktemp("stores")
    world.context = replace(world.context, object_stores=open_store)
    world.__post_init__()
    for name, near in (("old", []), ("new", ["lab"])):
        folder = top / name
        folder.mkdir(parents=True)
        object_stores.add(world.context, ADMIN, StoreCreate(name=name, uri=folder.as_uri(), near=near))
    return top


def attempt_after_a_checkpoint(world: World, stores: Path) -> JobId:
    """A job that failed once, after it had saved in the old store."""
    job = world.submit(
        checkpoint_uri=f"{stores.as_uri()}/old/run", retry={"max_attempts": 2, "backoff_seconds": 0}
    )
    (first,) = world.attempts(job)
    world.hello(first.id)
    world.say(first.id, 2, "checkpoint", uri=f"{stores.as_uri()}/old/run/7", step=7, sha256=None)
    world.push(first.id, 3, "exit", code=1, reason="failed", signal=None, final=True, log_bytes=0)
    return job


def copy_of(world: World, stores: Path, **fields: object) -> Copy:
    """Somebody's, of the checkpoint, which no loop looks at."""
    with world.context.store.read() as tx:
        project = tx.projects.by_name("default")
    assert project is not None
    made = factories.copy(
        source=f"{stores.as_uri()}/old/run/7",
        target=f"{stores.as_uri()}/new/run/7",
        created_at=world.now,
        since=world.now,
        **{"project_id": project.id} | fields,
    )
    world.context.store.write(lambda tx: tx.copies.add(made))
    return made


def order_of(world: World, job: JobId, number: int) -> Order:
    return next(
        each for each in world.executor.orders.values() if (each.job_id, each.number) == (job, number)
    )


def test_checkpoints_go_to_the_store_near_the_cluster(world: World, stores: Path) -> None:
    job = world.submit(checkpoint_uri=f"{stores.as_uri()}/old/run", outputs_uri=f"{stores.as_uri()}/old/out")
    order = order_of(world, job, 1)
    assert order.checkpoint_uri == f"{stores.as_uri()}/new/run"
    assert order.outputs_uri == f"{stores.as_uri()}/old/out"


def test_nothing_starts_before_the_newest_checkpoint_has_come(world: World, stores: Path) -> None:
    job = attempt_after_a_checkpoint(world, stores)
    (stores / "old").joinpath("run").mkdir()
    (stores / "old/run/7").write_bytes(b"weights")
    settle_without_copies(world)
    second = world.attempts(job)[1]
    assert (second.state, second.id in world.executor.orders) == (AttemptState.PLACED, False)
    waits = explain.explain(world.context, ADMIN, job).sentence
    assert waits.endswith(f"waits for its checkpoint, which is copied to {stores.as_uri()}/new/run/7")

    world.settle()
    world.pass_time(5)
    assert order_of(world, job, 2).resume_from == f"{stores.as_uri()}/new/run/7"
    assert (stores / "new/run/7").read_bytes() == b"weights"


def test_a_checkpoint_that_cannot_be_brought_ends_the_attempt_and_says_why(
    world: World, stores: Path
) -> None:
    job = attempt_after_a_checkpoint(world, stores)
    world.settle()
    world.pass_time(5)
    second = world.attempts(job)[1]
    assert second.outcome is Outcome.NEVER_STARTED
    assert "its checkpoint could not be brought: copy" in str(second.reason)
    assert second.id not in world.executor.orders


@pytest.mark.parametrize("ends", [(CopyState.CANCELLED,), (CopyState.COPYING, CopyState.DONE)])
def test_what_another_project_copied_neither_helps_nor_hinders(
    world: World, stores: Path, ends: tuple[CopyState, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Not even what is under way to the same place: it is waited for, and then comes the project's own."""
    (stores / "old/run").mkdir()
    (stores / "old/run/7").write_bytes(b"weights")
    other = factories.project(2)
    store = world.context.store
    store.write(lambda tx: tx.projects.add(other))
    found = copy_of(world, stores, project_id=other.id, rereads=True)
    job = attempt_after_a_checkpoint(world, stores)
    world.settle()
    second = world.attempts(job)[1]
    with store.read() as tx:
        assert (second.state, tx.copies.newest(None, None, 9)) == (AttemptState.PLACED, [found])
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == []
    for state in ends:
        found = found.move(state, at=world.now)
        store.write(lambda tx, found=found: tx.copies.save(found))  # type: ignore[misc] # bound now
    world.pass_time(5)
    world.pass_time(5)
    assert order_of(world, job, 2).resume_from == f"{stores.as_uri()}/new/run/7"
    assert (stores / "new/run/7").read_bytes() == b"weights"


def test_a_copy_that_was_not_read_back_is_made_again(world: World, stores: Path) -> None:
    (stores / "old/run").mkdir()
    (stores / "old/run/7").write_bytes(b"weights")
    found = copy_of(world, stores, rereads=False)
    job = attempt_after_a_checkpoint(world, stores)
    store = world.context.store
    for state in (CopyState.COPYING, CopyState.DONE):
        found = found.move(state, at=world.now)
        store.write(lambda tx, found=found: tx.copies.save(found))  # type: ignore[misc] # bound now
    world.pass_time(5)
    world.pass_time(5)
    assert order_of(world, job, 2).resume_from == f"{stores.as_uri()}/new/run/7"
    assert (stores / "new/run/7").read_bytes() == b"weights"


def test_what_may_not_be_near_the_cluster_stays_where_it_is(world: World, stores: Path) -> None:
    at_home = Residency(regions=("eu-central-1",))
    residency.put(world.context, ADMIN, Subject.DATA, "old", at_home)
    residency.put(world.context, ADMIN, Subject.CLUSTER, "lab", at_home)
    job = attempt_after_a_checkpoint(world, stores)
    world.pass_time(10)
    order = order_of(world, job, 2)
    assert order.checkpoint_uri == f"{stores.as_uri()}/old/run"
    assert order.resume_from == f"{stores.as_uri()}/old/run/7"
    assert not (stores / "new" / "run").exists()


def test_a_cluster_has_one_store_near_it(world: World, stores: Path) -> None:
    def add(cluster: str) -> None:
        wanted = StoreCreate(name="third", uri=f"{stores.as_uri()}/third", near=[cluster])
        object_stores.add(world.context, ADMIN, wanted)

    with pytest.raises(Conflict, match="store 'new' is near cluster 'lab'"):
        add("lab")
    with pytest.raises(NotFound, match="no cluster 'nowhere'"):
        add("nowhere")


def settle_without_copies(world: World) -> None:
    pool, seen = InlinePool(), None
    while seen != (seen := world.context.store.change_marker()):
        world.loops.scheduling.step()
        for name, loop in world.loops.reconciling.items():
            if name != "copy":
                loop.drain(pool)
