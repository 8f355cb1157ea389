"""The Ray clusters of claims, on both databases: built on lent nodes for one attempt, or formed by bought machines."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloud_adapters.base import Amounts
from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.claims import ClaimState
from controlplane.domain.errors import Gone, Unauthenticated
from controlplane.operations import claims, clusters, endpoints, machines
from controlplane.wire.machines import CheckInRequest
from schedulers.priority import Priority
from tests.databases import postgresql_in_verify
from tests.inline_pool import InlinePool
from tests.unit.runtime.site_world import ADMIN, START, TWO, World, opened


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with opened(tmp_path, database_url, Priority()) as made:
        yield made


def test_an_attempt_gets_a_ray_cluster_on_exactly_its_booked_nodes(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit(tasks=2, resources={"cpus": 3}))
    claim = world.claim(attempt.claim_id)

    assert [(each.node_name, each.amounts.cpu_milli) for each in claim.shares] == [("n1", 3000), ("n2", 3000)]
    assert (claim.trust_domain, claim.machines_min) == (attempt.project_id, 2)
    assert attempt.state is AttemptState.PLACED
    assert world.executor.orders == {}

    world.pass_time(60)

    assert world.claim(claim.id).state is ClaimState.READY
    order = world.executor.orders[attempt.id]
    assert order.endpoint.url == f"https://{claim.id}.invalid"
    assert order.endpoint.token == f"token-{claim.id}"
    assert sorted(seat.node_name for seat in order.seats) == ["ray-m-0001", "ray-m-0002"]


@postgresql_in_verify
def test_what_was_built_for_an_attempt_goes_with_it(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit())
    world.pass_time(60)
    world.hello(attempt.id)
    world.exit(attempt.id)
    world.pass_time(300)

    assert world.claim(attempt.claim_id).state is ClaimState.GONE
    assert world.kube.members.machines == ()
    with world.context.store.read() as tx:
        assert tx.sites.many([world.claim(attempt.claim_id).id]) == {}
    assert [node.foreign for node in world.nodes()] == [Amounts(), Amounts()]


@postgresql_in_verify
def test_what_cannot_be_built_is_placed_again_and_not_held_against_the_job(world: World) -> None:
    world.register("kube")
    world.kube.members.sold_out.add(("lent", ""))
    job_id = world.submit()
    world.pass_time(30)
    (first, *_) = world.attempts(job_id)

    assert first.outcome is Outcome.NEVER_STARTED
    assert "sold out" in (first.reason or "")

    world.kube.members.sold_out.clear()
    world.pass_time(300)
    assert world.attempts(job_id)[-1].id in world.executor.orders


@postgresql_in_verify
def test_a_ray_cluster_that_never_answers_is_given_up(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit())
    world.kube.silent.add(str(attempt.claim_id))
    world.pass_time(1200)

    assert world.claim(attempt.claim_id).state is ClaimState.GONE
    assert "not ready 900 s after" in (world.claim(attempt.claim_id).problem or "")
    (first, *_) = world.attempts(attempt.job_id)
    assert first.outcome is Outcome.NEVER_STARTED


@postgresql_in_verify
def test_an_attempt_whose_member_was_evicted_is_moved(world: World) -> None:
    world.register("kube")
    (attempt,) = world.attempts(world.submit(tasks=2, resources={"cpus": 4}))
    world.pass_time(60)
    world.hello(attempt.id)
    world.kube.members.reclaim("m-0001")
    world.pass_time(600)

    first = world.attempts(attempt.job_id)[0]
    assert first.outcome is Outcome.EVICTED or first.stop_outcome is Outcome.EVICTED
    assert "members are gone" in (world.claim(attempt.claim_id).problem or "")


def test_the_first_machine_becomes_the_head_and_the_others_wait_for_it(world: World) -> None:
    claim = world.bought()
    head, waiting = world.check_in(claim, "m-0002"), world.check_in(claim, "m-0001")
    assert (head.role, waiting.role) == ("head", "wait")
    assert head.tls is not None
    assert head.ray_token
    assert (waiting.tls, waiting.ray_token) == (None, None)

    assert world.check_in(claim, "m-0002", "up").role == "head"
    joining = world.check_in(claim, "m-0001")
    assert (joining.role, joining.head_host, joining.ray_token) == ("node", "10.0.0.2", head.ray_token)
    assert joining.labels == {"crossdock.io/claim": claim.id, "crossdock.io/machine": "m-0001"}


def test_a_claim_is_ready_when_its_machines_have_joined_and_takes_the_work_that_waits(world: World) -> None:
    claim = world.bought()
    job_id = world.submit(tasks=2, resources={"cpus": 4})
    assert claim.state is ClaimState.LAUNCHING
    assert world.attempts(job_id) == []

    head = world.check_in(claim, "m-0001", "up")
    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001",)
    world.pass_time(20)
    assert world.claim(claim.id).state is ClaimState.LAUNCHING

    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
    world.pass_time(20)
    assert world.claim(claim.id).state is ClaimState.READY
    assert world.reader.tokens == {head.ray_token}
    (attempt,) = world.attempts(job_id)
    order = world.executor.orders[attempt.id]
    assert (attempt.claim_id, attempt.cluster_id) == (claim.id, "cluster_cloud")
    assert order.endpoint.url == "https://10.0.0.1:8443"
    assert order.endpoint.route.ca_pem is not None
    assert sorted(seat.node_name for seat in order.seats) == ["ray-m-0001", "ray-m-0002"]


@postgresql_in_verify
def test_machines_that_never_check_in_are_given_back(world: World) -> None:
    claim = world.bought()
    world.pass_time(1500, step=30)
    assert world.claim(claim.id).state is ClaimState.GONE
    assert "0 of 2 machines have joined" in (world.claim(claim.id).problem or "")
    assert world.cloud.machines == ()


def test_a_spot_notice_stops_what_runs_there_and_keeps_the_node_closed(world: World) -> None:
    claim = world.formed()
    (attempt,) = world.attempts(world.submit(tasks=2, resources={"cpus": 4}))
    world.hello(attempt.id)
    world.check_in(claim, "m-0002", "up", notice={"kind": "spot", "at": START.isoformat()})
    world.settle()

    stopped = world.attempts(attempt.job_id)[0]
    assert (stopped.state, stopped.stop_outcome) == (AttemptState.STOPPING, Outcome.EVICTED)
    world.pass_time(30)
    closed = {node.host: node.cordoned_at is not None for node in world.nodes()}
    assert closed == {"m-0001": False, "m-0002": True}


def test_a_notice_of_the_head_is_one_of_its_whole_ray_cluster(world: World) -> None:
    claim = world.formed()
    world.check_in(claim, "m-0001", "up", notice={"kind": "spot", "at": START.isoformat()})
    world.pass_time(30)
    assert [node.cordoned_at is not None for node in world.nodes()] == [True, True]


@postgresql_in_verify
def test_a_claim_whose_head_is_gone_ends_with_all_that_ran_there(world: World) -> None:
    claim = world.formed()
    (attempt,) = world.attempts(world.submit())
    world.hello(attempt.id)
    world.cloud.reclaim("m-0001")
    del world.reader.rays["https://10.0.0.1:8443"]
    world.pass_time(300)

    assert world.claim(claim.id).state is ClaimState.GONE
    assert "its head machine m-0001 is gone" in (world.claim(claim.id).problem or "")
    assert world.cloud.machines == ()
    lost = world.attempts(attempt.job_id)[0]
    assert (lost.state, lost.outcome) == (AttemptState.ENDED, Outcome.EVICTED)


def test_a_head_of_a_launch_that_is_rolled_back_is_not_the_head_of_the_next(world: World) -> None:
    world.register("cloud")
    world.cloud.partial = 1
    claim = claims.request(world.context, ADMIN, replace(TWO, zones=("a", "b"))).claim
    world.cloud.lost_answers = 1
    world.settle()
    head = world.check_in(claim, "m-0001")
    assert head.role == "head"
    world.pass_time(120)

    second = world.check_in(claim, "m-0002")
    assert (second.role, second.ray_token != head.ray_token) == ("head", True)


@postgresql_in_verify
def test_a_machine_that_never_speaks_is_given_back_and_bought_anew(world: World) -> None:
    claim = world.formed()
    world.check_in(claim, "m-0002", "up")
    world.cloud.reclaim("m-0002")
    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001",)
    world.pass_time(1200, step=30)
    assert [sold.name for sold in world.cloud.machines] == ["m-0001", "m-0004"]


def test_a_machine_of_a_claim_that_is_over_is_told_to_end(world: World) -> None:
    claim = world.formed()
    with world.context.store.read() as tx:
        cluster, site = tx.clusters.get(claim.cluster_id), tx.sites.get(claim.id)
    assert cluster is not None
    assert site is not None
    assert endpoints.site_endpoint(world.context, cluster, site) is not None
    claims.release(world.context, ADMIN, claim.id)
    world.pass_time(120)
    assert endpoints.site_endpoint(world.context, cluster, site) is None  # whoever read it before it ended
    with pytest.raises(Gone):
        world.check_in(claim, "m-0001", "up")
    assert world.nodes() == []
    with world.context.store.read() as tx:
        assert tx.sites.get(claim.id) is None


def test_a_strangers_token_opens_nothing(world: World) -> None:
    claim = world.bought()
    said = {"claim_id": claim.id, "launch_id": f"{claim.id}-g1-l1", "machine": "m-0001", "host": "10.0.0.1"}
    with pytest.raises(Unauthenticated):
        machines.check_in(world.context, "cdl_00", CheckInRequest.model_validate(said | {"phase": "up"}))
    with world.context.store.read() as tx:
        assert tx.sites.get(claim.id) is None


def test_a_silent_site_takes_no_new_tasks_and_loses_none(world: World) -> None:
    world.formed()
    (attempt,) = world.attempts(world.submit())
    world.hello(attempt.id)
    del world.reader.rays["https://10.0.0.1:8443"]
    world.pass_time(45)
    assert all(node.cordoned_at is not None for node in world.nodes())
    assert world.attempts(attempt.job_id)[0].state is AttemptState.RUNNING

    world.reader.rays["https://10.0.0.1:8443"] = ("m-0001", "m-0002")
    world.pass_time(10)
    assert all(node.cordoned_at is None for node in world.nodes())


def test_a_look_at_a_claim_never_opens_what_is_closed_as_nobody_answers_there(world: World) -> None:
    claim = world.formed()
    del world.reader.rays["https://10.0.0.1:8443"]
    world.pass_time(45)
    looks = len(world.cloud.calls)
    for _ in range(90):
        world.now += timedelta(seconds=1)
        for noun in (
            "site",
            "claim",
        ):  # each loop has a thread of its own, and the planner may come between them
            world.loops.reconciling[noun].drain(InlinePool())
            assert [node.cordoned_at is not None for node in world.nodes()] == [True, True], noun
    assert (world.claim(claim.id).state, len(world.cloud.calls) > looks) == (ClaimState.READY, True)


def test_scheduling_goes_on_while_the_machines_of_a_detached_cluster_end(world: World) -> None:
    world.formed()
    clusters.detach(world.context, ADMIN, "cloud")
    world.pass_time(40)
    world.register("kube")
    assert len(world.attempts(world.submit())) == 1
