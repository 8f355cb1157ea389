"""The capability matrix: from what the plugins themselves are."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cloud_adapters.fake_builder import FakeBuilder
from cloud_adapters.fake_cloud import FakeCloud
from controlplane import bootstrap
from controlplane.admin import adapters
from tests import factories

REPOSITORY = Path(__file__).parents[3]


def test_ports_are_what_an_adapter_has() -> None:
    clock = lambda: factories.NOON  # noqa: E731
    assert adapters.ports_of(FakeBuilder(clock)) == ("Lends", "Sells", "Builds")
    assert adapters.ports_of(FakeCloud(clock)) == ("Lends", "Sells", "Sweeps", "Renews")
    assert adapters.ports_of(object()) == ()


def test_the_table_has_a_line_for_each_plugin_of_the_project() -> None:
    lines = adapters.markdown(REPOSITORY / "pyproject.toml").splitlines()
    assert "| `local` | yes | yes | - | - | - | - |" in lines
    assert "| `kubernetes` | yes | - | yes | yes | yes | - |" in lines


def test_what_is_installed_is_a_table_or_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(
        monkeypatch,
        local="cloud_adapters.local.adapter:LocalAdapter",
        ray="cloud_adapters.ray.adapter:RayAdapter",
    )
    assert adapters.adapters(as_json=False) == 0
    assert capsys.readouterr().out == (
        "ADAPTER  LENDS  HOSTS  SELLS  BUILDS  SWEEPS  RENEWS\n"
        "local    yes    yes    -      -       -       -\n"
        "ray      yes    -      -      -       -       -\n"
    )
    assert adapters.adapters(as_json=True) == 0
    assert [json.loads(line)["ports"] for line in capsys.readouterr().out.splitlines()] == [
        ["Lends", "Hosts"],
        ["Lends"],
    ]


def test_a_plugin_that_does_not_load_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(monkeypatch, broken="no_such_package:Adapter")
    assert adapters.adapters(as_json=False) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[1] == "broken   -      -      -      -       -       -"
    assert told.err == "installed, but does not load: broken\n"


def _install(monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    found = [
        EntryPoint(name=name, value=value, group="crossdock.cloud_adapters")
        for name, value in entries.items()
    ]

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [each for each in found if each.group == group and name in {None, each.name}]

    monkeypatch.setattr(bootstrap, "entry_points", entry_points)
