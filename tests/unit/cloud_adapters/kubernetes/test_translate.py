"""Nodes and pods become machines and what is used of them, counted as Kubernetes' own scheduler counts."""

import pytest

from cloud_adapters.base import Amounts, Machine, Taint
from cloud_adapters.kubernetes.settings import Settings
from cloud_adapters.kubernetes.translate import (
    Held,
    held_by,
    is_lent,
    machine_of,
    pod_requests,
    tolerations_for,
)
from tests.unit.cloud_adapters.kubernetes.things import Json, container, node, pod

PLAIN = Settings()


def test_a_node_is_read_with_all_it_has() -> None:
    taint = {"key": "gpu", "value": "only", "effect": "NoSchedule"}
    labels = {"nvidia.com/gpu.product": "NVIDIA-H200", "a": "b"}
    thing = node(labels=labels, taints=[taint], allocatable={"cpu": "7910m", "nvidia.com/gpu": "8"})
    assert machine_of(thing, PLAIN) == Machine(
        name="n1",
        host="10.0.0.1",
        allocatable=Amounts(cpu_milli=7910, memory_bytes=32 * 2**30, gpu_milli=8000),
        accelerator="NVIDIA-H200",
        labels=(("a", "b"), ("nvidia.com/gpu.product", "NVIDIA-H200")),
        taints=(Taint(key="gpu", value="only", effect="NoSchedule"),),
    )


def test_shared_gpus_and_slices_are_counted_as_the_settings_say() -> None:
    settings = Settings(
        gpu_resource="nvidia.com/gpu.shared",
        gpu_units=4,
        custom_resources=(("mig-1g", "nvidia.com/mig-1g.5gb"),),
    )
    have = {"nvidia.com/gpu.shared": "8", "nvidia.com/mig-1g.5gb": "7", "other.com/thing": "3"}
    allocatable = machine_of(node(allocatable=have), settings).allocatable
    assert allocatable.gpu_milli == 2000
    assert allocatable.custom_milli == (("mig-1g", 7000),)
    asking = {"name": "c", "resources": {"requests": {"nvidia.com/gpu.shared": "1"}}}
    assert held_by(pod("p", "n1", asking), settings, "c") == Held("n1", Amounts(gpu_milli=250))


@pytest.mark.parametrize(
    "thing",
    [node(is_ready=False), node(is_cordoned=True), node() | {"status": {"allocatable": {"cpu": "1"}}}],
)
def test_a_node_that_is_cordoned_or_not_ready_takes_nothing_new(thing: Json) -> None:
    assert not machine_of(thing, PLAIN).is_schedulable


def test_only_nodes_with_the_wanted_labels_are_lent() -> None:
    settings = Settings(node_selector=(("pool", "gpu"),))
    assert is_lent(node(labels={"pool": "gpu", "x": "y"}), settings)
    assert not is_lent(node(labels={"pool": "web"}), settings)


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container(cpu="1"), container(cpu="250m")]}, 1250),
        (
            {"containers": [container(cpu="1")], "initContainers": [container(cpu="3"), container(cpu="2")]},
            3000,
        ),
        ({"containers": [container(cpu="4")], "initContainers": [container(cpu="3")]}, 4000),
        (
            {
                "containers": [container(cpu="1")],
                "initContainers": [container(cpu="1") | {"restartPolicy": "Always"}, container(cpu="5")],
            },
            6000,
        ),
        (
            {
                "containers": [container(cpu="2")],
                "initContainers": [container(cpu="1") | {"restartPolicy": "Always"}],
            },
            3000,
        ),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, 1250),
        (
            {
                "containers": [container(cpu="1")],
                "resources": {"requests": {"cpu": "3"}},
                "overhead": {"cpu": "1"},
            },
            4000,
        ),
        ({"containers": [{"name": "c"}]}, 0),
    ],
    ids=[
        "sum",
        "init is a peak",
        "init is below",
        "sidecar then init",
        "sidecar",
        "overhead",
        "pod level",
        "none",
    ],
)
def test_a_pod_asks_for_the_most_it_ever_needs_at_once(spec: Json, cpu: int) -> None:
    assert pod_requests(spec).get("cpu", 0) == cpu


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_holds_nothing(phase: str) -> None:
    assert held_by(pod("p", "n1", container(cpu="1"), phase=phase), PLAIN, "c") is None


def test_a_pod_without_a_node_holds_nothing() -> None:
    assert held_by(pod("p", None, container(cpu="1"), phase="Pending"), PLAIN, "c") is None


def test_an_illness_of_a_node_is_not_tolerated() -> None:
    taints = (
        Taint(key="node.kubernetes.io/unreachable", value="", effect="NoExecute"),
        Taint(key="gpu", value="only", effect="NoSchedule"),
    )
    assert tolerations_for(taints) == (("gpu", "only", "NoSchedule"),)
