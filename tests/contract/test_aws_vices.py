"""What EC2 does to its customers, one vice a test, and what the AWS adapter makes of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.aws.server import Fault, Rented, Reservation
from cloud_adapters.base import (
    Ambiguous,
    CapacityType,
    LaunchOrder,
    LeftoverKind,
    MachineState,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Termination,
    Throttled,
    Transient,
)
from tests.aws import TYPE, ZONES, Aws, account

SECONDS = 15.0
GANG = "p4d.24xlarge"


@pytest.fixture
def aws() -> Iterator[Aws]:
    with account() as opened:
        yield opened


@pytest.fixture
def adapter(aws: Aws) -> AwsAdapter:
    return AwsAdapter(now=aws.clock)


@pytest.fixture
def order(aws: Aws) -> LaunchOrder:
    return aws.order()


def bought(adapter: AwsAdapter, order: LaunchOrder) -> list[str]:
    return [machine.name for machine in adapter.ensure(order, deadline=SECONDS)]


@pytest.mark.parametrize("code", [None, "InternalError", "Unavailable"])
def test_a_failure_after_the_deed_proves_nothing_and_the_next_call_finds_what_it_bought(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder, code: str | None
) -> None:
    aws.cloud.faults.append(Fault(action="RunInstances", code=code, http_code=503, is_done=True))
    with pytest.raises(Ambiguous):
        adapter.ensure(order, deadline=SECONDS)
    assert bought(adapter, order) == sorted(machine.id for machine in aws.cloud.machines)
    assert len(aws.cloud.bill) == order.machines


def test_an_answer_that_does_not_come_in_time_is_ambiguous(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    adapter.list_owned(order.cluster, deadline=SECONDS)  # the SDK is loaded
    aws.cloud.stalled.add("RunInstances")
    with pytest.raises(Ambiguous):
        adapter.ensure(order, deadline=3.0)
    aws.cloud.stalled.clear()
    assert bought(adapter, order) == sorted(machine.id for machine in aws.cloud.bill)


@pytest.mark.parametrize(
    ("code", "http_code", "error"),
    [
        ("InsufficientInstanceCapacity", 500, NoCapacity),
        ("RequestLimitExceeded", 503, Throttled),
        ("InternalError", 500, Ambiguous),
    ],
)
def test_a_purchase_is_sent_once_whatever_the_answer(
    aws: Aws,
    adapter: AwsAdapter,
    order: LaunchOrder,
    *,
    code: str,
    http_code: int,
    error: type[PluginError],
) -> None:
    aws.cloud.faults.append(Fault(action="RunInstances", code=code, http_code=http_code, times=9))
    with pytest.raises(error):
        adapter.ensure(order, deadline=SECONDS)
    assert aws.cloud.calls.count("ec2:RunInstances") == 1
    assert aws.cloud.bill == ()


def test_a_throttled_read_says_when_to_come_again(aws: Aws, adapter: AwsAdapter, order: LaunchOrder) -> None:
    aws.cloud.faults.append(
        Fault(action="DescribeInstances", code="RequestLimitExceeded", http_code=503, times=9)
    )
    with pytest.raises(Throttled) as busy:
        adapter.list_owned(order.cluster, deadline=SECONDS)
    assert busy.value.retry_after_seconds > 0


def test_a_zone_with_three_of_four_machines_sells_none(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    aws.cloud.stock[TYPE, ZONES[0], "spot"] = 3
    with pytest.raises(NoCapacity, match="us-east-1a"):
        adapter.ensure(replace(order, machines=4), deadline=SECONDS)
    assert aws.cloud.bill == ()
    elsewhere = replace(order, machines=4, zone=ZONES[1], launch_id="clm_1-g1-l2")
    assert len(bought(adapter, elsewhere)) == 4


@pytest.mark.parametrize(
    ("capacity_type", "quota"), [(CapacityType.SPOT, "L-3819A6DF"), (CapacityType.ON_DEMAND, "L-DB2E81BA")]
)
def test_a_quota_counts_vcpus_of_its_own_market(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder, *, capacity_type: CapacityType, quota: str
) -> None:
    aws.cloud.quotas[quota] = 11
    first = replace(order, capacity_type=capacity_type)
    assert len(bought(adapter, first)) == 2
    with pytest.raises(QuotaExceeded):
        adapter.ensure(replace(first, machines=1, launch_id="clm_1-g2-l1"), deadline=SECONDS)
    other = CapacityType.SPOT if capacity_type is CapacityType.ON_DEMAND else CapacityType.ON_DEMAND
    more = replace(order, capacity_type=other, launch_id="clm_1-g3-l1")
    assert len(bought(adapter, more)) == 2


def test_a_spot_limit_below_the_market_is_no_capacity(aws: Aws, adapter: AwsAdapter) -> None:
    aws.cloud.spot_prices[TYPE, ZONES[0]] = Decimal("0.61")
    order = aws.order(aws.cluster(spot_max_prices=f"{TYPE}=0.60"))
    with pytest.raises(NoCapacity, match=r"0\.61"):
        adapter.ensure(order, deadline=SECONDS)


def test_a_token_whose_machines_were_taken_back_buys_no_new_ones(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    names = bought(adapter, order)
    adapter.release(order.cluster, order.claim_id, names[:1], deadline=SECONDS)
    with pytest.raises(NoCapacity, match="IdempotentInstanceTerminated"):
        adapter.ensure(order, deadline=SECONDS)
    assert len(aws.cloud.bill) == 2


def test_the_same_token_in_another_zone_is_another_purchase(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    """The trap for whoever fails over with the old token; the adapter cannot know of it, the loop must."""
    bought(adapter, order)
    bought(adapter, replace(order, zone=ZONES[1]))
    assert len(aws.cloud.machines) == 4


def test_young_machines_are_unseen_and_not_taken_for_gone(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    aws.cloud.list_lag_seconds = 90
    names = bought(adapter, order)
    aws.clock.wait()
    assert adapter.list_owned(order.cluster, deadline=SECONDS) == ()
    assert adapter.terminate(order.cluster, order.claim_id, deadline=SECONDS) is Termination.UNSEEN
    aws.clock.wait()
    assert [each.name for each in adapter.list_owned(order.cluster, deadline=SECONDS)] == sorted(names)
    assert adapter.terminate(order.cluster, order.claim_id, deadline=SECONDS) is Termination.GOING
    assert timedelta(seconds=90) < adapter.list_lag


def test_one_forgotten_id_does_not_keep_the_others_alive(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    names = bought(adapter, order)
    # The list lags: it goes on to show a machine that EC2 has forgotten.
    aws.cloud.faults.append(
        Fault(action="TerminateInstances", code="InvalidInstanceID.NotFound", http_code=400, times=2)
    )
    assert adapter.terminate(order.cluster, order.claim_id, deadline=SECONDS) is Termination.GOING
    ended = [machine.id for machine in aws.cloud.bill if machine.stopping_at is not None]
    assert ended == sorted(names)[1:]


def test_a_list_has_every_page_or_is_none(aws: Aws, adapter: AwsAdapter, order: LaunchOrder) -> None:
    aws.cloud.page_size = 1
    launches = [replace(order, launch_id=f"clm_1-g{number}-l1", machines=1) for number in range(1, 4)]
    names = sorted(name for each in launches for name in bought(adapter, each))
    assert [each.name for each in adapter.list_owned(order.cluster, deadline=SECONDS)] == names
    aws.cloud.faults.append(Fault(action="DescribeInstances", after=1, times=9))
    with pytest.raises(Transient):
        adapter.list_owned(order.cluster, deadline=SECONDS)


def test_a_region_that_does_not_answer_spoils_the_list(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    bought(adapter, order)
    aws.cloud.faults.append(
        Fault(action="DescribeInstances", after=1, code="InternalError", http_code=500, times=9)
    )
    with pytest.raises(Transient):
        adapter.list_owned(order.cluster, deadline=SECONDS)


def test_a_spot_machine_is_noticed_two_minutes_before_it_is_taken_back(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    taken, kept = bought(adapter, order)
    aws.clock.wait()
    aws.cloud.interrupt(taken)
    assert "2026-01-01T00:03:00Z" in aws.cloud.metadata(taken)["spot/instance-action"]
    assert "spot/instance-action" not in aws.cloud.metadata(kept)
    for _ in range(2):
        aws.clock.wait()
    first, second = adapter.list_owned(order.cluster, deadline=SECONDS)
    assert (first.name, first.state) == (taken, MachineState.STOPPING)
    assert first.problem == "Server.SpotInstanceTermination: Spot instance termination"
    assert (second.name, second.state, second.problem) == (kept, MachineState.RUNNING, None)


def test_everything_is_tagged_as_it_is_made(aws: Aws, adapter: AwsAdapter, order: LaunchOrder) -> None:
    bought(adapter, order)
    found = adapter.leftovers(order.cluster, deadline=SECONDS)
    owners = {(each.kind, each.claim_id) for each in found}
    assert owners == {
        (LeftoverKind.DISK, "clm_1"),
        (LeftoverKind.NETWORK_INTERFACE, "clm_1"),
        (LeftoverKind.SPOT_REQUEST, "clm_1"),
        (LeftoverKind.SECURITY_GROUP, None),
    }
    disks = [each for each in found if each.kind is LeftoverKind.DISK]
    assert {each.zone for each in disks} == {ZONES[0]}
    assert all(each.hourly is not None and each.hourly.amount > 0 for each in disks)
    assert all(each.hourly is None for each in found if each not in disks)


def test_a_gang_with_efa_gets_a_group_of_its_own_that_goes_when_it_is_empty(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    gang = replace(order, machine_type=GANG, capacity_type=CapacityType.ON_DEMAND)
    bought(adapter, gang)
    assert {machine.placement_group for machine in aws.cloud.machines} == {"crossdock-clm_1-us-east-1a"}
    (group,) = (
        each
        for each in adapter.leftovers(gang.cluster, deadline=SECONDS)
        if each.kind is LeftoverKind.PLACEMENT_GROUP
    )
    assert (group.claim_id, group.zone) == ("clm_1", "us-east-1")
    with pytest.raises(Rejected, match="in use"):
        adapter.remove(gang.cluster, group, deadline=SECONDS)
    adapter.terminate(gang.cluster, gang.claim_id, deadline=SECONDS)
    aws.clock.wait()
    adapter.remove(gang.cluster, group, deadline=SECONDS)
    assert aws.cloud.placement_groups == {}


def test_what_somebody_else_owns_is_not_removed_by_its_name(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    theirs = replace(order, cluster=replace(order.cluster, id="clu_2"), capacity_type=CapacityType.ON_DEMAND)
    bought(adapter, theirs)
    found = adapter.leftovers(theirs.cluster, deadline=SECONDS)
    adapter.terminate(theirs.cluster, theirs.claim_id, deadline=SECONDS)
    for each in found:
        adapter.remove(order.cluster, each, deadline=SECONDS)
    aws.clock.wait()
    (group,) = adapter.leftovers(theirs.cluster, deadline=SECONDS)
    assert group.kind is LeftoverKind.SECURITY_GROUP


def test_a_security_group_that_is_half_made_is_finished_by_the_next_call(
    aws: Aws, adapter: AwsAdapter
) -> None:
    order = aws.order(aws.cluster(ingress="10.0.0.0/8=8443"))
    aws.cloud.faults.append(Fault(action="AuthorizeSecurityGroupIngress", times=2))
    with pytest.raises(Transient):
        adapter.ensure(order, deadline=SECONDS)
    bought(adapter, order)
    bought(adapter, replace(order, launch_id="clm_1-g2-l1"))
    assert aws.cloud.calls.count("ec2:CreateSecurityGroup") == 1
    (group,) = {machine.security_groups for machine in aws.cloud.machines}
    rules = aws.cloud.backend.rules(ZONES[0].rstrip("a"), *group)
    assert rules == (("-1", None, group[0]), ("tcp", 8443, "10.0.0.0/8"))


def test_a_security_group_with_machines_is_not_removed(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    bought(adapter, order)
    group = next(
        each
        for each in adapter.leftovers(order.cluster, deadline=SECONDS)
        if each.kind is LeftoverKind.SECURITY_GROUP
    )
    with pytest.raises(Rejected, match="DependencyViolation"):
        adapter.remove(order.cluster, group, deadline=SECONDS)


def test_many_calls_at_once_for_one_launch_buy_it_once(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    def attempt(_: int) -> list[str]:
        try:
            return bought(adapter, order)
        except Transient:  # another thread is making the security group
            return []

    with ThreadPoolExecutor(4) as threads:
        answers = [answer for answer in threads.map(attempt, range(8)) if answer]
    assert answers
    assert {tuple(answer) for answer in answers} == {tuple(sorted(each.id for each in aws.cloud.bill))}
    assert len(aws.cloud.bill) == 2


@pytest.mark.parametrize("is_block", [False, True])
def test_reserved_machines_come_out_of_the_reservation_and_no_further(
    aws: Aws, adapter: AwsAdapter, *, is_block: bool
) -> None:
    name = "cr-0123456789abcdef0"
    cluster = aws.cluster(reservations=f"{ZONES[0]}/{GANG}={name}", placement_groups="off")
    order = replace(aws.order(cluster), machine_type=GANG, capacity_type=CapacityType.RESERVED, machines=2)
    with pytest.raises(Rejected, match="does not exist"):
        adapter.ensure(order, deadline=SECONDS)
    aws.cloud.reservations[name] = Reservation(
        zone=ZONES[0], machine_type=GANG, machines=2, is_capacity_block=is_block
    )
    assert len(bought(adapter, order)) == 2
    assert {machine.market for machine in aws.cloud.machines} == {name}
    with pytest.raises(NoCapacity):
        adapter.ensure(replace(order, launch_id="clm_1-g2-l1"), deadline=SECONDS)


def test_an_image_that_nobody_has_is_refused_and_buys_nothing(aws: Aws, adapter: AwsAdapter) -> None:
    missing = "ami-0123456789abcdef0"
    order = aws.order(aws.cluster(images=f"us-east-1={missing},us-west-2={missing}"))
    with pytest.raises(Rejected, match=missing):
        adapter.ensure(order, deadline=SECONDS)
    assert "ec2:RunInstances" not in aws.cloud.calls


def test_a_machine_that_shuts_itself_down_is_gone_for_good(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    first, second = bought(adapter, order)
    aws.cloud.machine_ended(first)
    aws.clock.wait()
    assert [each.name for each in adapter.list_owned(order.cluster, deadline=SECONDS)] == [second]


def test_the_host_of_the_machines_hears_of_each_once(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    heard: list[tuple[str, str]] = []
    addresses = iter(("127.0.5.1", "127.0.5.2"))

    def launched(machine: Rented) -> str:
        heard.append(("launch", machine.id))
        return next(addresses)

    aws.cloud.on_launch = launched
    aws.cloud.on_terminate = lambda machine: heard.append(("terminate", machine.id))
    machines = adapter.ensure(order, deadline=SECONDS)
    assert {machine.host for machine in machines} == {"127.0.5.1", "127.0.5.2"}
    assert adapter.list_owned(order.cluster, deadline=SECONDS) == machines
    for _ in range(2):
        adapter.terminate(order.cluster, order.claim_id, deadline=SECONDS)
    names = sorted(machine.name for machine in machines)
    assert sorted(heard) == [*(("launch", name) for name in names), *(("terminate", name) for name in names)]
