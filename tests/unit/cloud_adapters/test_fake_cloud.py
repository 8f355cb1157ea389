"""The fake cloud has the vices that it claims, one at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cloud_adapters.base import (
    CLAIM_LABEL,
    Ambiguous,
    CapacityType,
    ClusterRef,
    LaunchOrder,
    LeftoverKind,
    MachineState,
    PluginError,
    QuotaExceeded,
    Rejected,
    Termination,
    Throttled,
    Transient,
)
from cloud_adapters.fake_cloud import SMALL, FakeCloud

START = datetime(2026, 1, 1, tzinfo=UTC)
HERE = ClusterRef(id="c", name="burst", endpoint=None)
ORDER = LaunchOrder(
    cluster=HERE,
    claim_id="claim-1",
    launch_id="claim-1-g1-l1",
    zone="a",
    machine_type="small",
    capacity_type=CapacityType.SPOT,
    machines=2,
)


class World:
    """A cloud and its clock."""

    def __init__(self) -> None:
        self.now = START
        self.cloud = FakeCloud(lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def ensure(self, **changed: object) -> list[str]:
        order = replace(ORDER, **changed)  # type: ignore[arg-type] # fields of the order
        return [machine.name for machine in self.cloud.ensure(order, deadline=1)]

    def listed(self) -> list[tuple[str, MachineState]]:
        return [(each.name, each.state) for each in self.cloud.list_owned(HERE, deadline=1)]

    def nodes(self) -> list[str]:
        return [node.name for node in self.cloud.inventory(HERE, deadline=1).machines]

    def terminate(self) -> Termination:
        return self.cloud.terminate(HERE, "claim-1", deadline=1)


@pytest.fixture
def world() -> World:
    return World()


def test_a_machine_boots_becomes_a_node_stops_and_ends(world: World) -> None:
    world.ensure(machines=1)
    assert (world.listed(), world.nodes()) == ([("m-0001", MachineState.PENDING)], [])
    world.wait(10)
    assert (world.listed(), world.nodes()) == ([("m-0001", MachineState.RUNNING)], ["m-0001"])
    assert world.terminate() is Termination.GOING
    assert (world.listed(), world.nodes()) == ([("m-0001", MachineState.STOPPING)], [])
    world.wait(5)
    assert (world.listed(), world.terminate(), world.cloud.machines) == ([], Termination.GONE, ())
    (line,) = world.cloud.bill
    assert (line.started_at, line.ended_at) == (START, START + timedelta(seconds=15))


def test_a_node_is_labelled_with_its_claim(world: World) -> None:
    world.ensure(machines=1)
    world.wait(10)
    (node,) = world.cloud.inventory(HERE, deadline=1).machines
    assert (dict(node.labels)[CLAIM_LABEL], node.allocatable) == ("claim-1", SMALL)


def test_lists_and_inventories_show_the_past(world: World) -> None:
    world.cloud.list_lag_seconds = 20
    world.ensure(machines=1)
    world.wait(19)
    assert world.listed() == []
    world.wait(1)
    assert (world.listed(), world.nodes()) == ([("m-0001", MachineState.PENDING)], [])
    world.wait(10)
    assert world.nodes() == ["m-0001"]
    world.terminate()
    world.wait(19)
    assert (world.listed(), world.nodes()) == ([("m-0001", MachineState.RUNNING)], ["m-0001"])


def test_what_is_not_listed_yet_is_not_terminated_either(world: World) -> None:
    world.cloud.list_lag_seconds = 20
    world.ensure()
    world.wait(10)
    assert (world.terminate(), len(world.cloud.machines)) == (Termination.UNSEEN, 2)
    world.wait(10)
    assert world.terminate() is Termination.GOING


def test_a_lost_answer_comes_after_the_deed_and_a_lost_request_without_it(world: World) -> None:
    world.cloud.lost_requests = 1
    with pytest.raises(Ambiguous):
        world.ensure()
    assert world.cloud.machines == ()
    world.cloud.lost_answers = 1
    with pytest.raises(Ambiguous):
        world.ensure()
    assert len(world.cloud.machines) == 2
    assert world.ensure() == ["m-0001", "m-0002"]
    assert world.cloud.calls == [("ensure", "claim-1-g1-l1")] * 3


def test_a_token_that_is_used_again_in_another_zone_buys_again(world: World) -> None:
    assert world.ensure(zone="a") == ["m-0001", "m-0002"]
    assert world.ensure(zone="b") == ["m-0003", "m-0004"]


def test_a_token_that_is_used_again_with_other_parameters_is_rejected(world: World) -> None:
    world.ensure()
    with pytest.raises(Rejected):
        world.ensure(machine_type="large")


def test_the_answer_to_a_repeated_order_is_the_first_one_even_when_it_ended(world: World) -> None:
    world.ensure()
    world.cloud.reclaim("m-0001")
    world.wait(60)
    assert world.ensure() == ["m-0001", "m-0002"]
    assert [sold.name for sold in world.cloud.machines] == ["m-0002"]


def test_the_quota_holds_for_the_whole_order(world: World) -> None:
    world.cloud.quota = 3
    world.ensure()
    with pytest.raises(QuotaExceeded, match="needs 2 machines, 2 of 3"):
        world.ensure(launch_id="claim-1-g1-l2")
    assert len(world.cloud.machines) == 2


def test_a_partial_purchase_keeps_one_less(world: World) -> None:
    world.cloud.partial = 1
    assert world.ensure() == ["m-0001"]
    assert world.ensure(launch_id="claim-1-g1-l2") == ["m-0002", "m-0003"]


def test_a_cut_zone_sells_and_ends_nothing_and_its_nodes_are_silent(world: World) -> None:
    world.ensure()
    world.wait(10)
    world.cloud.cut_zones = {"a"}
    with pytest.raises(Transient):
        world.ensure(launch_id="claim-1-g1-l2")
    assert (world.nodes(), len(world.listed())) == ([], 2)
    assert world.terminate() is Termination.GOING
    world.wait(60)
    assert world.terminate() is Termination.GOING
    world.cloud.cut_zones = set()
    assert world.terminate() is Termination.GOING
    world.wait(5)
    assert world.terminate() is Termination.GONE


def test_a_machine_with_a_lease_ends_by_itself_and_is_forgotten_later(world: World) -> None:
    world.cloud.lease_seconds = 100
    world.ensure()
    world.wait(99)
    world.cloud.renew(HERE, "claim-1", until=START + timedelta(seconds=200), deadline=1)
    world.wait(100)
    assert len(world.cloud.machines) == 2
    world.wait(1)
    assert (len(world.cloud.machines), world.listed()) == (0, [])
    assert world.terminate() is Termination.GONE
    world.wait(3601)
    assert world.terminate() is Termination.UNSEEN


def test_a_machine_that_has_ended_is_not_renewed_back_to_life(world: World) -> None:
    world.cloud.lease_seconds = 100
    world.ensure()
    world.wait(100)
    world.cloud.renew(HERE, "claim-1", until=START + timedelta(hours=1), deadline=1)
    assert world.cloud.machines == ()


def test_a_disk_is_left_when_its_machine_has_ended_and_not_before(world: World) -> None:
    world.cloud.leaves_disks = True
    world.ensure(machines=1)
    assert world.cloud.leftovers(HERE, deadline=1) == ()
    world.terminate()
    world.wait(5)
    (disk,) = world.cloud.leftovers(HERE, deadline=1)
    assert (disk.kind, disk.name, disk.claim_id) == (LeftoverKind.DISK, "disk-of-m-0001", "claim-1")
    world.cloud.stuck.add(disk.name)
    with pytest.raises(Rejected, match="in use"):
        world.cloud.remove(HERE, disk, deadline=1)
    world.cloud.stuck.clear()
    world.cloud.remove(HERE, disk, deadline=1)
    assert world.cloud.leftovers(HERE, deadline=1) == ()


def test_an_ended_machine_is_forgotten_after_a_while(world: World) -> None:
    world.ensure()
    world.terminate()
    world.wait(3605)
    assert world.terminate() is Termination.GONE
    world.wait(1)
    assert world.terminate() is Termination.UNSEEN


@pytest.mark.parametrize(
    ("vice", "raised"), [({"is_unreachable": True}, Transient), ({"throttled_seconds": 3.0}, Throttled)]
)
def test_a_call_that_is_refused_does_nothing(
    world: World, vice: dict[str, object], raised: type[PluginError]
) -> None:
    for name, value in vice.items():
        setattr(world.cloud, name, value)
    with pytest.raises(raised):
        world.ensure()
    with pytest.raises(raised):
        world.terminate()
    assert world.cloud.bill == ()
