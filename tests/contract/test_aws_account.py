"""An AWS account: what opens it, what it may do, what it offers and for how much; and EKS clusters in it."""

import json
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloud_adapters.admissions import Admission
from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.aws.catalogue import ON_DEMAND_DOLLARS, PRICES_AS_OF, TABLE
from cloud_adapters.aws.client import Account, Act, role_client
from cloud_adapters.aws.eks import Eks
from cloud_adapters.aws.server import ACCESS_KEY, SECRET_KEY, Fault, Key
from cloud_adapters.base import (
    Amounts,
    AuthFailed,
    CapacityType,
    Inventory,
    LaunchOrder,
    NoCapacity,
    Offer,
    Price,
    Rejected,
    Transient,
)
from cloud_adapters.kubernetes.kubeconfig import Permissions, access_of
from tests.aws import TYPE, ZONES, Aws, account

SECONDS = 15.0
POLICY = Path(__file__).parents[2] / "docs" / "aws-policy.json"
NEVER_CALLED = {
    "ec2:CreateTags",  # asked of whoever tags what he makes
    "iam:PassRole",
    "iam:CreateServiceLinkedRole",
}


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


def offered(adapter: AwsAdapter, aws: Aws, **settings: str) -> dict[tuple[str, str, CapacityType], Offer]:
    found = adapter.offers(aws.cluster(**settings), deadline=SECONDS)
    return {(each.machine_type, each.zone, each.capacity_type): each for each in found}


def test_a_sound_account_is_known_by_its_number_and_regions_and_lends_nothing(
    aws: Aws, adapter: AwsAdapter
) -> None:
    assert adapter.inventory(aws.cluster(), deadline=SECONDS) == Inventory(
        machines=(), complete=True, session=f"{aws.cloud.account}/us-east-1,us-west-2"
    )
    assert aws.cloud.bill == ()


def test_what_stands_in_the_way_is_said_in_sentences(aws: Aws, adapter: AwsAdapter) -> None:
    aws.cloud.denied |= {"ec2:RunInstances", "ec2:DescribeVolumes"}
    aws.cloud.quotas["L-417A185B"] = 0
    cluster = aws.cluster(
        regions="us-east-1",
        subnets=f"us-east-1a={aws.cloud.subnet_of(ZONES[1])}",
        images="us-east-1=ami-0123456789abcdef0",
        machine_types="p4d.24xlarge,zz9.plural",
    )
    problems = adapter.inventory(cluster, deadline=SECONDS).problems
    for words in (
        "the account may not ec2:RunInstances; docs/aws-policy.json grants it",
        "the account may not ec2:DescribeVolumes",
        "lies in us-east-1b, and is set for us-east-1a",
        "ami-0123456789abcdef0",
        "zz9.plural is not offered in us-east-1a",
        "the quota L-417A185B (on-demand vCPUs of P machines) is 0",
    ):
        assert any(words in problem for problem in problems), words
    assert all(problem.startswith("us-east-1: ") for problem in problems)


def test_the_server_refuses_to_make_what_is_not_tagged_as_the_policy_wants_it(aws: Aws) -> None:
    calls = Account(aws.cloud.secret, aws.url).until(SECONDS)
    group = {"GroupName": "g", "Strategy": "cluster"}
    for act, wanted in ((Act.BUY, {"MinCount": 1, "MaxCount": 1}), (Act.MAKE_PLACEMENT_GROUP, group)):
        with pytest.raises(AuthFailed, match=act):
            calls.ask(act, "us-east-1", DryRun=True, **wanted)


def test_rights_are_looked_at_now_and_then_and_keys_every_time(aws: Aws, adapter: AwsAdapter) -> None:
    for _ in range(3):
        adapter.inventory(aws.cluster(), deadline=SECONDS)
    assert aws.cloud.calls.count("ec2:RunInstances") == 2  # once in each region, as a dry run
    assert aws.cloud.calls.count("sts:GetCallerIdentity") == 3


