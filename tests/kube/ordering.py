"""What tests register and order on a stage."""

from dataclasses import replace

from cloud_adapters.base import Amounts, CapacityType, ClusterRef, LaunchOrder, Share
from tests.kube.stages import Stage

SHARE = Amounts(cpu_milli=1500, memory_bytes=2 * 2**30, gpu_milli=1000)


def cluster_of(kube: Stage, *, token: str | None = None, **settings: str) -> ClusterRef:
    """The stage's nodes and namespace, by an administrator's kubeconfig unless another token is given."""
    given = {"namespace": kube.namespace, "node_selector": f"stage={kube.namespace}"} | settings
    return ClusterRef(
        id=f"cluster_{kube.namespace}",
        name="lab",
        endpoint=None,
        settings=tuple(sorted(given.items())),
        secret=kube.server.kubeconfig(token),
    )


def through(cluster: ClusterRef, server_url: str, other_url: str) -> ClusterRef:
    """The same one, dialled at another address."""
    assert cluster.secret is not None
    return replace(cluster, secret=cluster.secret.replace(server_url, other_url))


def order_of(kube: Stage, *, launch: int = 1, **settings: str) -> LaunchOrder:
    """One member on each node of the stage."""
    claim = f"claim_{kube.namespace}"
    return LaunchOrder(
        cluster=cluster_of(kube, **settings),
        claim_id=claim,
        launch_id=f"{claim}-g{launch}-l1",
        zone="z",
        machine_type="share",
        capacity_type=CapacityType.OWNED,
        machines=2,
        shares=tuple(Share(node_name=kube.node(number), amounts=SHARE) for number in (1, 2)),
    )
