"""A store that is registered while work is written by those of before: all of it is bound by what lies there.

On PostgreSQL, where writers meet. Each is held up where it comes to a table that another connection has locked.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from controlplane.domain.ids import JobId
from controlplane.domain.jobs import ask_id
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.operations import batches, bulk, jobs, object_stores, records, replicas, submission
from controlplane.operations.idempotency import Once
from controlplane.reconcilers.services import NewReplica
from controlplane.store import Store, Tx
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.protocol import RecordBatch
from tests import factories
from tests.races.holds import SECONDS, held_up
from tests.unit.operations.world import World, world
from tests.unit.runtime.pipeline_world import job_step, makes, pipeline_world


@pytest.fixture
def plane(tmp_path: Path, postgresql_url: str) -> Iterator[World]:
    with world(tmp_path, postgresql_url) as made:
        yield made


@pytest.fixture
def late(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of a folder that is no store yet."""
    return tmp_path_factory.mktemp("late").as_uri()


def register(plane: World, uri: str) -> None:
    object_stores.add(plane.context, plane.root, StoreCreate(name="late", uri=uri))


def submit(plane: World, spec: JobSpec, text: str) -> None:
    submission.submit(plane.context, plane.root, spec, text)


def submit_batch(plane: World, spec: JobSpec, text: str) -> None:
    batches.submit_many(plane.context, plane.root, [(spec, text)])


def submit_bulk(plane: World, spec: JobSpec, text: str) -> None:
    once: Once[str] = Once(
        token_id=plane.root.token_id, key="key", request_hash=b"hash", code=200, render=str
    )
    bulk.submit_each(plane.context, plane.root, [(spec, text)], str, once=once)


def submit_replica(plane: World, spec: JobSpec, text: str) -> None:
    with plane.store.read() as tx:
        (project,), ids = tx.projects.list(None, 1), plane.context.ids
        queue = tx.queues.by_name(project.id, "default")
    assert queue is not None
    service = factories.service(project_id=project.id, queue_id=queue.id)
    template = spec.model_copy(update={"kind": "replica"}).model_dump_json(exclude_unset=True)
    revision = factories.revision(template=template)

    def unit(tx: Tx) -> None:
        tx.services.add(service, by="anna")
        tx.revisions.add(service, revision)
        new = NewReplica(revision_id=revision.id, ordinal=0, turn=1, is_surplus=False)
        replicas.submit(tx, ids, service, revision, new)

    assert text
    plane.store.write(unit)


@pytest.mark.parametrize(
    ("deed", "table"),
    [
        (submit, "jobs"),
        (submit_batch, "jobs"),
        (submit_bulk, "idempotency"),  # it looks at the stores when the jobs are written
        (submit_replica, "jobs"),
    ],
)
def test_what_is_being_submitted_meanwhile_is_bound(
    plane: World, postgresql_url: str, late: str, deed: Callable[[World, JobSpec, str], None], table: str
) -> None:
    spec = JobSpec.model_validate(
        {"name": "train", "entrypoint": "true", "inputs": {"corpus": f"{late}/corpus/"}}
    )
    submitting = partial(deed, plane, spec, spec.model_dump_json(exclude_unset=True))
    with held_up(postgresql_url, table) as hold:
        hold.begin(submitting, partial(register, plane, late))
    assert stores_of(plane.store) == [("late",)]


def test_what_is_tried_again_meanwhile_is_bound(plane: World, postgresql_url: str, late: str) -> None:
    first = plane.submit(inputs={"corpus": f"{late}/corpus/"}).job
    jobs.cancel(plane.context, plane.root, first.id)
    with held_up(postgresql_url, "jobs") as hold:
        hold.begin(lambda: jobs.retry(plane.context, plane.root, first.id), partial(register, plane, late))
    assert stores_of(plane.store) == [("late",)]


def test_who_saves_a_checkpoint_there_meanwhile_is_bound(
    plane: World, postgresql_url: str, late: str
) -> None:
    attempt = plane.running()
    token = attempt_token(plane.context.server_key, attempt.id)
    stamp = plane.clock.at.isoformat()
    saved = {"seq": 2, "kind": "checkpoint", "at": stamp, "uri": f"{late}/7", "step": 7, "sha256": None}
    hello = {"seq": 1, "kind": "hello", "at": stamp, "host": "h", "pid": 1}
    batch = RecordBatch.model_validate({"rank": 0, "records": [hello, saved]})
    with held_up(postgresql_url, "ranks") as hold:
        hold.begin(
            lambda: records.ingest(plane.context, attempt.id, token, batch), partial(register, plane, late)
        )
    assert stores_of(plane.store) == [("late",)]


def test_a_step_that_is_begun_meanwhile_is_bound_also_behind_one_that_is_refused(
    tmp_path: Path, postgresql_url: str, late: str
) -> None:
    reads = {"inputs": {"raw": "steps.first.outputs.made"}}
    pipeline = {
        "name": "fan",
        "steps": [
            job_step("first", outputs=makes()),
            {"name": "greedy", **reads, "job": job(late, resources={"gpus": 9})},
            {"name": "modest", **reads, "job": job(late)},
        ],
    }
    with pipeline_world(tmp_path, postgresql_url) as made:
        execution = made.submit(pipeline)
        made.plane.cluster()
        made.loops = ()
        made.end(execution, "first", made="raw data")
        made.restart()
        with held_up(postgresql_url, "jobs") as hold:
            hold.begin(made.settle, partial(register, made.plane, late))
        assert made.states(execution) == {"first": "succeeded", "greedy": "failed", "modest": "running"}
        assert stores_of(made.store, made.job_id(execution, "modest")) == [("artifacts", "late")]


def test_who_comes_while_it_is_being_registered_is_bound(
    plane: World, postgresql_url: str, late: str
) -> None:
    with held_up(postgresql_url, "events") as hold:
        hold.begin(partial(register, plane, late), lambda: plane.submit(inputs={"corpus": f"{late}/corpus/"}))
    assert stores_of(plane.store) == [("late",)]


def test_who_submits_waits_for_nobody_else_who_does(plane: World) -> None:
    def unit(tx: Tx) -> None:
        tx.object_stores.kept()
        with ThreadPoolExecutor(1) as other:
            other.submit(plane.submit, inputs={"corpus": "s3://raw/corpus/"}).result(timeout=SECONDS)

    plane.store.write(unit)


def job(late: str, **fields: object) -> dict[str, object]:
    return {"entrypoint": "true", "inputs": {"corpus": f"{late}/corpus/"}, **fields}


def stores_of(store: Store, *job_ids: JobId) -> list[tuple[str, ...]]:
    """What binds these, or all that may read objects."""
    with store.read() as tx:
        found = job_ids or tuple(tx.jobs.reading("", 10))
        asks = tx.asks.many([ask_id(each) for each in found])
        return [each.traits.stores for each in asks.values()]
