"""The AWS adapter keeps the contracts of sellers, through the real SDK, against a strict EC2."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.aws.server import ACCESS_KEY, SECRET_KEY, Fault
from cloud_adapters.base import Boot, ClusterRef, LaunchOrder, Leftover
from cloud_adapters.boot.user_data import render
from cloud_adapters.testing import LossesContract, SecretsContract, SellsContract, SweepsContract
from tests.aws import REGIONS, ZONES, Aws, account

BOOT = Boot(urls=("https://plane.example",), token="boot-0123456789abcdef")


class TestAws(SellsContract, LossesContract, SecretsContract, SweepsContract):
    @pytest.fixture
    def aws(self) -> Iterator[Aws]:
        with account() as opened:
            opened.cloud.list_lag_seconds = 20
            yield opened

    @pytest.fixture
    def seller(self, aws: Aws) -> AwsAdapter:
        return AwsAdapter(list_lag=timedelta(seconds=30), now=aws.clock)

    @pytest.fixture
    def order(self, aws: Aws) -> LaunchOrder:
        """In groups of the account's own: one of ours would be a leftover that belongs to no claim."""
        groups = ",".join(f"{region}={aws.cloud.default_group(region)}" for region in REGIONS)
        return replace(aws.order(aws.cluster(security_groups=groups)), boot=BOOT)

    @pytest.fixture
    def sold_out(self, aws: Aws, order: LaunchOrder) -> LaunchOrder:
        aws.cloud.stock[order.machine_type, ZONES[1], "spot"] = 1
        return replace(order, zone=ZONES[1])

    @pytest.fixture
    def elsewhere(self) -> str:
        return ZONES[2]

    @pytest.fixture
    def wait(self, aws: Aws) -> Callable[[], None]:
        return aws.clock.wait

    @pytest.fixture
    def lose_answer(self, aws: Aws) -> Callable[[], None]:
        return lambda: aws.cloud.faults.append(Fault(action="RunInstances", is_done=True))

    @pytest.fixture
    def fall_silent(self, aws: Aws) -> Callable[[], None]:
        return lambda: aws.cloud.faults.append(Fault(action="*", times=10**6))

    @pytest.fixture
    def secrets(self, order: LaunchOrder) -> tuple[str, ...]:
        text = render(order)
        return (SECRET_KEY, BOOT.token, text, b64encode(text.encode()).decode())

    @pytest.fixture
    def refused(self, order: LaunchOrder) -> ClusterRef:
        keys = json.dumps({"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY[::-1]})
        return replace(order.cluster, secret=keys)

    @pytest.fixture
    def leave_behind(self, aws: Aws) -> Callable[[], None]:
        return lambda: setattr(aws.cloud, "leaves_disks", True)

    @pytest.fixture
    def jam(self, aws: Aws) -> Callable[[Leftover], None]:
        return lambda leftover: aws.cloud.stuck.add(leftover.name)
