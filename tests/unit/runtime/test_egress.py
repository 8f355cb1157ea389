"""Data from elsewhere counts where machines are bought: users say how much, stores where, clusters at what price."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.domain.budgets import Budget, Window
from controlplane.domain.claims import Claim
from controlplane.domain.ids import ClusterId, JobId, QueueId
from controlplane.domain.jobs import ask_id
from controlplane.domain.queues import Queue
from controlplane.operations import explain, object_stores
from controlplane.store import QuotaNode, Tx
from controlplane.wire.data import StoreCreate
from schedulers.fair.policy import Fair
from tests.databases import postgresql_in_verify
from tests.unit.runtime.site_world import ADMIN, World, opened

EAST, WEST = ClusterId("cluster_east"), ClusterId("cluster_west")
CORPUS = {"corpus": "s3://corpus/2026/"}
LARGE = {"inputs": CORPUS, "input_gib": {"corpus": 100}}


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """Two clouds that sell equal machines, dearer in the east, where the corpus lies. Work does not wait for long."""
    with opened(tmp_path, database_url, Fair()) as made:
        del made.cloud.machine_types["large"]  # costs no more there, and would always be taken
        for name in ("east", "west"):
            made.register("cloud", name=name, region=f"{name}-1", egress_per_gib="0.05")
        price(made, EAST, 2)
        price(made, WEST, 1)
        impatient = Queue(id=queue(made), name="default/default", burst_after_seconds=60)
        node = QuotaNode(queue=impatient, is_cohort=False)
        made.context.store.write(lambda tx: tx.quotas.put(node, by="admin"))
        keep(made, "corpus", region="east-1")
        yield made


def queue(world: World) -> QueueId:
    """The only one."""
    with world.context.store.read() as tx:
        (found,) = tx.queues.list(None, None, 10)
    return found.id


def price(world: World, cluster_id: ClusterId, dollars: int, zone: str | None = None) -> None:
    """Of one machine for an hour."""

    def unit(tx: Tx) -> None:
        sold = [each for each in tx.offers.list(cluster_id) if zone in (None, each.zone)]
        tx.offers.put([replace(each, price_millionths=1_000_000 * dollars) for each in sold])

    world.context.store.write(unit)


def keep(world: World, bucket: str, *, region: str) -> None:
    object_stores.add(world.context, ADMIN, StoreCreate(name=bucket, uri=f"s3://{bucket}", region=region))
    world.settle()


def submit(world: World, **fields: object) -> JobId:
    return world.submit(tasks=2, resources={"cpus": 4}, **fields)


def bought(world: World) -> list[Claim]:
    """Once the queue has lost its patience."""
    world.pass_time(70)
    with world.context.store.read() as tx:
        return tx.claims.list(None, 100)


def places(world: World) -> list[ClusterId]:
    return [each.cluster_id for each in bought(world)]


def data(world: World, job_id: JobId) -> tuple[tuple[str, int], ...]:
    with world.context.store.read() as tx:
        ask = tx.asks.get(ask_id(job_id))
    assert ask is not None
    return ask.traits.data


@postgresql_in_verify
def test_machines_are_bought_beside_data_that_costs_more_to_bring_than_they_do(world: World) -> None:
    submit(world, **LARGE)
    (claim,) = bought(world)
    assert claim.cluster_id == EAST
    assert claim.expected_millionths is not None
    assert 4_000_000 <= claim.expected_millionths < 5_000_000


def test_data_of_which_nobody_says_how_much_it_is_counts_nothing(world: World) -> None:
    submit(world, inputs=CORPUS)
    assert places(world) == [WEST]


def test_little_data_is_brought_to_cheap_machines_and_paid_for(world: World) -> None:
    job = submit(world, inputs=CORPUS, input_gib={"corpus": 20})
    world.now += timedelta(seconds=61)
    world.loops.scheduling.step()
    told = explain.explain(world.context, ADMIN, job).sentence
    assert told.endswith("for 2.00 an hour and 1.00 to bring its data there, as it would wait too long")
    (claim,) = bought(world)
    assert claim.cluster_id == WEST
    assert claim.expected_millionths is not None
    assert 3_000_000 <= claim.expected_millionths < 3_500_000


def test_a_store_that_goes_takes_its_region_along(world: World) -> None:
    job = submit(world, **LARGE)
    assert data(world, job) == (("east-1", 100),)
    object_stores.remove(world.context, ADMIN, "corpus")
    assert data(world, job) == ()
    assert places(world) == [WEST]


def test_a_store_that_comes_tells_where_data_lies_that_is_waited_for(world: World) -> None:
    job = submit(world, inputs={"corpus": "s3://late/2026/"}, input_gib={"corpus": 100})
    assert data(world, job) == ()
    keep(world, "late", region="east-1")
    assert data(world, job) == (("east-1", 100),)
    assert places(world) == [EAST]


def test_a_store_in_the_place_of_one_of_the_same_name_lies_where_it_says(world: World) -> None:
    job = submit(world, **LARGE)
    object_stores.remove(world.context, ADMIN, "corpus")
    keep(world, "corpus", region="west-1")
    assert data(world, job) == (("west-1", 100),)
    assert places(world) == [WEST]


def test_sizes_add_up_by_region_to_whole_gibibytes(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nowhere").as_uri()
    object_stores.add(world.context, ADMIN, StoreCreate(name="nowhere", uri=folder))
    keep(world, "more", region="east-1")
    keep(world, "west", region="west-1")
    inputs = {
        "a": ("s3://corpus/a", 0.25),
        "b": ("s3://more/b", 1.5),
        "c": ("s3://west/c", 0.0001),
        "unregistered": ("s3://else/d", 50),
        "without_region": (f"{folder}/e", 50),
    }
    job = submit(
        world,
        inputs={name: uri for name, (uri, _) in inputs.items()} | {"unsaid": "s3://west/f"},
        input_gib={name: size for name, (_, size) in inputs.items()},
        checkpoint_uri="s3://west/saved",
    )
    assert data(world, job) == (("east-1", 2), ("west-1", 1))


def test_one_cloud_that_sells_in_two_regions_is_in_that_of_the_zone(world: World) -> None:
    world.cloud.zones = ("east-1a", "west-1a")
    world.register("cloud", name="both", regions="east-1,west-1", egress_per_gib="0.05")
    both = ClusterId("cluster_both")
    price(world, EAST, 100)
    price(world, WEST, 100)
    price(world, both, 2, "east-1a")
    price(world, both, 1, "west-1a")
    submit(world, **LARGE)
    submit(world, inputs=CORPUS)
    assert [(each.cluster_id, each.zones) for each in bought(world)] == [
        (both, ("east-1a",)),
        (both, ("west-1a",)),
    ]


def test_what_bringing_it_there_costs_is_told_where_the_budget_is_too_small(world: World) -> None:
    price(world, EAST, 100)
    budget = Budget(queue_id=queue(world), currency="USD", window=Window.MONTH, limit_millionths=6_000_000)
    world.context.store.write(lambda tx: tx.budgets.put(budget, by="admin"))
    job = submit(world, **LARGE)
    assert bought(world) == []
    told = explain.explain(world.context, ADMIN, job)
    assert told.code == "over_budget"
    assert "USD (5.00 of it to bring its data there), and 6.00 are left" in told.sentence
