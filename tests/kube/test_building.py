"""Ray clusters are built on the booked nodes of a real cluster once, exactly, and leave nothing behind."""

import base64
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from cloud_adapters.base import (
    Ambiguous,
    Amounts,
    LaunchOrder,
    MachineState,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Share,
    Termination,
    Throttled,
    Transient,
)
from cloud_adapters.kubernetes.adapter import KubernetesAdapter
from tests.kube.faults import Deed, Fault, FaultProxy
from tests.kube.ordering import SHARE, order_of, through
from tests.kube.rest import Json
from tests.kube.stages import Stage

CALL_SECONDS = 15.0
KINDS = ("rayclusters", "pods", "services", "secrets", "configmaps")


@pytest.fixture(
    params=[pytest.param("auto", id="kuberay"), pytest.param("no", id="plain", marks=pytest.mark.verify)]
)
def order(request: pytest.FixtureRequest, kube: Stage) -> LaunchOrder:
    kube.settle()
    return order_of(kube, kuberay=request.param)


def ours(kube: Stage) -> list[str]:
    label = "app.kubernetes.io/managed-by=crossdock"
    return sorted(
        f"{what}/{thing['metadata']['name']}"
        for what in KINDS
        for thing in kube.rest.list(what, kube.namespace, labelSelector=label)
    )


def members(kube: Stage) -> dict[str, Json]:
    """By their number; the operator's and the plain ones have the same label."""
    return {
        pod["metadata"]["labels"]["crossdock.io/member"]: pod
        for pod in kube.pods()
        if "crossdock.io/member" in pod["metadata"].get("labels", {})
    }


def told(adapter: KubernetesAdapter, order: LaunchOrder) -> list[tuple[str, MachineState, str | None]]:
    found = adapter.list_owned(order.cluster, deadline=CALL_SECONDS)
    return [(each.name.rpartition("-")[2], each.state, each.problem) for each in found]


def gone(kube: Stage, adapter: KubernetesAdapter, order: LaunchOrder) -> Callable[[], bool]:
    def is_gone() -> bool:
        kube.step()
        answer = adapter.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
        return answer is Termination.UNSEEN

    return is_gone


