"""Each test gets the real app over a control plane of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.api.app import create_app
from controlplane.identity.principals import Role
from tests.unit.api.client import Api
from tests.unit.operations.world import World, world


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, upload_limit_bytes=100_000) as made:
        yield made


@pytest.fixture
def api(plane: World) -> Api:
    """As an admin of all projects."""
    return Api(create_app(plane.services), plane.secret(Role.ADMIN))
