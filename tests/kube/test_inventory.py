"""The inventory of a real API server follows what happens, through everything that a network does to a watch."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from cloud_adapters.base import (
    Amounts,
    ClusterRef,
    Inventory,
    Machine,
    PluginError,
    Rejected,
    Taint,
    Transient,
)
from cloud_adapters.kubernetes import watching
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from cloud_adapters.kubernetes.kubeconfig import Permissions
from tests.kube.faults import Deed, Fault, FaultProxy
from tests.kube.ordering import cluster_of, through
from tests.kube.rest import Json
from tests.kube.stages import Stage

CALL_SECONDS = 15.0
GIBIBYTE = 2**30
EMPTY = Amounts(cpu_milli=8000, memory_bytes=32 * GIBIBYTE, gpu_milli=4000)


@pytest.fixture
def cluster(kube: Stage) -> ClusterRef:
    kube.settle()
    return cluster_of(kube)


@pytest.fixture
def shaky(kube: Stage, cluster: ClusterRef, fault_proxy: FaultProxy) -> ClusterRef:
    """The same one behind the proxy."""
    return through(cluster, kube.server.url, fault_proxy.url)


def foreign_pod(kube: Stage, name: str, number: int, **requests: str) -> Json:
    """Bound by its maker, as daemons are."""
    container = {"name": "c", "image": "i", "resources": {"requests": requests}}
    pod = {"metadata": {"name": name}, "spec": {"nodeName": kube.node(number), "containers": [container]}}
    return kube.rest.create("pods", pod, kube.namespace)


def look(adapter: KubernetesAdapter, cluster: ClusterRef) -> dict[str, Machine]:
    seen = adapter.inventory(cluster, deadline=CALL_SECONDS)
    return {machine.name: machine for machine in seen.machines}


def until_used(
    kube: Stage, adapter: KubernetesAdapter, cluster: ClusterRef, number: int, cpu_milli: int
) -> None:
    def is_so() -> bool:
        return look(adapter, cluster)[kube.node(number)].used.cpu_milli == cpu_milli

    kube.until(is_so)


def test_nodes_are_read_with_all_they_have(
    kube: Stage, cluster: ClusterRef, kubernetes_adapter: KubernetesAdapter
) -> None:
    seen = kubernetes_adapter.inventory(cluster, deadline=CALL_SECONDS)
    system = kube.rest.get("namespaces", "kube-system")
    assert system is not None
    assert (seen.session, seen.complete, seen.problems) == (system["metadata"]["uid"], True, ())
    assert seen.machines[0] == Machine(
        name=kube.node(1),
        host="10.99.255.254",
        allocatable=EMPTY,
        ours=Amounts(),
        accelerator="NVIDIA-H200",
        labels=(("nvidia.com/gpu.product", "NVIDIA-H200"), ("stage", kube.namespace)),
    )


def test_what_others_use_is_seen_while_it_is_used(
    kube: Stage, cluster: ClusterRef, kubernetes_adapter: KubernetesAdapter
) -> None:
    foreign_pod(kube, "theirs", 1, cpu="1500m", memory="1Gi")
    until_used(kube, kubernetes_adapter, cluster, 1, 1500)
    foreign_pod(kube, "more", 1, cpu="500m")
    until_used(kube, kubernetes_adapter, cluster, 1, 2000)
    kube.claimed.exit_codes["theirs"] = 0
    kube.settle()
    until_used(kube, kubernetes_adapter, cluster, 1, 500)
    kube.rest.delete("pods", "more", kube.namespace, grace_seconds=0)
    until_used(kube, kubernetes_adapter, cluster, 1, 0)


def test_nodes_come_go_and_change(
    kube: Stage, cluster: ClusterRef, kubernetes_adapter: KubernetesAdapter
) -> None:
    assert list(look(kubernetes_adapter, cluster)) == [kube.node(1), kube.node(2)]
    kube.kubelets.add(kube.node(3), {"cpu": "1", "memory": "1Gi"}, labels={"stage": kube.namespace})
    kube.until(lambda: kube.node(3) in look(kubernetes_adapter, cluster))
    kube.kubelets.remove(kube.node(3))
    kube.until(lambda: kube.node(3) not in look(kubernetes_adapter, cluster))
    taint = {"key": "maintenance", "value": "", "effect": "NoSchedule"}
    kube.rest.patch("nodes", kube.node(1), {"spec": {"unschedulable": True, "taints": [taint]}})
    kube.until(lambda: not look(kubernetes_adapter, cluster)[kube.node(1)].is_schedulable)
    taints = look(kubernetes_adapter, cluster)[kube.node(1)].taints
    assert Taint(key="maintenance", value="", effect="NoSchedule") in taints


def test_a_node_that_is_not_ready_takes_nothing(
    kube: Stage, cluster: ClusterRef, kubernetes_adapter: KubernetesAdapter
) -> None:
    kube.kubelets.tell(kube.node(2), is_ready=False)
    kube.until(lambda: not look(kubernetes_adapter, cluster)[kube.node(2)].is_schedulable)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(verb="GET", path="/api/v1/pods?", deed=Deed.ANSWER, code=410, body={"reason": "Expired"}),
        Fault(verb="GET", path="watch=true", deed=Deed.ANSWER, code=410, body={"reason": "Expired"}, times=4),
        Fault(verb="GET", path="watch=true", deed=Deed.CUT, after_bytes=40, times=4),
        Fault(verb="GET", path="watch=true", deed=Deed.ANSWER, code=500, times=3),
        Fault(
            verb="GET", path="watch=true", deed=Deed.ANSWER, code=429, headers={"Retry-After": "0.1"}, times=3
        ),
        Fault(verb="GET", path="/api/v1/nodes?", deed=Deed.CUT, after_bytes=10),
    ],
    ids=["list 410", "watch 410", "watch cut", "watch 500", "watch 429", "list cut"],
)
def test_no_change_is_missed_through_what_happens_to_a_watch(
    kube: Stage,
    shaky: ClusterRef,
    kubernetes_adapter: KubernetesAdapter,
    fault_proxy: FaultProxy,
    fault: Fault,
) -> None:
    fault_proxy.faults.append(replace(fault))
    foreign_pod(kube, "before", 1, cpu="1")

    def is_seen(cpu_milli: int) -> Callable[[], bool]:
        def seen() -> bool:
            try:
                return look(kubernetes_adapter, shaky)[kube.node(1)].used.cpu_milli == cpu_milli
            except Transient:  # for as long as it was never listed
                return False

        return seen

    kube.until(is_seen(1000))
    foreign_pod(kube, "after", 1, cpu="1")
    kube.until(is_seen(2000))
    kube.until(lambda: fault_proxy.faults[0].times == 0)


def test_a_watch_that_falls_silent_is_begun_anew(
    kube: Stage,
    shaky: ClusterRef,
    kubernetes_adapter: KubernetesAdapter,
    fault_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "STALL_SECONDS", 0.5)
    fault_proxy.faults.append(Fault(verb="GET", path="pods?fieldSelector", deed=Deed.STALL, times=0))
    look(kubernetes_adapter, shaky)
    kube.until(lambda: fault_proxy.count("GET", "/api/v1/pods?") >= 2)
    stalled = Fault(verb="GET", path="watch=true", deed=Deed.STALL, times=2)
    fault_proxy.faults.append(stalled)
    kube.until(lambda: stalled.times == 0)
    foreign_pod(kube, "late", 1, cpu="1")
    until_used(kube, kubernetes_adapter, shaky, 1, 1000)
    lists = [each for each in fault_proxy.calls if "/api/v1/pods?" in each and "watch=true" not in each]
    assert len(lists) == 1


def test_a_long_list_comes_in_pages(
    kube: Stage,
    shaky: ClusterRef,
    kubernetes_adapter: KubernetesAdapter,
    fault_proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "PAGE", 2)
    for number in range(5):
        foreign_pod(kube, f"p{number}", 1, cpu="100m")
    until_used(kube, kubernetes_adapter, shaky, 1, 500)
    assert fault_proxy.count("GET", "continue=") >= 2


def test_a_second_look_costs_no_list(
    kube: Stage, shaky: ClusterRef, kubernetes_adapter: KubernetesAdapter, fault_proxy: FaultProxy
) -> None:
    look(kubernetes_adapter, shaky)
    before = len(fault_proxy.calls)
    look(kubernetes_adapter, shaky)
    asked = [each for each in fault_proxy.calls[before:] if "watch=true" not in each]
    assert asked == ["GET /api/v1/namespaces/kube-system"]


def test_an_outage_is_told_and_over_when_it_is_over(
    kube: Stage, shaky: ClusterRef, kubernetes_adapter: KubernetesAdapter, fault_proxy: FaultProxy
) -> None:
    look(kubernetes_adapter, shaky)
    outage = Fault(verb="GET", path="/namespaces/kube-system", deed=Deed.CUT, times=1000)
    fault_proxy.faults.append(outage)
    with pytest.raises(Transient):
        kubernetes_adapter.inventory(shaky, deadline=CALL_SECONDS)
    outage.times = 0
    assert look(kubernetes_adapter, shaky)


def test_many_clusters_are_followed_at_once(
    kube: Stage, cluster: ClusterRef, kubernetes_adapter: KubernetesAdapter
) -> None:
    others = [replace(cluster, id=f"{cluster.id}-{number}") for number in range(8)]
    seen: list[Inventory | PluginError] = []

    def follow(each: ClusterRef) -> None:
        try:
            seen.append(kubernetes_adapter.inventory(each, deadline=CALL_SECONDS))
        except PluginError as problem:
            seen.append(problem)

    threads = [threading.Thread(target=follow, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [kubernetes_adapter.inventory(cluster, deadline=CALL_SECONDS)] * 8


def test_an_adapter_that_is_closed_leaves_no_thread(cluster: ClusterRef) -> None:
    before = set(threading.enumerate())
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    adapter.inventory(cluster, deadline=CALL_SECONDS)
    assert set(threading.enumerate()) - before
    adapter.close()
    assert set(threading.enumerate()) - before == set()


def test_an_adapter_that_is_forgotten_leaves_no_thread(cluster: ClusterRef) -> None:
    before = set(threading.enumerate())
    adapter = KubernetesAdapter(Permissions(local_addresses=True))
    adapter.inventory(cluster, deadline=CALL_SECONDS)
    del adapter
    assert set(threading.enumerate()) - before == set()


def test_a_cluster_on_this_machine_is_refused_unless_the_server_permits_it(cluster: ClusterRef) -> None:
    adapter = KubernetesAdapter(Permissions())
    with pytest.raises(Rejected, match=r"leads to 127\.0\.0\.1"):
        adapter.inventory(cluster, deadline=CALL_SECONDS)
    adapter.close()


def test_without_a_kubeconfig_the_server_must_run_in_a_pod(
    cluster: ClusterRef, kubernetes_adapter: KubernetesAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Rejected, match="runs in no pod"):
        kubernetes_adapter.inventory(replace(cluster, secret=None), deadline=CALL_SECONDS)
