"""Work goes only where what it reads may be: its inputs, and the checkpoint that it resumes from."""

from pathlib import Path

import pytest

from controlplane.domain.clusters import Cluster, ClusterState
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import ClusterId, JobId
from controlplane.domain.invariants import Rule
from controlplane.domain.jobs import ask_id
from controlplane.domain.residency import Residency, Subject
from controlplane.operations import explain, object_stores, residency
from controlplane.operations.doctor.books import look
from controlplane.operations.placements import apply_places
from controlplane.store import Tx
from controlplane.wire.data import StoreCreate
from schedulers.base import Place, Placement
from tests.unit.runtime.test_flow import ADMIN, World, world

__all__ = ["world"]

IN_EU = Residency(regions=("eu",))
ALL = {"cpus": 2}


@pytest.fixture
def raw(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of a store whose content may only be in `eu`, as `lab` is; `away`, which is asked first, is nowhere."""
    folder = tmp_path_factory.mktemp("raw")
    object_stores.add(world.context, ADMIN, StoreCreate(name="raw", uri=folder.as_uri()))
    away = Cluster(
        id=ClusterId("cluster_away"),
        name="away",
        adapter="ray",
        state=ClusterState.PENDING,
        since=world.now,
        created_at=world.now,
        url="http://127.0.0.1:10",
    )

    def unit(tx: Tx) -> None:
        tx.clusters.add(away)
        tx.work.poke("cluster", away.id)

    world.context.store.write(unit)
    world.settle()
    say(world, Subject.CLUSTER, "lab", IN_EU)
    say(world, Subject.DATA, "raw", IN_EU)
    return folder.as_uri()


@pytest.fixture
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is no store yet."""
    return tmp_path_factory.mktemp("late")


def say(world: World, subject: Subject, name: str, rule: Residency) -> None:
    residency.put(world.context, ADMIN, subject, name, rule)


def register(world: World, folder: Path) -> None:
    """Its content may only be in `eu`."""
    object_stores.add(world.context, ADMIN, StoreCreate(name="late", uri=folder.as_uri()))
    say(world, Subject.DATA, "late", IN_EU)
    world.settle()


def end(world: World, job: JobId) -> None:
    attempt = world.attempts(job)[-1]
    world.hello(attempt.id)
    world.exit(attempt.id, 0, "completed")


def clusters(world: World, job: JobId) -> list[str]:
    return [each.cluster_id.removeprefix("cluster_") for each in world.attempts(job)]


def fail(world: World, job: JobId, *, saved: str) -> None:
    """After it has committed a checkpoint there."""
    attempt = world.attempts(job)[-1]
    world.hello(attempt.id)
    world.say(attempt.id, 2, "checkpoint", uri=saved, step=7, sha256=None)
    world.say(attempt.id, 3, "exit", code=1, reason="failed", signal=None, final=True, log_bytes=0)


def test_work_is_placed_where_its_inputs_may_be(world: World, raw: str) -> None:
    assert clusters(world, world.submit()) == ["away"]
    assert clusters(world, world.submit(inputs={"corpus": f"{raw}/corpus/"})) == ["lab"]
    assert clusters(world, world.submit(checkpoint_uri=f"{raw}/run")) == ["lab"]
    assert look(world.context.store).breaches == ()
    say(world, Subject.CLUSTER, "lab", Residency(regions=("us",)))
    rules = [each.rule for each in look(world.context.store).breaches]
    assert rules == [Rule.OUTSIDE_RESIDENCY, Rule.OUTSIDE_RESIDENCY]


def test_it_resumes_where_its_checkpoint_may_be(world: World, raw: str) -> None:
    job = world.submit(retry={"max_attempts": 2, "backoff_seconds": 0})
    fail(world, job, saved=f"{raw}/saved/7")
    world.pass_time(5)
    assert clusters(world, job) == ["away", "lab"]


def test_a_store_that_comes_later_binds_who_waits_to_read_from_it(world: World, raw: str, late: Path) -> None:
    fillers = [world.submit(resources=ALL) for _ in range(4)]
    assert [clusters(world, each)[0] for each in fillers] == ["away", "away", "lab", "lab"]
    waits = world.submit(resources=ALL, inputs={"corpus": f"{late.as_uri()}/corpus/"})
    register(world, late)
    end(world, fillers[0])
    assert clusters(world, waits) == []
    end(world, fillers[2])
    assert clusters(world, waits) == ["lab"]


def test_a_store_that_comes_later_binds_who_runs_and_will_resume_from_it(
    world: World, raw: str, late: Path
) -> None:
    job = world.submit(retry={"max_attempts": 2, "backoff_seconds": 0})
    world.hello(world.attempts(job)[-1].id)
    world.say(world.attempts(job)[-1].id, 2, "checkpoint", uri=f"{late.as_uri()}/7", step=7, sha256=None)
    register(world, late)
    world.say(
        world.attempts(job)[-1].id, 3, "exit", code=1, reason="failed", signal=None, final=True, log_bytes=0
    )
    world.pass_time(5)
    assert clusters(world, job) == ["away", "lab"]


def test_a_store_that_goes_binds_nobody_any_more(world: World, raw: str, late: Path) -> None:
    register(world, late)
    fillers = [world.submit(resources=ALL) for _ in range(4)]
    waits = world.submit(resources=ALL, inputs={"corpus": f"{late.as_uri()}/corpus/"})
    end(world, fillers[0])
    assert clusters(world, waits) == []
    object_stores.remove(world.context, ADMIN, "late")
    world.settle()
    assert clusters(world, waits) == ["away"]


def test_what_can_be_nowhere_with_what_it_reads_is_refused_at_the_door(world: World, raw: str) -> None:
    say(world, Subject.DATA, "raw", Residency(regions=("mars",)))
    with pytest.raises(Invalid) as refused:
        world.submit(inputs={"corpus": f"{raw}/corpus/"})
    assert refused.value.field == "inputs.corpus"
    assert str(refused.value.value) == f"{raw}/corpus/"
    assert refused.value.message == (
        "residency: no cluster is where its input 'corpus' (in store 'raw') may be: "
        "what lies in store 'raw' may only be in 'mars'; cluster 'away' is in no known region"
    )


def test_two_rules_that_no_cluster_meets_together_are_refused(world: World, raw: str) -> None:
    say(world, Subject.PROJECT, "default", Residency(clusters=("away",)))
    with pytest.raises(Invalid, match=r"its input 'corpus' \(in store 'raw'\)"):
        world.submit(inputs={"corpus": f"{raw}/corpus/"})
    assert clusters(world, world.submit()) == ["away"]


def test_who_waits_is_told_the_input_the_store_and_the_rule(world: World, raw: str) -> None:
    for _ in range(2):
        world.submit(resources=ALL, inputs={"corpus": raw})
    job = world.submit(resources=ALL, inputs={"corpus": f"{raw}/corpus/"})
    assert clusters(world, job) == []
    say(world, Subject.DATA, "raw", Residency(regions=("mars",)))
    world.settle()
    told = explain.explain(world.context, ADMIN, job)
    assert told.sentence.endswith(
        "; its input 'corpus' lies in store 'raw', and what lies there may only be in 'mars'"
    )


def test_a_plan_that_places_it_elsewhere_is_refused(world: World, raw: str) -> None:
    for _ in range(2):
        world.submit(resources=ALL, inputs={"corpus": raw})
    job = world.submit(resources=ALL, inputs={"corpus": raw})
    store = world.context.store
    with store.read() as tx:
        lease = tx.leases.get("scheduler")
        (node, *_) = tx.nodes.present(ClusterId("cluster_away"))
    assert lease is not None
    seats = (Placement(rank=0, node_id=node.id),)
    place = Place(ask_id=ask_id(job), cluster_id=ClusterId("cluster_away"), seats=seats)
    (refusal,) = store.write(lambda tx: apply_places(tx, lease, [place]))
    assert refusal.why == "what lies in store 'raw' may only be in 'eu'; cluster 'away' is in no known region"
