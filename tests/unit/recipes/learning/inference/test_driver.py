"""The driver tries a shard again where a process or a node was lost, and not for ever."""

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from controlplane.recipes.learning.data.shards import Shard
from controlplane.recipes.learning.inference import driver
from controlplane.recipes.learning.inference.answers import Answer

SHARDS = tuple(Shard(name=name, examples=1, sha256=name) for name in ("sound", "deadly"))
Tried = Callable[[], Answer]


def answer_to(shard: Shard) -> Answer:
    return Answer(
        shard=shard.name, name=shard.name, examples=1, sha256="", model_sha256="", shard_sha256=shard.sha256
    )


@pytest.fixture(autouse=True)
def _ray_that_tries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference is what it leads to: an answer, or an error."""

    def wait(references: list[Tried], **_: float) -> tuple[list[Tried], list[Tried]]:
        return references[:1], references[1:]

    monkeypatch.setattr(driver, "ray_calls", SimpleNamespace(wait=wait, get=lambda tried: tried()))


def answered(losses: list[Exception]) -> list[str]:
    """What is answered where each try of the deadly shard brings the next of these losses, then an answer."""
    left = list(losses)

    def call(shard: Shard) -> Tried:
        def tried() -> Answer:
            if shard.name == "deadly" and left:
                raise left.pop(0)
            return answer_to(shard)

        return tried

    found = driver._answers(SHARDS, call, at_once=2, stop=threading.Event())
    return [each.shard for each in found]


def test_a_shard_that_lost_a_process_or_two_is_tried_again() -> None:
    losses: list[Exception] = [WorkerCrashedError(), OutOfMemoryError("full")]
    assert answered(losses) == ["sound", "deadly"]


def test_a_shard_that_ends_every_process_is_named_and_given_up() -> None:
    losses: list[Exception] = [WorkerCrashedError()] * driver.MOST_DEATHS
    assert answered(losses[1:]) == ["sound", "deadly"]
    with pytest.raises(
        driver.EndsProcesses, match="deadly has ended 5 processes that answered it, the limit is 5"
    ):
        answered(losses)


def test_lost_nodes_are_not_the_fault_of_the_shard() -> None:
    losses: list[Exception] = [NodeDiedError("gone")] * (4 * driver.MOST_DEATHS)
    assert answered(losses) == ["sound", "deadly"]
