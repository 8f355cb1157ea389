"""Settings of a Kubernetes cluster are checked when they are read."""

import pytest

from cloud_adapters.base import Amounts, Rejected
from cloud_adapters.kubernetes.settings import KubeRay, Reach, Settings, settings_of


def test_a_cluster_without_settings_has_the_defaults() -> None:
    assert settings_of(()) == Settings()
    assert Settings().ray_image == "rayproject/ray:2.60.0"


def test_every_setting_is_read_into_its_type() -> None:
    given = {
        "namespace": "ml",
        "context": "prod",
        "image": "registry.example.org/ray@sha256:00",
        "ray_version": "2.58.0",
        "service_account": "trainer",
        "kuberay": "no",
        "kueue_queue": "gpu",
        "managed_by": "kueue.x-k8s.io/multikueue",
        "node_selector": "pool=gpu, zone=a",
        "gpu_resource": "nvidia.com/gpu.shared",
        "gpu_units": "4",
        "accelerator_label": "gpu/model",
        "custom_resources": "mig-1g=nvidia.com/mig-1g.5gb",
        "head_cpu_milli": "500",
        "head_memory_bytes": "1000",
        "reach": "direct",
        "direct_url": "https://{service}.{namespace}.example.org",
    }
    assert settings_of(given.items()) == Settings(
        namespace="ml",
        context="prod",
        image="registry.example.org/ray@sha256:00",
        ray_version="2.58.0",
        service_account="trainer",
        kuberay=KubeRay.NO,
        kueue_queue="gpu",
        managed_by="kueue.x-k8s.io/multikueue",
        node_selector=(("pool", "gpu"), ("zone", "a")),
        gpu_resource="nvidia.com/gpu.shared",
        gpu_units=4,
        accelerator_label="gpu/model",
        custom_resources=(("mig-1g", "nvidia.com/mig-1g.5gb"),),
        head=Amounts(cpu_milli=500, memory_bytes=1000),
        reach=Reach.DIRECT,
        direct_url="https://{service}.{namespace}.example.org",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("namespace", "Not_DNS"),
        ("namespace", "a/../../nodes"),
        ("image", "two words"),
        ("image", ""),
        ("kuberay", "maybe"),
        ("gpu_units", "0"),
        ("gpu_units", "-1"),
        ("gpu_units", "²"),
        ("gpu_units", "1.5"),
        ("node_selector", "pool"),
        ("node_selector", "a b=c"),
        ("custom_resources", "MIG=nvidia.com/mig"),
        ("custom_resources", "a=x,a=y"),
        ("reach", "tunnel"),
        ("no_such", "1"),
    ],
)
def test_a_setting_that_will_not_do_is_named(name: str, value: str) -> None:
    with pytest.raises(Rejected, match=name):
        settings_of([(name, value)])


@pytest.mark.parametrize("given", [[("reach", "direct")], [("direct_url", "https://x")]])
def test_a_direct_address_and_a_direct_reach_belong_together(given: list[tuple[str, str]]) -> None:
    with pytest.raises(Rejected, match="direct_url"):
        settings_of(given)
