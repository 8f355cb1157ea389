"""A Ray cluster that the Kubernetes adapter ordered really boots, and is dialled through a real API server.

Nobody here is an administrator: the adapter has the rights of the shipped manifest and no others.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from cloud_adapters import dialling
from cloud_adapters.base import Amounts, Built, LaunchOrder, Share, Termination, Transient
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from tests.hypervisor.hypervisor import MEBIBYTE, Hypervisor
from tests.hypervisor.namespaces import is_available
from tests.kube.fixtures import stage_of
from tests.kube.granting import manifest_granted, token_of
from tests.kube.ordering import order_of
from tests.kube.processes import Booted
from tests.kube.stages import KubeServer, Stage
from tests.parts import require_part

pytestmark = [pytest.mark.verify, pytest.mark.timeout(700)]

BOOT_SECONDS: Final = 480.0
"""Ray gives a node 30 s to start; on a busy machine an operator starts several before one comes up."""

CALL_SECONDS: Final = 15.0
JOB_SECONDS: Final = 180.0
SHARE: Final = Amounts(cpu_milli=1000, memory_bytes=400 * MEBIBYTE)
ENTRYPOINT: Final = (
    'python -c "import ray; ray.init(); f = ray.remote(lambda: ray.util.get_node_ip_address()); '
    "print('nodes', len(set(ray.get([f.options(scheduling_strategy='SPREAD').remote() for _ in range(4)]))))\""
)


@pytest.fixture
def stage(kube_server: KubeServer) -> Iterator[Stage]:
    require_part("namespaces", is_available(), "needs root and Linux namespaces")
    with Hypervisor() as hypervisor, stage_of(kube_server, Booted(kube_server.rest, hypervisor)) as stage:
        stage.until(stage.kubelets.are_schedulable)
        with manifest_granted(stage):
            yield stage


def built(stage: Stage, adapter: KubernetesAdapter, order: LaunchOrder) -> Built:
    until = time.monotonic() + BOOT_SECONDS
    while True:
        stage.step()
        try:
            return adapter.built(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        except Transient as problem:
            if time.monotonic() > until:
                pytest.fail(f"{problem.message}\n{_consoles(stage)}")
        time.sleep(0.2)  # poll


@pytest.mark.parametrize("kuberay", ["auto", "no"], ids=["kuberay", "plain"])
def test_a_ray_cluster_boots_on_the_booked_nodes_and_runs_a_job(
    stage: Stage, kubernetes_adapter: KubernetesAdapter, kuberay: str
) -> None:
    shares = tuple(Share(node_name=stage.node(number), amounts=SHARE) for number in (1, 2))
    whole = order_of(stage, head_cpu_milli="100", head_memory_bytes=str(400 * MEBIBYTE), kuberay=kuberay)
    cluster = replace(whole.cluster, secret=stage.server.kubeconfig(token_of(stage)))
    order = replace(whole, cluster=cluster, shares=shares)
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    ray = built(stage, kubernetes_adapter, order)
    assert [each.node_name for each in ray.members] == [stage.node(1), stage.node(2)]
    assert len({each.ray_node_id for each in ray.members}) == 2
    names = [each.name for each in kubernetes_adapter.list_owned(order.cluster, deadline=CALL_SECONDS)]
    assert [each.name for each in ray.members] == names
    assert ray.endpoint.session
    assert "nodes 2" in _log_of_job(ray)
    assert kubernetes_adapter.terminate(cluster, order.claim_id, deadline=CALL_SECONDS) is Termination.GOING

    def is_gone() -> bool:
        stage.step()
        answer = kubernetes_adapter.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        return answer is Termination.UNSEEN

    stage.until(is_gone)
    assert stage.pods() == []


def _consoles(stage: Stage) -> str:
    assert isinstance(stage.runner, Booted)
    return "\n".join(stage.runner.console(pod) for pod in stage.pods())


def _log_of_job(ray: Built) -> str:
    """Through the API server's proxy, with Ray's token in the header that is left for it."""
    with dialling.client(ray.endpoint) as client:
        sent = client.post("/api/jobs/", json={"entrypoint": ENTRYPOINT})
        assert sent.status_code == 200, sent.text
        job = f"/api/jobs/{sent.json()['submission_id']}"
        until = time.monotonic() + JOB_SECONDS
        while client.get(job).json()["status"] in {"PENDING", "RUNNING"}:
            assert time.monotonic() < until, client.get(f"{job}/logs").text
            time.sleep(0.2)  # poll
        return str(client.get(f"{job}/logs").json()["logs"])
