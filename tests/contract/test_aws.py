"""The AWS adapter keeps the contract of sellers, through the real SDK, against a strict EC2."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from cloud_adapters.aws.adapter import AwsAdapter
from cloud_adapters.base import LaunchOrder
from cloud_adapters.testing import SellsContract
from tests.aws import ZONES, Aws, account


@pytest.fixture
def aws() -> Iterator[Aws]:
    with account() as opened:
        opened.cloud.list_lag_seconds = 20
        yield opened


class TestAws(SellsContract):
    @pytest.fixture
    def seller(self, aws: Aws) -> AwsAdapter:
        return AwsAdapter(list_lag=timedelta(seconds=30), now=aws.clock)

    @pytest.fixture
    def order(self, aws: Aws) -> LaunchOrder:
        return aws.order()

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
