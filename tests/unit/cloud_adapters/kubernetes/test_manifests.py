"""What is built is exactly what was booked: one member a node, there and nowhere else, with its share and no more."""

from dataclasses import replace

import pytest

from cloud_adapters.base import Amounts, Rejected, Share
from cloud_adapters.kubernetes.manifests import (
    head_service,
    pods,
    ray_cluster,
    requests_of,
    token_secret,
)
from cloud_adapters.kubernetes.orders import order_of
from cloud_adapters.kubernetes.settings import Settings
from tests.unit.cloud_adapters.kubernetes.launches import LAUNCH, record

PLAIN = Settings()
OURS = {
    "app.kubernetes.io/managed-by": "crossdock",
    "crossdock.io/cluster": "cluster_1",
    "crossdock.io/claim": "claim_1",
    "crossdock.io/launch": "claim_1-g1-l1",
}


def test_a_ray_cluster_has_a_group_of_one_for_each_node() -> None:
    cluster = ray_cluster(record(), PLAIN)
    assert cluster["metadata"]["name"] == "claim-1-g1-l1"
    assert cluster["metadata"]["labels"] == OURS
    assert cluster["spec"]["enableInTreeAutoscaling"] is False
    groups = cluster["spec"]["workerGroupSpecs"]
    assert [
        (each["groupName"], each["replicas"], each["minReplicas"], each["maxReplicas"]) for each in groups
    ] == [
        ("n0", 1, 1, 1),
        ("n1", 1, 1, 1),
    ]
    assert [each["template"]["metadata"]["labels"]["crossdock.io/member"] for each in groups] == ["n0", "n1"]


def test_a_member_is_bound_to_its_node_by_name_and_takes_its_share() -> None:
    first = ray_cluster(record(), PLAIN)["spec"]["workerGroupSpecs"][0]
    spec = first["template"]["spec"]
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required == {
        "nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}]}
        ]
    }
    asked = {"cpu": "3500m", "memory": str(10 * 2**30), "nvidia.com/gpu": "2"}
    assert spec["containers"][0]["resources"] == {"requests": asked, "limits": asked}
    assert first["rayStartParams"] == {
        "num-cpus": "4",
        "num-gpus": "2",
        "memory": str(10 * 2**30),
        "object-store-memory": str(2 * 2**30),
        "dashboard-agent-grpc-port": "52366",
        "metrics-export-port": "52367",
        "runtime-env-agent-port": "52368",
    }


def test_the_head_takes_no_tasks() -> None:
    head = ray_cluster(record(), PLAIN)["spec"]["headGroupSpec"]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")
    assert head["template"]["spec"]["containers"][0]["resources"]["requests"] == {
        "cpu": "1",
        "memory": str(4 * 2**30),
    }


def test_every_part_of_ray_asks_for_the_launch_s_own_token() -> None:
    for thing in pods(record(is_kuberay=False), PLAIN):
        told = {each["name"]: each for each in thing["spec"]["containers"][0]["env"]}
        assert told["RAY_AUTH_MODE"]["value"] == "token"
        assert told["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "claim-1-g1-l1"
    assert token_secret(record(), PLAIN, "t0ken")["stringData"] == {"auth_token": "t0ken"}


def test_everything_is_owned_by_the_launch() -> None:
    alone, whole = record(is_kuberay=False), record()
    things = [
        *pods(alone, PLAIN),
        head_service(alone, PLAIN),
        token_secret(whole, PLAIN, "t"),
        ray_cluster(whole, PLAIN),
    ]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "claim-1-g1-l1", "uid": "uid-1"}
    assert all(each["metadata"]["ownerReferences"] == [owner] for each in things)
    assert all(each["metadata"]["labels"].items() >= OURS.items() for each in things)


