"""The whole test of an adapter begins with the contracts of the ports that it has; a plugin only brings fixtures."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from crossdock_toycloud.adapter import ToyCloudAdapter
from crossdock_toycloud.server import ToyCloud

from cloud_adapters.base import CapacityType, ClusterRef, Endpoint, LaunchOrder, Rejected
from cloud_adapters.testing import LendsContract, LossesContract, SecretsContract, SellsContract


@pytest.fixture
def cloud() -> Iterator[ToyCloud]:
    with ToyCloud() as running:
        yield running


@pytest.fixture
def toys(cloud: ToyCloud) -> ClusterRef:
    return ClusterRef(id="toys", name="toys", endpoint=Endpoint(url=cloud.url, token=cloud.key))


@pytest.fixture
def wrong_key(cloud: ToyCloud) -> ClusterRef:
    return ClusterRef(id="toys", name="toys", endpoint=Endpoint(url=cloud.url, token="wrong-key"))


def an_order(toys: ClusterRef) -> LaunchOrder:
    return LaunchOrder(
        cluster=toys,
        claim_id="claim-1",
        launch_id="claim-1-g1-l1",
        zone="north",
        machine_type="toy.large",
        capacity_type=CapacityType.ON_DEMAND,
        machines=2,
    )


class TestToyCloudLends(LendsContract):
    @pytest.fixture
    def adapter(self) -> ToyCloudAdapter:
        return ToyCloudAdapter()

    @pytest.fixture
    def cluster(self, toys: ClusterRef) -> ClusterRef:
        return toys

    @pytest.fixture
    def silent(self) -> Iterator[ClusterRef]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            yield ClusterRef(id="s", name="s", endpoint=Endpoint(url=f"http://127.0.0.1:{port}"))

    @pytest.fixture
    def locked(self, wrong_key: ClusterRef) -> ClusterRef:
        return wrong_key


class TestToyCloudSells(SellsContract, LossesContract, SecretsContract):
    @pytest.fixture
    def seller(self) -> ToyCloudAdapter:
        return ToyCloudAdapter()

    @pytest.fixture
    def order(self, toys: ClusterRef) -> LaunchOrder:
        return an_order(toys)

    @pytest.fixture
    def sold_out(self, cloud: ToyCloud, order: LaunchOrder) -> LaunchOrder:
        cloud.sold_out.add(("toy.large", "north"))
        return order

    @pytest.fixture
    def elsewhere(self) -> str:
        return "south"

    @pytest.fixture
    def wait(self, cloud: ToyCloud) -> Callable[[], None]:
        return lambda: cloud.pass_seconds(30)

    @pytest.fixture
    def lose_answer(self, cloud: ToyCloud) -> Callable[[], None]:
        return lambda: setattr(cloud, "lost_answers", 1)

    @pytest.fixture
    def fall_silent(self, cloud: ToyCloud) -> Callable[[], None]:
        return lambda: setattr(cloud, "is_silent", True)

    @pytest.fixture
    def refused(self, wrong_key: ClusterRef) -> ClusterRef:
        return wrong_key

    @pytest.fixture
    def secrets(self, cloud: ToyCloud) -> tuple[str, ...]:
        return (cloud.key, "wrong-key")


def test_what_toycloud_does_not_sell_is_rejected_before_it_is_asked(toys: ClusterRef) -> None:
    with pytest.raises(Rejected, match="on demand alone"):
        ToyCloudAdapter().ensure(replace(an_order(toys), capacity_type=CapacityType.SPOT), deadline=5)


def test_bought_machines_are_lent_as_nodes_with_the_label_of_their_claim(
    cloud: ToyCloud, toys: ClusterRef
) -> None:
    adapter = ToyCloudAdapter()
    adapter.ensure(replace(an_order(toys), machines=1), deadline=5)
    before = adapter.inventory(toys, deadline=5)
    cloud.pass_seconds(30)
    after = adapter.inventory(toys, deadline=5)
    assert [machine.name for machine in before.machines] == ["ray-toy-0"]
    assert [(machine.name, machine.labels) for machine in after.machines] == [
        ("ray-toy-0", ()),
        ("ray-toy-1", (("crossdock.io/claim", "claim-1"),)),
    ]
