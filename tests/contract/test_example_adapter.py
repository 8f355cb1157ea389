"""The example of a third-party adapter: its own tests pass here too, and its package says what is to be loaded."""

import importlib
import tomllib
from pathlib import Path

from test_toycloud import (
    TestToyCloudLends,
    TestToyCloudSells,
    cloud,
    test_bought_machines_are_lent_as_nodes_with_the_label_of_their_claim,
    test_what_toycloud_does_not_sell_is_rejected_before_it_is_asked,
    toys,
    wrong_key,
)

from controlplane.admin.adapters import ports_of

__all__ = [
    "TestToyCloudLends",
    "TestToyCloudSells",
    "cloud",
    "test_bought_machines_are_lent_as_nodes_with_the_label_of_their_claim",
    "test_what_toycloud_does_not_sell_is_rejected_before_it_is_asked",
    "toys",
    "wrong_key",
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "adapters" / "toycloud"


def test_its_entry_point_is_what_the_project_looks_for() -> None:
    entries = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    module, _, name = entries["crossdock.cloud_adapters"]["toycloud"].partition(":")
    assert ports_of(getattr(importlib.import_module(module), name)()) == ("Lends", "Sells")


def test_it_imports_nothing_of_the_project_but_what_plugins_may() -> None:
    text = "".join(file.read_text("utf-8") for file in EXAMPLE.rglob("*.py"))
    assert "controlplane" not in text
