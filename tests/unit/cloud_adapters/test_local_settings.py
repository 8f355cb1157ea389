"""Settings of an embedded cluster: what is allowed, and what a refusal says."""

from pathlib import Path

import pytest

from cloud_adapters.base import ClusterRef, Rejected
from cloud_adapters.local.adapter import LocalAdapter
from cloud_adapters.local.settings import directory_of, shape_of
from cloud_adapters.local.shape import Shape


def cluster(**settings: str) -> ClusterRef:
    return ClusterRef(id="c", name="lab", endpoint=None, settings=tuple(sorted(settings.items())))


def test_without_settings_a_cluster_fits_a_laptop() -> None:
    assert shape_of(cluster(directory="/d")) == Shape()


def test_every_number_can_be_set() -> None:
    shape = shape_of(cluster(nodes="3", cpus_per_node="8", gpus_per_node="0", orphan_seconds="5"))
    assert shape == Shape(nodes=3, cpus_per_node=8, gpus_per_node=0, orphan_seconds=5)


@pytest.mark.parametrize("value", ["0", "-1", "17", "2.5", "", "two", "²", "1e1", "99999999999999999999"])
def test_a_number_out_of_range_is_refused_with_its_name_value_and_limits(value: str) -> None:
    with pytest.raises(Rejected) as refused:
        shape_of(cluster(nodes=value))
    assert refused.value.message == f"setting nodes must be a whole number from 1 to 16, not {value!r}"


def test_an_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(Rejected, match="cluster lab has unknown settings: color"):
        shape_of(cluster(color="blue"))


@pytest.mark.parametrize("given", [{}, {"directory": ""}, {"directory": "relative/path"}])
def test_a_cluster_needs_an_absolute_directory(given: dict[str, str]) -> None:
    with pytest.raises(Rejected, match="needs the setting `directory`"):
        directory_of(cluster(**given))


def test_a_bad_setting_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(Rejected):
        LocalAdapter().boot(cluster(directory=str(tmp_path), nodes="0"), deadline=1)
    assert not (tmp_path / "keeper.json").exists()
