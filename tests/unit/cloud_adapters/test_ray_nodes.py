"""Ray's words about nodes become machines."""

import pytest

from cloud_adapters.base import Amounts
from cloud_adapters.ray_nodes import NodeRow, booked_amounts, machines


def row(name: str, **changes: object) -> NodeRow:
    usual = {
        "node_id": name,
        "node_ip": "10.0.0.1",
        "is_head_node": False,
        "state": "ALIVE",
        "resources_total": {"CPU": 8.0},
        "labels": {},
    }
    return usual | changes  # type: ignore[return-value] # the keys are those of a row


def test_dead_nodes_are_not_listed_and_the_rest_is_sorted() -> None:
    rows = [row("b"), row("a"), row("c", state="DEAD")]
    assert [machine.name for machine in machines(rows, {}, gpu_resource="GPU")] == ["a", "b"]


def test_a_head_without_cpus_takes_no_tasks_and_one_with_cpus_does() -> None:
    rows = [row("a", is_head_node=True, resources_total={"memory": 1.0}), row("b", is_head_node=True)]
    assert [machine.name for machine in machines(rows, {}, gpu_resource="GPU")] == ["b"]


def test_what_ray_adds_itself_is_no_custom_amount() -> None:
    totals = {
        "CPU": 8.0,
        "node:10.0.0.1": 1.0,
        "accelerator_type:A100": 1.0,
        "object_store_memory": 1e9,
        "bundle_group_0_" + "ab" * 18: 1000.0,
        "CPU_group_" + "ab" * 18: 2.0,
        "license": 1.5,
        "team_group_a": 1.0,
    }
    (machine,) = machines([row("a", resources_total=totals)], {}, gpu_resource="GPU")
    assert machine.allocatable == Amounts(
        cpu_milli=8000, custom_milli=(("license", 1500), ("team_group_a", 1000))
    )
    assert machine.accelerator == "A100"


def test_logical_gpus_are_counted_under_the_name_that_the_cluster_gives_them() -> None:
    (machine,) = machines([row("a", resources_total={"logical_gpu": 2.0})], {}, gpu_resource="logical_gpu")
    assert machine.allocatable == Amounts(gpu_milli=2000)


def test_a_node_that_is_just_coming_up_has_no_amounts_yet() -> None:
    (machine,) = machines([row("a", resources_total=None, labels=None)], {}, gpu_resource="GPU")
    assert machine.allocatable == Amounts()


def test_usage_goes_to_its_node() -> None:
    booked = {"a": "2.0/8.0 CPU", "z": "1.0/8.0 CPU"}
    used = [machine.used for machine in machines([row("a"), row("b")], booked, gpu_resource="GPU")]
    assert used == [Amounts(cpu_milli=2000), Amounts()]


def test_a_group_holds_what_it_reserved_and_not_what_runs_in_it() -> None:
    text = "2.1/4.0 CPU (0.5 used of 1.0 reserved in placement groups)\n0.0/2.0 my gpu\n512B/1.00GiB memory\n"
    assert booked_amounts(text) == {"CPU": pytest.approx(2.6), "my gpu": 0.0, "memory": 512.0}


@pytest.mark.parametrize("held", [1, 1023, 111_000_000, 300_000_000, 2**30, 5 * 2**40 + 12345])
def test_rounding_never_makes_usage_larger_than_it_is(held: int) -> None:
    shown = next(
        (f"{held / size:.2f}{unit}" for unit, size in UNITS if held >= size),
        f"{held}B",
    )
    seen = booked_amounts(f"{shown}/9.00TiB memory")["memory"]
    assert 0.99 * held - 1 <= seen <= held


UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


@pytest.mark.parametrize("text", ["", "nonsense", "1.0/2.0", "a/b CPU"])
def test_text_that_says_nothing_is_no_usage(text: str) -> None:
    assert booked_amounts(text) == {}