@pytest.mark.parametrize("secret", ["0" * 40, SECRET_KEY.lower()])
def test_refused_keys_are_told_from_silence(aws: Aws, adapter: AwsAdapter, secret: str) -> None:
    keys = json.dumps({"access_key_id": ACCESS_KEY, "secret_access_key": secret})
    with pytest.raises(AuthFailed):
        adapter.inventory(aws.cluster(secret=keys), deadline=SECONDS)
    with pytest.raises(AuthFailed):
        adapter.ensure(aws.order(aws.cluster(secret=keys)), deadline=SECONDS)
    with pytest.raises(Transient):
        adapter.inventory(aws.cluster(endpoint_url="http://127.0.0.1:9"), deadline=2.0)


def test_a_token_that_lapses_in_the_middle_of_a_launch_buys_nothing(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    ends_at = aws.clock.at + timedelta(minutes=1)
    aws.cloud.keys["ASIAEXAMPLE"] = Key(secret="temporary", token="tok", expires_at=ends_at)
    keys = {"access_key_id": "ASIAEXAMPLE", "secret_access_key": "temporary", "session_token": "tok"}
    lent = replace(order, cluster=aws.cluster(secret=json.dumps(keys)))
    assert adapter.list_owned(lent.cluster, deadline=SECONDS) == ()
    aws.clock.wait()
    with pytest.raises(AuthFailed, match="RequestExpired"):
        adapter.ensure(lent, deadline=SECONDS)
    assert aws.cloud.bill == ()


def test_a_role_is_taken_on_with_the_keys(aws: Aws, adapter: AwsAdapter, order: LaunchOrder) -> None:
    keys = {
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "role_arn": f"arn:aws:iam::{aws.cloud.account}:role/crossdock",
        "external_id": "tenant-7",
    }
    taken = replace(order, cluster=aws.cluster(secret=json.dumps(keys)))
    assert len(adapter.ensure(taken, deadline=SECONDS)) == 2
    assert aws.cloud.calls.count("sts:AssumeRole") == 1
    del aws.cloud.keys[ACCESS_KEY]
    assert len(adapter.list_owned(taken.cluster, deadline=SECONDS)) == 2


def test_a_role_is_asked_for_once_and_not_for_long() -> None:
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    config = role_client(boto3.Session(**keys), "us-east-1", None).meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.connect_timeout + config.read_timeout <= 5


@pytest.mark.parametrize("act", [Act.BUY, Act.MACHINES])
def test_what_a_slow_role_leaves_no_time_for_is_not_sent(aws: Aws, act: Act) -> None:
    role = f"arn:aws:iam::{aws.cloud.account}:role/crossdock"
    keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "role_arn": role}
    minute_after_the_role = Account(
        json.dumps(keys), aws.url, clock=lambda: 60.0 * aws.cloud.calls.count("sts:AssumeRole")
    )
    calls = minute_after_the_role.until(30.0)
    wanted = {"MinCount": 1, "MaxCount": 1} if act is Act.BUY else {}
    with pytest.raises(Transient, match=f"{act}: its deadline passed before it was sent"):
        calls.ask(act, "us-east-1", **wanted)
    assert aws.cloud.calls == ["sts:AssumeRole"]


