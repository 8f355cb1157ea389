"""What is stored is whole, and is read back as it was written."""

import hashlib
from pathlib import Path

import pytest
import torch

from controlplane.recipes.learning import storage, tensors


@pytest.fixture(params=["file://", ""])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}{tmp_path}/some/folder/content"


def test_content_comes_back_by_path_and_by_uri(place: str) -> None:
    storage.write(place, b"first")
    storage.write(place, b"second")
    assert storage.read(place) == b"second"


def test_only_what_was_written_exists(place: str) -> None:
    assert not storage.exists(place)
    storage.write(place, b"content")
    assert storage.exists(place)


def test_a_write_leaves_nothing_else_behind(place: str, tmp_path: Path) -> None:
    storage.write(place, b"content")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["content"]


def test_sealing_tells_the_hash_of_what_lies_there(place: str) -> None:
    storage.write(place, b"content")
    assert storage.seal(place) == hashlib.sha256(b"content").hexdigest()


def test_a_state_comes_back_as_tensors(place: str) -> None:
    storage.write(place, tensors.saved({"step": 3, "weights": torch.arange(4)}))
    state = tensors.load(place, torch.device("cpu"))
    assert (state["step"], state["weights"].tolist()) == (3, [0, 1, 2, 3])


def test_the_same_state_is_saved_as_the_same_bytes() -> None:
    first, second = (tensors.saved({"weights": torch.arange(4)}) for _ in range(2))
    assert first == second


def test_a_name_below_a_uri_leaves_its_options_at_the_end() -> None:
    assert storage.below("s3://bucket/a/?region=b", "c/d") == "s3://bucket/a/c/d?region=b"
    assert storage.below("/plain/folder", "c") == "/plain/folder/c"
