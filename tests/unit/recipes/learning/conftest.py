"""The recipes import torch, which is an extra of its own."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.parts import require_part


def pytest_collect_file(file_path: Path) -> None:
    """Skips the folder before its modules are imported."""
    require_part("torch", find_spec("torch") is not None, "the extra `torch` is not installed")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As on a seat: more threads than free cores wait for each other at every operation."""
    torch = import_module("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
