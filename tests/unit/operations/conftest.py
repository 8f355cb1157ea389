"""Each test gets a control plane of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.operations.world import World, world


@pytest.fixture
def plane(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    with world(tmp_path, sqlite_url) as made:
        yield made
