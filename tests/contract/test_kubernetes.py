"""Kubernetes keeps the contracts of lenders and sellers, on a real API server with KubeRay and without."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from cloud_adapters.base import ClusterRef, LaunchOrder
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.testing import LendsContract, SellsContract
from tests.kube.ordering import cluster_of, order_of, through
from tests.kube.stages import Stage


class TestKubernetesLends(LendsContract):
    @pytest.fixture
    def adapter(self, kubernetes_adapter: KubernetesAdapter) -> KubernetesAdapter:
        return kubernetes_adapter

    @pytest.fixture
    def cluster(self, kube: Stage) -> ClusterRef:
        return cluster_of(kube)

    @pytest.fixture
    def silent(self, kube: Stage) -> Iterator[ClusterRef]:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            yield through(cluster_of(kube), kube.server.url, f"https://127.0.0.1:{mute.getsockname()[1]}")

    @pytest.fixture
    def locked(self, kube: Stage) -> ClusterRef:
        return cluster_of(kube, token="wrong")


class Selling(SellsContract):
    @pytest.fixture
    def seller(self, kubernetes_adapter: KubernetesAdapter) -> KubernetesAdapter:
        return kubernetes_adapter

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
