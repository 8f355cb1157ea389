"""The Alibaba adapter keeps the contracts, through the vendor's SDK, against a server that checks its signatures."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from cloud_adapters.alibaba.adapter import AlibabaAdapter
from cloud_adapters.alibaba.server import Fault
from cloud_adapters.alibaba.translate import encoded
from cloud_adapters.base import ClusterRef, LaunchOrder, Leftover
from cloud_adapters.boot.user_data import render
from cloud_adapters.testing import (
    LossesContract,
    RenewsContract,
    SecretsContract,
    SellsContract,
    SweepsContract,
)
from tests.ecs_account import ELSEWHERE, GPU, KEY_ID, NOWHERE, SECRETS, START, Scene, open_scene

EVERY_CALL = ("RunInstances", "DescribeInstances", "DeleteInstances", "DescribeAvailableResource")


@pytest.fixture
def scene() -> Iterator[Scene]:
    with open_scene() as scene:
        yield scene


class TestAlibaba(SellsContract, LossesContract, SecretsContract, SweepsContract, RenewsContract):
    @pytest.fixture
    def seller(self, scene: Scene) -> AlibabaAdapter:
        return scene.adapter

    @pytest.fixture
    def order(self, scene: Scene) -> LaunchOrder:
        return scene.order

    @pytest.fixture
    def sold_out(self, scene: Scene) -> LaunchOrder:
        scene.account.stock[GPU, NOWHERE] = 1
        return replace(scene.order, zone=NOWHERE)

    @pytest.fixture
    def elsewhere(self) -> str:
        return ELSEWHERE

    @pytest.fixture
    def wait(self, scene: Scene) -> Callable[[], None]:
        return scene.clock.wait

    @pytest.fixture
    def lose_answer(self, scene: Scene) -> Callable[[], None]:
        return lambda: scene.fail("RunInstances", loses_answer=True)

    @pytest.fixture
    def fall_silent(self, scene: Scene) -> Callable[[], None]:
        silence = [Fault(action=action, count=100, loses_request=True) for action in EVERY_CALL]
        return lambda: scene.server.faults.extend(silence)

    @pytest.fixture
    def secrets(self, order: LaunchOrder) -> tuple[str, ...]:
        """User data travels in base64: any long stretch of it gives it away."""
        return (*SECRETS, *re.findall(r"[A-Za-z0-9]{12,}", encoded(render(order))))

    @pytest.fixture
    def refused(self, scene: Scene) -> ClusterRef:
        return scene.with_keys(access_key_id=KEY_ID, access_key_secret="some-other-secret")

    @pytest.fixture
    def leave_behind(self, scene: Scene) -> Callable[[], None]:
        return lambda: setattr(scene.account, "keeps_disks", True)

    @pytest.fixture
    def jam(self, scene: Scene) -> Callable[[Leftover], None]:
        def jam(leftover: Leftover) -> None:
            scene.account.things[leftover.name].stuck_code = "IncorrectDiskStatus"

        return jam

    @pytest.fixture
    def last_end(self) -> datetime:
        return START + timedelta(hours=2)

    @pytest.fixture
    def lock(self, scene: Scene) -> Callable[[str], None]:
        return lambda name: setattr(scene.account.bill[name], "lock", "security")

    @pytest.fixture
    def wait_until(self, scene: Scene) -> Callable[[datetime], None]:
        return lambda at: setattr(scene.clock, "at", at)