def test_plain_pods_wait_for_their_head_and_join_it() -> None:
    head, first, second = pods(record(is_kuberay=False), PLAIN)
    assert [each["metadata"]["name"] for each in (head, first, second)] == [
        "claim-1-g1-l1-head",
        "claim-1-g1-l1-n0",
        "claim-1-g1-l1-n1",
    ]
    command = first["spec"]["containers"][0]["command"][-1]
    assert command.startswith("until (exec 3<>/dev/tcp/claim-1-g1-l1-head-svc.crossdock.svc/6379)")
    assert "--address=claim-1-g1-l1-head-svc.crossdock.svc:6379" in command
    service = head_service(record(is_kuberay=False), PLAIN)
    assert head["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    assert not first["metadata"]["labels"].items() >= service["spec"]["selector"].items()


def test_a_member_that_was_given_back_is_not_built_again() -> None:
    given_back = frozenset({"n0"})
    groups = ray_cluster(record(released=given_back), PLAIN)["spec"]["workerGroupSpecs"]
    assert [(each["groupName"], each["replicas"], each["minReplicas"]) for each in groups] == [
        ("n0", 0, 0),
        ("n1", 1, 1),
    ]
    alone = pods(record(is_kuberay=False, released=given_back), PLAIN)
    assert [each["metadata"]["labels"]["crossdock.io/member"] for each in alone] == ["head", "n1"]


def test_taints_of_the_nodes_are_tolerated_and_no_others() -> None:
    tolerant = replace(
        record(), order=order_of(LAUNCH, is_kuberay=True, tolerations=[("gpu", "only", "NoSchedule")])
    )
    spec = ray_cluster(tolerant, PLAIN)["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert spec["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "only", "effect": "NoSchedule"}
    ]


def test_user_code_gets_no_token_of_the_cluster() -> None:
    spec = ray_cluster(record(), PLAIN)["spec"]["headGroupSpec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    named = ray_cluster(record(), Settings(service_account="trainer"))["spec"]["headGroupSpec"]["template"][
        "spec"
    ]
    assert (named["serviceAccountName"], named["automountServiceAccountToken"]) == ("trainer", True)


def test_kueue_sees_one_workload_either_way() -> None:
    settings = Settings(kueue_queue="gpu", managed_by="kueue.x-k8s.io/multikueue")
    cluster = ray_cluster(record(), settings)
    assert cluster["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert cluster["spec"]["managedBy"] == "kueue.x-k8s.io/multikueue"
    assert "managedBy" not in ray_cluster(record(), PLAIN)["spec"]
    for each in pods(record(is_kuberay=False), settings):
        assert each["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
        assert each["metadata"]["labels"]["kueue.x-k8s.io/pod-group-name"] == "claim-1-g1-l1"
        assert each["metadata"]["annotations"]["kueue.x-k8s.io/pod-group-total-count"] == "3"


def test_custom_amounts_are_asked_by_the_cluster_s_names_and_counted_by_ours() -> None:
    settings = Settings(custom_resources=(("mig-1g", "nvidia.com/mig-1g.5gb"),))
    amounts = Amounts(cpu_milli=1000, custom_milli=(("mig-1g", 2000),))
    assert requests_of(amounts, settings) == {"cpu": "1", "nvidia.com/mig-1g.5gb": "2"}
    launch = replace(LAUNCH, machines=1, shares=(Share(node_name="gpu-1", amounts=amounts),))
    params = ray_cluster(record(launch), settings)["spec"]["workerGroupSpecs"][0]["rayStartParams"]
    assert params["resources"] == "'{\"mig-1g\": 2.0}'"


def test_shared_gpus_are_asked_in_their_own_units() -> None:
    settings = Settings(gpu_resource="nvidia.com/gpu.shared", gpu_units=4)
    assert requests_of(Amounts(gpu_milli=250), settings) == {"nvidia.com/gpu.shared": "1"}


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        (Amounts(gpu_milli=500), r"in whole numbers, not 0\.5"),
        (Amounts(custom_milli=(("tpu", 1000),)), "does not say what 'tpu' is called"),
    ],
)
def test_what_kubernetes_cannot_give_is_rejected_before_anything_is_made(
    amounts: Amounts, message: str
) -> None:
    with pytest.raises(Rejected, match=message):
        requests_of(amounts, PLAIN)
