"""The fewest replicas of a service are kept by the fair policy, on both databases; those beyond are not."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.ids import JobId, RevisionId
from controlplane.operations import deployments, replicas
from controlplane.operations.uploads import accept
from controlplane.reconcilers.services import NewReplica
from controlplane.runtime.pictures import Sight, snapshot
from controlplane.store import Tx
from controlplane.wire.servicespec import ServiceSpec
from schedulers.base import Tier
from tests.databases import postgresql_in_verify
from tests.unit.runtime.fair_world import ADMIN, World, opened, share

KEPT = "keeps its seats as long as the quota that its queue owns is enough"


@pytest.fixture
def shared(tmp_path: Path, database_url: str) -> Iterator[World]:
    with opened(tmp_path, database_url) as world:
        share(world)
        yield world


@postgresql_in_verify
def test_a_replica_of_the_fewest_stays_where_more_urgent_work_that_borrows_goes(shared: World) -> None:
    (replica,) = serve(shared, fewest=1)
    training = shared.submit("blue", tasks=3, priority=900)
    for job in (replica, training):
        shared.run(job)
    shared.pass_time(62)
    shared.submit("green", tasks=2)
    assert shared.attempts(training)[0].stop_outcome is Outcome.PREEMPTED
    assert shared.attempts(replica)[0].state is AttemptState.RUNNING
    assert KEPT in shared.explain(replica).sentence
    assert KEPT not in shared.explain(training).sentence


def test_what_replicas_borrow_goes_back_to_its_owner(shared: World) -> None:
    four = serve(shared, fewest=4)
    for job in four:
        shared.run(job)
    shared.pass_time(62)
    shared.submit("green", tasks=2)
    gone = [shared.attempts(job)[0].stop_outcome for job in four]
    assert sorted(map(str, gone)) == ["None", "None", "preempted", "preempted"]


def test_a_replica_beyond_the_fewest_asks_like_any_work(shared: World) -> None:
    serve(shared, fewest=1, beyond=1)
    with shared.context.store.read() as tx:
        seen = snapshot(tx, Sight(is_simple=False, min_runtime=timedelta()))
    assert sorted(its.tier for its in seen.classes.values()) == [Tier.NORMAL, Tier.PINNED]


def serve(world: World, *, fewest: int, beyond: int = 0) -> list[JobId]:
    """A service in the blue queue, of which each replica takes a node."""
    spec = ServiceSpec.model_validate(
        {"name": "echo", "import_path": "echo:Echo", "working_dir": _upload(world), "queue": "blue"}
        | {"resources": {"cpus": 1, "gpus": 2}, "replicas": {"min": fewest, "max": fewest + beyond}}
    )
    made = deployments.deploy(world.context, ADMIN, spec, spec.model_dump_json(exclude_unset=True))
    revision_id = made.revisions[0].id
    world.settle()
    for place in range(fewest, fewest + beyond):
        world.context.store.write(partial(_add, world, revision_id, place))
    with world.context.store.read() as tx:
        known = tx.replicas.known(made.service.id, tx.now)
    return [each.replica.job_id for each in known if not each.replica.is_surplus]


def _add(world: World, revision_id: RevisionId, place: int, tx: Tx) -> None:
    revision = tx.revisions.get(revision_id)
    assert revision is not None
    service = tx.services.get(revision.service_id)
    assert service is not None
    new = NewReplica(revision_id=revision_id, ordinal=place, turn=1, is_surplus=True)
    replicas.submit(tx, world.context.ids, service, revision, new)


def _upload(world: World) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("echo.py", "class Echo: ...")
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    return accept(world.context, ADMIN, buffer, sha256=sha256, size_bytes=len(content)).digest
