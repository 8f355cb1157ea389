"""Each test gets the real app over a control plane of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.identity.principals import Role
from tests.unit.api.client import Api, app_over
from tests.unit.api.service_site import Site, site_of
from tests.unit.operations.world import World, world


@pytest.fixture
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """On SQLite; on what a test names that asks for more (`@BOTH`)."""
    url: str = request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")
    with world(tmp_path, url, upload_limit_bytes=100_000) as made:
        yield made


@pytest.fixture
def api(plane: World) -> Api:
    """As an admin of all projects."""
    return Api(app_over(plane.context), plane.secret(Role.ADMIN))


@pytest.fixture
def site(plane: World) -> Site:
    """With a cluster of two nodes and an uploaded archive."""
    return site_of(plane)
