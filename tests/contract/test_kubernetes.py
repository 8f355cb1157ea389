"""Kubernetes keeps the contracts of lenders and sellers, on a real API server with KubeRay and without."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from cloud_adapters.base import CapacityType, ClusterRef, LaunchOrder, Share
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.kubeconfig import Permissions
from cloud_adapters.testing import LendsContract, SellsContract
from controlplane.domain.amounts import Amounts
from tests.kube.fixtures import Stage

SHARE = Amounts(cpu_milli=1500, memory_bytes=2 * 2**30, gpu_milli=1000)


@pytest.fixture
def adapter() -> Iterator[KubernetesAdapter]:
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    yield adapter
    adapter.close()


@pytest.fixture
def mute_url() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


def cluster_of(kube: Stage, *, token: str | None = None, **settings: str) -> ClusterRef:
    given = {"namespace": kube.namespace, "node_selector": f"stage={kube.namespace}"} | settings
    return ClusterRef(
        id=f"cluster_{kube.namespace}",
        name="lab",
        endpoint=None,
        settings=tuple(sorted(given.items())),
        secret=kube.server.kubeconfig(token),
    )


def order_of(kube: Stage, **settings: str) -> LaunchOrder:
    claim = f"claim_{kube.namespace}"
    return LaunchOrder(
        cluster=cluster_of(kube, **settings),
        claim_id=claim,
        launch_id=f"{claim}-g1-l1",
        zone="z",
        machine_type="share",
        capacity_type=CapacityType.OWNED,
        machines=2,
        shares=tuple(Share(node_name=kube.node(number), amounts=SHARE) for number in (1, 2)),
    )


class TestKubernetesLends(LendsContract):
    @pytest.fixture
    def adapter(self, adapter: KubernetesAdapter) -> KubernetesAdapter:
        return adapter

    @pytest.fixture
    def cluster(self, kube: Stage) -> ClusterRef:
        return cluster_of(kube)

    @pytest.fixture
    def silent(self, kube: Stage, mute_url: str) -> ClusterRef:
        secret = cluster_of(kube).secret
        assert secret is not None
        return replace(cluster_of(kube), secret=secret.replace(kube.server.url, mute_url))

    @pytest.fixture
    def locked(self, kube: Stage) -> ClusterRef:
        return cluster_of(kube, token="wrong")


class Selling(SellsContract):
    @pytest.fixture
    def seller(self, adapter: KubernetesAdapter) -> KubernetesAdapter:
        return adapter

    @pytest.fixture
    def sold_out(self, order: LaunchOrder) -> LaunchOrder:
        gone = replace(order.shares[0], node_name="no-such-node")
        return replace(order, shares=(order.shares[1], gone))

    @pytest.fixture
    def elsewhere(self) -> str:
        return "y"

    @pytest.fixture
    def wait(self, kube: Stage) -> Callable[[], None]:
        return kube.settle


class TestKubeRay(Selling):
    @pytest.fixture
    def order(self, kube: Stage) -> LaunchOrder:
        return order_of(kube)


class TestPlainPods(Selling):
    @pytest.fixture
    def order(self, kube: Stage) -> LaunchOrder:
        return order_of(kube, kuberay="no")
