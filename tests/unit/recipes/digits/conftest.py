"""The recipe's modules import torch, which is an extra of its own."""

from importlib.util import find_spec
from pathlib import Path

from tests.parts import require_part


def pytest_collect_file(file_path: Path) -> None:
    """Skips the folder before its modules are imported."""
    require_part("torch", find_spec("torch") is not None, "the extra `torch` is not installed")
