"""What the mission's table says is there, is there."""

import re
import tomllib
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
CARD_PACKAGES: Final = {
    "alibabacloud-oss-v2",
    "boto3",
    "kubernetes",
    "pydantic",
    "ray[default]",
    "sqlalchemy",
}
CARD_FOLDERS: Final = {"cloud_adapters", "controlplane", "migrations", "schedulers", "tests"}


def test_every_path_in_the_mission_table_exists() -> None:
    named = re.findall(
        r"`([A-Za-z_./-]+/[A-Za-z_./-]*)`", (REPOSITORY / "docs/mission.md").read_text("utf-8")
    )
    assert named
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_the_server_installs_the_packages_of_the_card() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = (*project["dependencies"], *project["optional-dependencies"]["server"])
    assert CARD_PACKAGES - {requirement.partition(">")[0] for requirement in wanted} == set()


def test_the_top_level_is_that_of_the_card() -> None:
    assert {name for name in CARD_FOLDERS if not any((REPOSITORY / name).rglob("*.py"))} == set()
