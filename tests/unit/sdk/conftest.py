"""A miniature control plane and a client of it."""

from collections.abc import Iterator

import pytest

from controlplane.sdk import Client
from tests.unit.sdk.plane import Plane, running_plane


@pytest.fixture
def plane() -> Iterator[Plane]:
    with running_plane() as running:
        yield running


@pytest.fixture
def client(plane: Plane) -> Iterator[Client]:
    with Client(plane.url, "cd_test", patience_seconds=5) as opened:
        yield opened