def test_a_role_that_may_not_be_taken_on_is_said_to_be_that(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    aws.cloud.denied.add("sts:AssumeRole")
    keys = {
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "role_arn": "arn:aws:iam::1:role/crossdock",
    }
    with pytest.raises(AuthFailed, match="AssumeRole"):
        adapter.ensure(replace(order, cluster=aws.cluster(secret=json.dumps(keys))), deadline=SECONDS)


def test_offers_have_what_tasks_may_use_and_the_price_of_now(aws: Aws, adapter: AwsAdapter) -> None:
    aws.cloud.spot_prices[TYPE, ZONES[0]] = Decimal("0.4321")
    aws.cloud.list_prices[TYPE] = Decimal("1.0060")
    found = offered(adapter, aws, reserve_cpus="1", reserve_memory_mib="2048")
    assert {zone for _, zone, _ in found} == set(ZONES)
    spot = found[TYPE, ZONES[0], CapacityType.SPOT]
    assert spot == Offer(
        machine_type=TYPE,
        zone=ZONES[0],
        capacity_type=CapacityType.SPOT,
        amounts=Amounts(cpu_milli=3_000, gpu_milli=1_000, memory_bytes=14 * 2**30),
        accelerator="A10G",
        price=Price(amount=Decimal("0.4321"), currency="USD", as_of=aws.clock.at, is_verified=True),
    )
    on_demand = found[TYPE, ZONES[0], CapacityType.ON_DEMAND].price
    assert on_demand == Price(amount=Decimal("1.006"), currency="USD", as_of=aws.clock.at, is_verified=True)


def test_without_the_right_to_the_price_list_prices_come_from_the_table_and_say_so(
    aws: Aws, adapter: AwsAdapter
) -> None:
    aws.cloud.denied |= {
        "pricing:GetProducts",
        "ec2:DescribeSpotPriceHistory",
        "servicequotas:GetServiceQuota",
    }
    found = offered(adapter, aws)
    assert found[TYPE, ZONES[0], CapacityType.SPOT].price is None
    assert found[TYPE, ZONES[0], CapacityType.ON_DEMAND].price == Price(
        amount=ON_DEMAND_DOLLARS[TYPE], currency="USD", as_of=PRICES_AS_OF, is_verified=False
    )


def test_what_no_quota_has_room_for_is_not_offered(aws: Aws, adapter: AwsAdapter) -> None:
    aws.cloud.quotas["L-3819A6DF"] = 47  # spot vCPUs of G machines: no g5.12xlarge
    found = offered(adapter, aws)
    assert (TYPE, ZONES[0], CapacityType.SPOT) in found
    assert ("g5.12xlarge", ZONES[0], CapacityType.SPOT) not in found
    assert ("g5.12xlarge", ZONES[0], CapacityType.ON_DEMAND) in found


def test_a_reservation_is_an_offer_of_its_own(aws: Aws, adapter: AwsAdapter) -> None:
    found = offered(adapter, aws, reservations=f"{ZONES[1]}/p4d.24xlarge=cr-0123456789abcdef0")
    reserved = [key for key in found if key[2] is CapacityType.RESERVED]
    assert reserved == [("p4d.24xlarge", ZONES[1], CapacityType.RESERVED)]


@pytest.mark.parametrize("action", ["DescribeInstanceTypes", "DescribeInstanceTypeOfferings"])
def test_a_catalogue_that_cannot_be_had_is_never_an_empty_one(
    aws: Aws, adapter: AwsAdapter, action: str
) -> None:
    aws.cloud.faults.append(Fault(action=action, code="InternalError", http_code=500, times=9))
    with pytest.raises(Transient):
        adapter.offers(aws.cluster(), deadline=SECONDS)


def test_the_table_agrees_with_the_api(aws: Aws, adapter: AwsAdapter) -> None:
    aws.cloud.denied |= {"pricing:GetProducts", "servicequotas:GetServiceQuota"}
    cluster = aws.cluster(
        regions="us-east-1",
        subnets=",".join(f"{zone}={aws.cloud.subnet_of(zone)}" for zone in ZONES[:2]),
        machine_types=",".join(TABLE),
    )
    found = adapter.offers(cluster, deadline=60.0)
    seen = {each.machine_type: (each.amounts, each.accelerator) for each in found}
    assert len(seen) >= 30
    for name, (amounts, model) in seen.items():
        kind = TABLE[name]
        assert (amounts.cpu_milli, amounts.gpu_milli) == (kind.vcpus * 1000, kind.gpus * 1000)
        assert (amounts.memory_bytes, model) == (kind.memory_mib * 2**20, kind.model)


def test_the_policy_grants_every_call_and_no_other() -> None:
    granted = {action for action, _ in grants()}
    assert granted - NEVER_CALLED == {act.value for act in Act} - {Act.ASSUME_ROLE.value}


def test_nothing_is_ended_or_removed_without_our_tag() -> None:
    for action, statement in grants():
        if any(word in action for word in ("Terminate", "Delete", "Release", "Cancel", "Authorize")):
            assert "aws:ResourceTag/crossdock.io/cluster" in json.dumps(statement["Condition"])


def test_a_whole_life_of_a_claim_calls_nothing_that_the_policy_does_not_grant(
    aws: Aws, adapter: AwsAdapter, order: LaunchOrder
) -> None:
    gang = replace(order, machine_type="p4d.24xlarge")
    adapter.inventory(gang.cluster, deadline=SECONDS)
    adapter.offers(gang.cluster, deadline=SECONDS)
    aws.cloud.leaves_disks = True
    adapter.ensure(gang, deadline=SECONDS)
    aws.cloud.stock["p4d.24xlarge", ZONES[1], "spot"] = 0
    with pytest.raises(NoCapacity):
        adapter.ensure(replace(gang, zone=ZONES[1], launch_id="clm_1-g1-l2"), deadline=SECONDS)
    adapter.terminate(gang.cluster, gang.claim_id, deadline=SECONDS)
    aws.clock.wait()
    assert adapter.list_owned(gang.cluster, deadline=SECONDS) == ()
    for left in adapter.leftovers(gang.cluster, deadline=SECONDS):
        adapter.remove(gang.cluster, left, deadline=SECONDS)
    assert adapter.leftovers(gang.cluster, deadline=SECONDS) == ()
    assert set(aws.cloud.calls) <= {action for action, _ in grants()}


def grants() -> Iterator[tuple[str, dict[str, Any]]]:
    for statement in json.loads(POLICY.read_text())["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            yield action, statement


def admitted(aws: Aws, **settings: str) -> Admission:
    told = {"cluster": "train", "region": "us-east-1", "endpoint_url": aws.url} | settings
    return Eks().admit(told, aws.cloud.secret, deadline=SECONDS)


def test_an_eks_cluster_is_entered_with_a_token_that_says_who_we_are(aws: Aws) -> None:
    made = boto3.client(
        "eks",
        "us-east-1",
        endpoint_url=aws.url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    ).create_cluster(
        name="train",
        roleArn=f"arn:aws:iam::{aws.cloud.account}:role/eks",
        resourcesVpcConfig={"subnetIds": [aws.cloud.subnet_of(ZONES[0])]},
    )["cluster"]
    before = datetime.now(UTC)
    admission = admitted(aws)
    assert before < admission.until < datetime.now(UTC) + timedelta(minutes=15)
    access = access_of(admission.kubeconfig, Permissions())
    assert access.server == made["endpoint"].rstrip("/")
    assert access.ca_pem is not None
    assert access.ca_pem.startswith("-----BEGIN CERTIFICATE-----")
    assert access.authorization is not None
    assert access.authorization not in repr(admission)
    signed = access.authorization.removeprefix("Bearer k8s-aws-v1.")
    url = urlsafe_b64decode(signed + "=" * (-len(signed) % 4)).decode()
    assert "X-Amz-Expires=60" in url
    assert aws.cloud.account in answered(url, "train")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        answered(url, "another-cluster")


def test_an_eks_cluster_that_is_none_is_refused(aws: Aws) -> None:
    with pytest.raises(Rejected, match="ResourceNotFoundException"):
        admitted(aws, cluster="none")


def test_eks_settings_that_will_not_do_are_named(aws: Aws) -> None:
    with pytest.raises(Rejected, match=r"no setting credentials\.zone"):
        admitted(aws, zone="us-east-1a")
    with pytest.raises(Rejected, match=r"credentials\.region is missing"):
        Eks().admit({"cluster": "train"}, None, deadline=SECONDS)
    with pytest.raises(Rejected, match=r"endpoint_url must be a URL with https"):
        admitted(aws, endpoint_url="http://eks.example.org")


def answered(url: str, cluster: str) -> str:
    """As the API server of EKS asks, with the name of the cluster that the token is for."""
    request = urllib.request.Request(url, headers={"x-k8s-aws-id": cluster})  # noqa: S310 # loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 # loopback
        return str(answer.read().decode())
