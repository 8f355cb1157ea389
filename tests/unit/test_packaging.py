"""What an installation brings is what the code of that installation imports."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
LIGHT: Final = ("controlplane/cli", "controlplane/sdk", "controlplane/wire")
IMPORTED_AS: Final = {"pyyaml": "yaml"}

OURS_AND_THEIRS = {"controlplane", "pydantic_core"}
"""The second comes with pydantic, which exposes its types."""


def _imported(folder: str) -> Iterator[tuple[str, str]]:
    """(file, top-level name), also of imports inside functions."""
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            yield from (
                (file.relative_to(REPOSITORY).as_posix(), module.partition(".")[0]) for module in modules
            )


def test_sdk_and_cli_import_only_what_the_base_install_brings() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    names = [re.split(r"[^a-z-]", requirement)[0] for requirement in project["dependencies"]]
    brought = {IMPORTED_AS.get(name, name) for name in names} | sys.stdlib_module_names | OURS_AND_THEIRS
    missing = [found for folder in LIGHT for found in _imported(folder) if found[1] not in brought]
    assert missing == []
