"""Every plugin that sells keeps the contract; and what the fake cloud sold, it also lends."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from cloud_adapters.base import CapacityType, ClusterRef, LaunchOrder, Leftover
from cloud_adapters.fake_cloud import FakeCloud
from cloud_adapters.testing import LossesContract, RenewsContract, SellsContract, SweepsContract

ORDER = LaunchOrder(
    cluster=ClusterRef(id="c", name="burst", endpoint=None),
    claim_id="claim-1",
    launch_id="claim-1-g1-l1",
    zone="a",
    machine_type="small",
    capacity_type=CapacityType.SPOT,
    machines=2,
)


@dataclass(slots=True)
class Clock:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def wait(self) -> None:
        self.at += timedelta(minutes=1)

    def wait_until(self, at: datetime) -> None:
        self.at = at


class TestFakeCloud(SellsContract, LossesContract, SweepsContract, RenewsContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def seller(self, clock: Clock) -> FakeCloud:
        cloud = FakeCloud(clock)
        cloud.list_lag_seconds = 20
        return cloud

    @pytest.fixture
    def order(self) -> LaunchOrder:
        return ORDER

    @pytest.fixture
    def sold_out(self, seller: FakeCloud) -> LaunchOrder:
        seller.sold_out.add(("small", "z"))
        return replace(ORDER, zone="z")

    @pytest.fixture
    def elsewhere(self) -> str:
        return "b"

    @pytest.fixture
    def wait(self, clock: Clock) -> Callable[[], None]:
        return clock.wait

    @pytest.fixture
    def lose_answer(self, seller: FakeCloud) -> Callable[[], None]:
        return lambda: setattr(seller, "lost_answers", 1)

    @pytest.fixture
    def fall_silent(self, seller: FakeCloud) -> Callable[[], None]:
        return lambda: setattr(seller, "is_unreachable", True)

    @pytest.fixture
    def leave_behind(self, seller: FakeCloud) -> Callable[[], None]:
        return lambda: setattr(seller, "leaves_disks", True)

    @pytest.fixture
    def jam(self, seller: FakeCloud) -> Callable[[Leftover], None]:
        return lambda leftover: seller.stuck.add(leftover.name)

    @pytest.fixture
    def last_end(self, clock: Clock, seller: FakeCloud) -> datetime:
        seller.lease_seconds = 7200
        return clock.at + timedelta(seconds=7200)

    @pytest.fixture
    def lock(self, seller: FakeCloud) -> Callable[[str], None]:
        return seller.locked.add

    @pytest.fixture
    def wait_until(self, clock: Clock) -> Callable[[datetime], None]:
        return clock.wait_until