def test_members_are_bound_to_their_nodes_by_the_real_scheduler(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    swapped = replace(order, shares=order.shares[::-1])
    kubernetes_adapter.ensure(swapped, deadline=CALL_SECONDS)
    kube.settle()
    where = {member: pod["spec"]["nodeName"] for member, pod in members(kube).items()}
    assert (where["n0"], where["n1"]) == (kube.node(2), kube.node(1))
    assert set(where) == {"head", "n0", "n1"}


def test_what_is_built_is_counted_as_used(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    head = Amounts(cpu_milli=1000, memory_bytes=4 * 2**30)

    def used() -> set[Amounts]:
        return {
            each.used for each in kubernetes_adapter.inventory(order.cluster, deadline=CALL_SECONDS).machines
        }

    kube.until(lambda: used() == {SHARE, SHARE.plus(head)})


def test_each_launch_has_a_token_of_its_own(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    again = replace(order, launch_id=f"{order.launch_id}-2")
    for each in (order, again, order):
        kubernetes_adapter.ensure(each, deadline=CALL_SECONDS)
    secrets = [each for each in kube.rest.list("secrets", kube.namespace) if each["type"] == "Opaque"]
    tokens = {base64.b64decode(each["data"]["auth_token"]) for each in secrets}
    assert len(secrets) == len(tokens) == 2
    assert all(len(token) == 64 for token in tokens)


@pytest.mark.verify
@pytest.mark.parametrize(
    "fault",
    [
        Fault(verb="PATCH" if path == "/rayclusters" else "POST", path=path, deed=deed)
        for path in ("/configmaps", "/secrets", "/rayclusters", "/services", "/pods")
        for deed in (Deed.LOSE_ANSWER, Deed.ANSWER)
    ],
    ids=lambda fault: f"{fault.path[1:]} {fault.deed}",
)
def test_a_launch_whose_answer_is_lost_is_completed_and_not_doubled(
    kube: Stage,
    order: LaunchOrder,
    kubernetes_adapter: KubernetesAdapter,
    fault_proxy: FaultProxy,
    fault: Fault,
) -> None:
    shaky = replace(order, cluster=through(order.cluster, kube.server.url, fault_proxy.url))
    fault = replace(fault)
    fault_proxy.faults.append(fault)
    try:
        first = kubernetes_adapter.ensure(shaky, deadline=CALL_SECONDS)
    except Ambiguous:
        first = kubernetes_adapter.ensure(shaky, deadline=CALL_SECONDS)
    else:
        assert fault.times == 1  # this form makes no such object
    kube.settle()
    assert kubernetes_adapter.ensure(shaky, deadline=CALL_SECONDS) != ()
    assert [each.name for each in first] == [
        each.name for each in kubernetes_adapter.list_owned(shaky.cluster, deadline=CALL_SECONDS)
    ]
    assert sorted(members(kube)) == ["head", "n0", "n1"]
    assert len(kube.pods()) == 3


def test_launches_that_race_are_one_launch(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    answers: list[object] = []

    def call() -> None:
        try:
            answers.append([each.name for each in kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)])
        except PluginError as problem:
            answers.append(problem)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kube.settle()
    assert len(kube.pods()) == 3
    assert all(isinstance(each, list) for each in answers)
    names = [each.name for each in kubernetes_adapter.list_owned(order.cluster, deadline=CALL_SECONDS)]
    assert len(names) == 2


def test_new_settings_do_not_change_what_was_ordered(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    settings = dict(order.cluster.settings) | {"image": "other:1", "kuberay": "no"}
    changed = replace(order, cluster=replace(order.cluster, settings=tuple(sorted(settings.items()))))
    kubernetes_adapter.ensure(changed, deadline=CALL_SECONDS)
    kube.settle()
    images = {pod["spec"]["containers"][0]["image"] for pod in kube.pods()}
    assert images == {"rayproject/ray:2.60.0"}
    assert len(kube.pods()) == 3


def test_a_node_that_takes_nothing_is_no_capacity(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kube.rest.patch("nodes", kube.node(2), {"spec": {"unschedulable": True}})
    with pytest.raises(NoCapacity, match=f"{kube.node(2)} is cordoned"):
        kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    assert ours(kube) == []


def test_a_share_that_is_larger_than_the_node_is_no_capacity(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    huge = Share(node_name=kube.node(1), amounts=Amounts(cpu_milli=9000))
    with pytest.raises(NoCapacity, match="9000"):
        kubernetes_adapter.ensure(replace(order, shares=(huge,), machines=1), deadline=CALL_SECONDS)
    assert ours(kube) == []


def test_a_part_of_a_gpu_is_rejected_before_anything_is_made(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    part = Share(node_name=kube.node(1), amounts=Amounts(cpu_milli=1000, gpu_milli=500))
    with pytest.raises(Rejected, match="whole numbers"):
        kubernetes_adapter.ensure(replace(order, shares=(part,), machines=1), deadline=CALL_SECONDS)
    assert ours(kube) == []


def test_a_tainted_node_that_was_booked_is_used(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    taint = {"key": "gpu", "value": "only", "effect": "NoSchedule"}
    kube.rest.patch("nodes", kube.node(1), {"spec": {"taints": [taint]}})
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    assert members(kube)["n0"]["spec"]["nodeName"] == kube.node(1)


def test_a_node_that_filled_up_meanwhile_is_told_in_the_scheduler_s_words(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "7500m"}}}
    pod = {"metadata": {"name": "theirs"}, "spec": {"nodeName": kube.node(1), "containers": [container]}}
    kube.rest.create("pods", pod, kube.namespace)
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    (first, state, problem), second = told(kubernetes_adapter, order)
    assert (first, state) == ("n0", MachineState.PENDING)
    assert problem is not None
    assert "Insufficient cpu" in problem
    assert second == ("n1", MachineState.RUNNING, None)


def test_a_full_quota_keeps_nothing_of_a_plain_launch(
    kube: Stage, kubernetes_adapter: KubernetesAdapter
) -> None:
    kube.settle()
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    kube.rest.create("resourcequotas", quota, kube.namespace)
    kube.until(lambda: "hard" in (kube.rest.list("resourcequotas", kube.namespace)[0].get("status") or {}))
    order = order_of(kube, kuberay="no")
    with pytest.raises(QuotaExceeded, match="exceeded quota"):
        kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.until(lambda: kube.step() or not ours(kube))
    assert told(kubernetes_adapter, order) == []


def test_a_full_quota_is_told_of_a_ray_cluster(kube: Stage, kubernetes_adapter: KubernetesAdapter) -> None:
    """There the operator meets it, long after the launch was taken."""
    kube.settle()
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    kube.rest.create("resourcequotas", quota, kube.namespace)
    kube.until(lambda: "hard" in (kube.rest.list("resourcequotas", kube.namespace)[0].get("status") or {}))
    order = order_of(kube)
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    problems = [problem for _, _, problem in told(kubernetes_adapter, order) if problem]
    assert len(problems) == 1
    assert "exceeded quota" in problems[0]


def test_an_image_that_cannot_be_had_is_told(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kube.claimed.waiting["rayproject/ray:2.60.0"] = ("ImagePullBackOff", "no such image")
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    expected = "ImagePullBackOff: no such image"
    assert told(kubernetes_adapter, order) == [
        ("n0", MachineState.PENDING, expected),
        ("n1", MachineState.PENDING, expected),
    ]
    with pytest.raises(Transient, match=r"head is not up yet: ImagePullBackOff"):
        kubernetes_adapter.built(order.cluster, order.claim_id, deadline=CALL_SECONDS)


def test_a_member_that_ended_is_told_and_replaced_only_by_an_operator(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    lost = members(kube)["n1"]["metadata"]["name"]
    kube.operator.is_away = True
    kube.claimed.exit_codes[lost] = 137
    kube.settle()
    state = (
        MachineState.PENDING if dict(order.cluster.settings)["kuberay"] == "auto" else MachineState.STOPPING
    )
    assert told(kubernetes_adapter, order)[1] == ("n1", state, "its container ended with 137: Error")
    kube.operator.is_away = False
    kube.settle()
    expected = MachineState.RUNNING if state is MachineState.PENDING else MachineState.STOPPING
    assert told(kubernetes_adapter, order)[1][1] is expected


def test_without_an_operator_a_head_that_ended_takes_its_members_along(
    kube: Stage, kubernetes_adapter: KubernetesAdapter
) -> None:
    order = order_of(kube, kuberay="no")
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    kube.claimed.exit_codes[members(kube)["head"]["metadata"]["name"]] = 137
    kube.settle()
    problem = "the head of its Ray cluster is gone: its container ended with 137: Error"
    assert told(kubernetes_adapter, order) == [
        ("n0", MachineState.STOPPING, problem),
        ("n1", MachineState.STOPPING, problem),
    ]


def test_pods_of_a_node_that_is_gone_are_missed(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    kube.operator.is_away = True
    kube.kubelets.silence(kube.node(2))
    name = members(kube)["n1"]["metadata"]["name"]
    kube.rest.delete("pods", name, kube.namespace)  # as the eviction of a lost node does
    state = (
        MachineState.PENDING if dict(order.cluster.settings)["kuberay"] == "auto" else MachineState.STOPPING
    )
    assert told(kubernetes_adapter, order)[1] == ("n1", state, "its pod was deleted")


def test_released_members_do_not_come_back(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    first, second = (each.name for each in kubernetes_adapter.ensure(order, deadline=CALL_SECONDS))
    kube.settle()
    kubernetes_adapter.release(order.cluster, order.claim_id, [first], deadline=CALL_SECONDS)
    kube.settle()
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    assert [each for each, _, _ in told(kubernetes_adapter, order)] == ["n1"]
    kubernetes_adapter.release(order.cluster, order.claim_id, [second], deadline=CALL_SECONDS)
    kube.until(lambda: kube.step() or not ours(kube))


def test_what_is_terminated_leaves_no_object(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    kube.settle()
    assert len(ours(kube)) >= 5
    answer = kubernetes_adapter.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
    assert answer is Termination.GOING
    kube.until(gone(kube, kubernetes_adapter, order))
    assert ours(kube) == []
    with pytest.raises(Transient, match="has no Ray cluster"):
        kubernetes_adapter.built(order.cluster, order.claim_id, deadline=CALL_SECONDS)


def test_half_a_launch_is_seen_and_ended(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter, fault_proxy: FaultProxy
) -> None:
    """A crash after each object that is made: what is there is found by its labels."""
    shaky = replace(order, cluster=through(order.cluster, kube.server.url, fault_proxy.url))
    for path in ("/secrets", "/rayclusters", "/services", "/pods"):
        verb = "PATCH" if path == "/rayclusters" else "POST"
        fault_proxy.faults[:] = [Fault(verb=verb, path=path, deed=Deed.LOSE_ANSWER)]
        launch = replace(shaky, launch_id=f"{order.launch_id}{path.replace('/', '-')}")
        if _makes(order, path):
            with pytest.raises(Ambiguous):
                kubernetes_adapter.ensure(launch, deadline=CALL_SECONDS)
    assert kubernetes_adapter.leftovers(order.cluster, deadline=CALL_SECONDS) != ()
    kube.until(gone(kube, kubernetes_adapter, order))
    assert kubernetes_adapter.leftovers(order.cluster, deadline=CALL_SECONDS) == ()
    assert ours(kube) == []


def _makes(order: LaunchOrder, path: str) -> bool:
    is_kuberay = dict(order.cluster.settings)["kuberay"] == "auto"
    return path == "/secrets" or (path == "/rayclusters") == is_kuberay


def test_every_object_can_be_swept_singly(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    found = kubernetes_adapter.leftovers(order.cluster, deadline=CALL_SECONDS)
    assert {each.claim_id for each in found} == {order.claim_id}
    assert all(each.zone == kube.namespace and each.created_at is not None for each in found)
    for each in (*found, *found):
        kubernetes_adapter.remove(order.cluster, each, deadline=CALL_SECONDS)
    kube.until(lambda: kube.step() or not ours(kube))
    with pytest.raises(Rejected):
        kubernetes_adapter.remove(order.cluster, replace(found[0], name="nodes/gpu-1"), deadline=CALL_SECONDS)


def test_claims_of_other_clusters_are_not_ours(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter
) -> None:
    other = replace(
        order,
        cluster=replace(order.cluster, id="cluster_other"),
        launch_id="claim_x-g1-l1",
        claim_id="claim_x",
    )
    kubernetes_adapter.ensure(other, deadline=CALL_SECONDS)
    kube.settle()
    assert told(kubernetes_adapter, order) == []
    assert kubernetes_adapter.leftovers(order.cluster, deadline=CALL_SECONDS) == ()
    answer = kubernetes_adapter.terminate(order.cluster, order.claim_id, deadline=CALL_SECONDS)
    assert answer is Termination.UNSEEN
    assert len(kube.pods()) == 3


def test_a_cluster_that_waits_for_its_queue_says_so(
    kube: Stage, kubernetes_adapter: KubernetesAdapter
) -> None:
    """Kueue suspends what carries its label; our later calls leave that alone."""
    kube.settle()
    order = order_of(kube, kueue_queue="gpu")
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    (cluster,) = kube.rest.list("rayclusters", kube.namespace, labelSelector="kueue.x-k8s.io/queue-name=gpu")
    name = cluster["metadata"]["name"]
    kube.rest.patch("rayclusters", name, {"spec": {"suspend": True}}, kube.namespace)
    kube.settle()
    kubernetes_adapter.ensure(order, deadline=CALL_SECONDS)
    waits = "its RayCluster is suspended: it waits for its queue"
    assert [problem for _, _, problem in told(kubernetes_adapter, order)] == [waits, waits]
    kube.rest.patch("rayclusters", name, {"spec": {"suspend": False}}, kube.namespace)
    kube.settle()
    assert [state for _, state, _ in told(kubernetes_adapter, order)] == [MachineState.RUNNING] * 2


def test_a_throttled_launch_may_be_called_again(
    kube: Stage, order: LaunchOrder, kubernetes_adapter: KubernetesAdapter, fault_proxy: FaultProxy
) -> None:
    shaky = replace(order, cluster=through(order.cluster, kube.server.url, fault_proxy.url))
    fault_proxy.faults.append(
        Fault(verb="POST", path="/secrets", deed=Deed.ANSWER, code=429, headers={"Retry-After": "9"})
    )
    with pytest.raises(Throttled) as refused:
        kubernetes_adapter.ensure(shaky, deadline=CALL_SECONDS)
    assert refused.value.retry_after_seconds == 9
    assert len(kubernetes_adapter.ensure(shaky, deadline=CALL_SECONDS)) == 2
