"""What Alibaba Cloud does to machines that were bought, and what it says of itself, through the vendor's SDK."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from importlib import import_module

import pytest

from cloud_adapters.alibaba.ack import Ack
from cloud_adapters.alibaba.client import ACTIONS, OTHER_ACTIONS, Account, Answer
from cloud_adapters.alibaba.server_account import Machine
from cloud_adapters.alibaba.settings import settings_of
from cloud_adapters.base import (
    AuthFailed,
    CapacityType,
    LeftoverKind,
    MachineState,
    OwnedMachine,
    Rejected,
    Termination,
    Transient,
)
from cloud_adapters.boot.user_data import render
from tests.ecs_account import (
    DEADLINE,
    EIGHT_GPUS,
    ELSEWHERE,
    GPU,
    HERE,
    START,
    Scene,
    open_scene,
)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with open_scene() as scene:
        yield scene


def listed(scene: Scene) -> tuple[OwnedMachine, ...]:
    return scene.adapter.list_owned(scene.cluster, deadline=DEADLINE)


def terminate(scene: Scene) -> Termination:
    return scene.adapter.terminate(scene.cluster, "claim-1", deadline=DEADLINE)


def renew(scene: Scene, hours: float) -> None:
    until = START + timedelta(hours=hours)
    scene.adapter.renew(scene.cluster, "claim-1", until=until, deadline=DEADLINE)


def test_a_machine_that_will_never_come_says_so_and_then_vanishes(scene: Scene) -> None:
    scene.account.doomed = 1
    lost, coming = scene.ensure()
    scene.clock.wait(30)
    first, second = listed(scene)
    assert (first.name, first.state) == (lost, MachineState.STOPPING)
    assert first.problem == "was not created: the zone ran out of stock while the machine was made"
    assert (second.name, second.state, second.problem) == (coming, MachineState.RUNNING, None)
    scene.clock.wait(30)
    assert [machine.name for machine in listed(scene)] == [coming]


def test_a_machine_that_is_pending_for_too_long_says_so(scene: Scene) -> None:
    scene.account.pending_seconds = 3600.0
    scene.ensure(machines=1)
    scene.clock.wait(600)
    assert [machine.problem for machine in listed(scene)] == [None]
    scene.clock.wait(60)
    (machine,) = listed(scene)
    assert (machine.state, machine.problem) == (MachineState.PENDING, "is pending for 11 minutes")


def test_only_machines_that_wait_cost_a_second_question(scene: Scene) -> None:
    scene.ensure()
    scene.clock.wait()
    listed(scene)
    assert scene.server.actions() == ["RunInstances", "DescribeInstances"]


def test_a_spot_machine_that_is_taken_back_is_on_its_way_out_for_five_minutes(scene: Scene) -> None:
    first, second = scene.ensure()
    scene.clock.wait()
    scene.account.reclaim(first)
    taken, kept = listed(scene)
    assert (taken.name, taken.state) == (first, MachineState.STOPPING)
    assert taken.problem == "is being taken back: the market wants the spot machine"
    assert (kept.name, kept.state) == (second, MachineState.RUNNING)
    scene.clock.wait(300)
    assert [machine.name for machine in listed(scene)] == [second]


def test_a_machine_that_shut_itself_down_is_left_to_its_release_time(scene: Scene) -> None:
    first, second = scene.ensure()
    scene.clock.wait()
    scene.account.shut_down(first)
    assert [(machine.state, machine.problem) for machine in listed(scene)] == [
        (MachineState.STOPPING, "was stopped from inside or by somebody else"),
        (MachineState.RUNNING, None),
    ]
    renew(scene, hours=5)
    scene.clock.at = START + timedelta(hours=2)
    scene.server.settle()
    assert scene.alive() == [second]


def test_an_end_that_is_too_near_for_the_cloud_is_moved_out(scene: Scene) -> None:
    (name,) = scene.ensure(machines=1)
    scene.clock.wait()
    renew(scene, hours=0)
    assert scene.account.bill[name].release_at == scene.clock.at + timedelta(minutes=31)


def test_a_machine_that_ends_while_others_are_renewed_is_fine(scene: Scene) -> None:
    _, second = scene.ensure()
    scene.clock.wait()
    scene.fail("ModifyInstanceAutoReleaseTime", http_code=404, code="InvalidInstanceId.NotFound")
    renew(scene, hours=9)
    assert scene.account.bill[second].release_at == START + timedelta(hours=9)


def test_a_machine_that_starts_is_told_to_end_later(scene: Scene) -> None:
    scene.account.list_lag_seconds = 0
    scene.account.pending_seconds = 30
    scene.ensure()
    with pytest.raises(Transient, match="cannot be released while starting"):
        scene.adapter.release(scene.cluster, "claim-1", scene.alive(), deadline=DEADLINE)
    assert terminate(scene) is Termination.GOING
    scene.clock.wait()
    assert terminate(scene) is Termination.GOING
    scene.clock.wait()
    assert terminate(scene) is Termination.UNSEEN


def test_a_machine_that_changes_between_look_and_call_is_ended_by_the_next_call(scene: Scene) -> None:
    scene.ensure()
    scene.clock.wait()
    scene.fail("DeleteInstances", http_code=403, code="IncorrectInstanceStatus")
    assert terminate(scene) is Termination.GOING
    assert {machine.stopping_at for machine in scene.account.machines} == {None}
    assert terminate(scene) is Termination.GOING
    scene.clock.wait()
    assert terminate(scene) is Termination.UNSEEN


def test_a_healthy_account_has_a_name_and_no_problems(scene: Scene) -> None:
    seen = scene.adapter.inventory(scene.cluster, deadline=DEADLINE)
    assert (seen.machines, seen.complete, seen.problems) == ((), True, ())
    assert seen.session == "cn-beijing/1000000000000001"
    assert scene.alive() == []


@pytest.mark.parametrize("action", ["DescribeInstances", "RunInstances"])
def test_a_missing_right_is_a_problem_that_names_it(scene: Scene, action: str) -> None:
    scene.server.forbidden.add(action)
    (problem,) = scene.adapter.inventory(scene.cluster, deadline=DEADLINE).problems
    assert f"lack the right to {action}" in problem


def test_an_empty_purse_is_a_problem_and_a_sold_out_zone_is_none(scene: Scene) -> None:
    scene.account.stock[EIGHT_GPUS, HERE] = 0
    assert scene.adapter.inventory(scene.cluster, deadline=DEADLINE).problems == ()
    scene.account.is_poor = True
    (problem,) = scene.adapter.inventory(scene.cluster, deadline=DEADLINE).problems
    assert problem.startswith("the account cannot pay")


def test_a_list_spans_pages(scene: Scene) -> None:
    names = [name for i in range(3) for name in scene.ensure(machines=75, launch_id=f"claim-1-g1-l{i}")]
    scene.clock.wait()
    assert [machine.name for machine in listed(scene)] == sorted(names)
    assert scene.server.actions().count("DescribeInstances") == 3


def test_a_list_whose_second_page_fails_is_no_list(scene: Scene) -> None:
    scene.ensure(machines=150)
    scene.clock.wait()
    scene.fail("DescribeInstances", skips=1, code="ServiceUnavailable", http_code=503)
    with pytest.raises(Transient):
        listed(scene)


def test_offers_have_sizes_models_and_prices_of_the_cloud(scene: Scene) -> None:
    scene.account.spot_prices[GPU, HERE] = (Decimal("3.10"), Decimal("2.70"))
    offers = scene.adapter.offers(scene.cluster, deadline=DEADLINE)
    here = {each.capacity_type: each for each in offers if (each.machine_type, each.zone) == (GPU, HERE)}
    spot, full = here[CapacityType.SPOT], here[CapacityType.ON_DEMAND]
    assert (spot.accelerator, spot.amounts.gpu_milli, spot.amounts.cpu_milli) == ("A10", 1000, 8000)
    assert spot.price is not None
    assert full.price is not None
    assert (spot.price.amount, spot.price.currency, spot.price.is_verified) == (Decimal("2.7"), "CNY", True)
    assert (full.price.amount, full.price.as_of, full.price.is_verified) == (Decimal("9.5"), START, True)


def test_a_price_that_nobody_may_ask_for_is_dated_and_not_verified(scene: Scene) -> None:
    scene.server.forbidden |= {"DescribePrice", "DescribeSpotPriceHistory", "DescribeInstanceTypes"}
    prices = {each.price for each in scene.adapter.offers(scene.cluster, deadline=DEADLINE)}
    assert None not in prices
    assert {price.is_verified for price in prices if price} == {False}
    assert all(price.as_of < START for price in prices if price)


def test_what_a_zone_will_not_get_again_is_not_offered_and_what_is_sold_out_is(scene: Scene) -> None:
    scene.account.closed.add((GPU, HERE))
    scene.account.stock[EIGHT_GPUS, HERE] = 0
    offers = scene.adapter.offers(scene.cluster, deadline=DEADLINE)
    assert {(each.machine_type, each.zone) for each in offers} == {
        (EIGHT_GPUS, HERE),
        (EIGHT_GPUS, ELSEWHERE),
        (GPU, ELSEWHERE),
    }


def test_offers_are_never_empty_because_a_call_failed(scene: Scene) -> None:
    scene.server.forbidden.add("DescribeAvailableResource")
    with pytest.raises(AuthFailed):
        scene.adapter.offers(scene.cluster, deadline=DEADLINE)


def test_all_that_carries_our_tag_and_hangs_on_nothing_is_listed(scene: Scene) -> None:
    ours = (("crossdock.io/cluster", "cluster-1"), ("crossdock.io/claim", "claim-9"))
    things = [scene.account.add_thing(kind, tags=ours) for kind in ("eip", "eni", "security group", "disk")]
    scene.account.add_thing("disk", tags=ours, machine_id="i-alive")
    scene.account.add_thing("disk", tags=(("owner", "somebody else"),))
    found = scene.adapter.leftovers(scene.cluster, deadline=DEADLINE)
    assert {each.name for each in found} == {thing.id for thing in things}
    assert [each.kind for each in found] == [
        LeftoverKind.ADDRESS,
        LeftoverKind.DISK,
        LeftoverKind.NETWORK_INTERFACE,
        LeftoverKind.SECURITY_GROUP,
    ]
    assert {(each.claim_id, each.created_at) for each in found} == {("claim-9", START)}
    costs = [
        None if each.hourly is None else (str(each.hourly.amount), each.hourly.currency) for each in found
    ]
    assert costs == [("0.02", "CNY"), (str(Decimal(100) / 730), "CNY"), None, None]
    for each in found:
        scene.adapter.remove(scene.cluster, each, deadline=DEADLINE)
    assert scene.adapter.leftovers(scene.cluster, deadline=DEADLINE) == ()
    assert len(scene.account.things) == 2


def test_addresses_span_pages(scene: Scene) -> None:
    ours = (("crossdock.io/cluster", "cluster-1"),)
    names = {scene.account.add_thing("eip", tags=ours).id for _ in range(101)}
    assert {each.name for each in scene.adapter.leftovers(scene.cluster, deadline=DEADLINE)} == names


def test_a_hypervisor_is_told_of_every_machine_once_and_of_its_end(scene: Scene) -> None:
    booted: list[Machine] = []
    ended: list[str] = []
    scene.account.on_launch = booted.append
    scene.account.on_terminate = lambda machine: ended.append(machine.id)
    first, second = scene.ensure()
    for _ in range(2):
        scene.clock.wait()
        scene.server.settle()
    assert [machine.id for machine in booted] == [first, second]
    machine = booted[0]
    assert machine.user_data == render(scene.order)
    assert dict(machine.tags) == {
        "crossdock.io/claim": "claim-1",
        "crossdock.io/cluster": "cluster-1",
        "crossdock.io/launch": "claim-1-g1-l1",
    }
    assert machine.private_ip == {each.name: each.host for each in listed(scene)}[first]
    terminate(scene)
    scene.clock.wait()
    scene.server.settle()
    assert sorted(ended) == [first, second]


def admitted(scene: Scene, **settings: str) -> str:
    scene.account.kubeconfigs["c1f2"] = json.dumps({"server": "REACH"})
    own = dict(scene.cluster.settings)
    told = {"cluster": "c1f2", "region": own["region"], "endpoint": own["endpoint"]} | settings
    return Ack().admit(told, scene.cluster.secret, deadline=DEADLINE).kubeconfig


def test_a_kubeconfig_of_ack_is_fetched_for_either_address(scene: Scene) -> None:
    assert json.loads(admitted(scene)) == {"server": "public"}
    assert json.loads(admitted(scene, private="on")) == {"server": "private"}


def test_a_cluster_of_ack_that_is_not_there_or_not_ours_says_so(scene: Scene) -> None:
    with pytest.raises(Rejected, match="ErrorClusterNotFound"):
        admitted(scene, cluster="c9")
    scene.server.forbidden.add("DescribeClusterUserKubeconfig")
    with pytest.raises(AuthFailed, match="lack the right to DescribeClusterUserKubeconfig"):
        admitted(scene)
    with pytest.raises(Rejected, match="letters and digits alone"):
        admitted(scene, cluster="../other")
    with pytest.raises(Rejected, match=r"private must be on or off, not 'yes'"):
        admitted(scene, private="yes")
    with pytest.raises(Rejected, match="the secret of ACK cluster c1f2 must be"):
        Ack().admit({"cluster": "c1f2", "region": "cn-beijing"}, "no JSON", deadline=DEADLINE)


class Careful(Account):
    """The SDK drops parameters that it does not know without a word; this one does not."""

    def call(self, action: str, parameters: Mapping[str, object], *, until: float) -> Answer:
        models = import_module("alibabacloud_ecs20140526.models")
        understood = getattr(models, f"{action}Request")().from_map(dict(parameters)).to_map()
        assert {name: understood.get(name) for name in parameters} == parameters
        return super().call(action, parameters, until=until)


def test_every_parameter_of_every_call_is_one_that_the_sdk_knows(scene: Scene) -> None:
    access = settings_of(scene.cluster).access
    scene.adapter._accounts[access] = Careful(access)
    scene.adapter.inventory(scene.cluster, deadline=DEADLINE)
    scene.adapter.offers(scene.cluster, deadline=DEADLINE)
    scene.account.pending_seconds = 120
    scene.account.keeps_disks = True
    scene.ensure()
    scene.clock.wait()
    listed(scene)
    renew(scene, hours=3)
    scene.clock.wait()
    listed(scene)
    for kind in ("eip", "eni", "security group"):
        scene.account.add_thing(kind, tags=(("crossdock.io/cluster", "cluster-1"),))
    while terminate(scene) is Termination.GOING:
        scene.clock.wait()
    for leftover in scene.adapter.leftovers(scene.cluster, deadline=DEADLINE):
        scene.adapter.remove(scene.cluster, leftover, deadline=DEADLINE)
    assert {*scene.server.actions(), "DescribeClusterUserKubeconfig"} == {*ACTIONS, *OTHER_ACTIONS}
