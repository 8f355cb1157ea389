"""Launches and records for tests."""

from cloud_adapters.base import Amounts, CapacityType, ClusterRef, LaunchOrder, Share
from cloud_adapters.kubernetes.orders import Order, Record, order_of

GIBIBYTE = 2**30
LAUNCH = LaunchOrder(
    cluster=ClusterRef(id="cluster_1", name="lab", endpoint=None),
    claim_id="claim_1",
    launch_id="claim_1-g1-l1",
    zone="z",
    machine_type="share",
    capacity_type=CapacityType.OWNED,
    machines=2,
    shares=(
        Share(node_name="gpu-1", amounts=Amounts(cpu_milli=3500, memory_bytes=10 * GIBIBYTE, gpu_milli=2000)),
        Share(node_name="gpu-2", amounts=Amounts(cpu_milli=1000, memory_bytes=GIBIBYTE)),
    ),
)


def order(launch: LaunchOrder = LAUNCH, *, is_kuberay: bool = True) -> Order:
    return order_of(launch, is_kuberay=is_kuberay)


def record(
    launch: LaunchOrder = LAUNCH,
    *,
    is_kuberay: bool = True,
    released: frozenset[str] = frozenset(),
    is_going: bool = False,
) -> Record:
    return Record(
        order=order(launch, is_kuberay=is_kuberay),
        uid="uid-1",
        created_at="2026-01-01T00:00:00Z",
        released=released,
        is_going=is_going,
    )
