"""Answers: what a model says to each shard, written by anyone and committed by one.

Whoever answers a shard writes a file that is named by its content, so that a lost or a second try spoils
nothing. An answer counts when the driver has written its commit, one small file for each shard; a file
without one is never read. A new start begins with what was committed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

from .. import storage
from ..compression.measuring import one_core_session
from ..data import shards
from ..data.examples import Examples
from ..data.shards import Shard

COMMITS: Final = "commits"
INDEX: Final = "answers.json"


class OtherWork(ValueError):
    """The folder holds answers of another model or to other examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    shard: str
    name: str
    """Of the file with the scores."""

    examples: int
    sha256: str
    model_sha256: str
    shard_sha256: str


def answer(data: str, shard: Shard, model: bytes, output: str) -> Answer:
    """Runs anywhere, any number of times. Raises `shards.Damaged` for a shard that is not as it was prepared."""
    examples = shards.read_shard(data, shard)
    session = _session(model)
    wanted = [entry.name for entry in session.get_inputs()]
    (scores,) = session.run(None, {name: examples[name] for name in wanted})
    content = shards.encoded(Examples(columns={"scores": scores}))
    digest = hashlib.sha256(content).hexdigest()
    name = f"{shard.name.removesuffix('.parquet')}-{digest[:12]}.parquet"
    storage.write(storage.below(output, name), content)
    return Answer(
        shard=shard.name,
        name=name,
        examples=len(examples),
        sha256=digest,
        model_sha256=hashlib.sha256(model).hexdigest(),
        shard_sha256=shard.sha256,
    )


@lru_cache(maxsize=1)
def _session(model: bytes) -> Any:  # noqa: ANN401 - untyped by its package
    """Made once by each of Ray's processes, which answers many shards."""
    return one_core_session(model)


def commit(output: str, answered: Answer) -> None:
    """By the driver alone. Raises FileExistsError where the shard has its answer: it counts once."""
    place = storage.below(output, f"{COMMITS}/{answered.shard}.json")
    if storage.exists(place):
        raise FileExistsError(f"{answered.shard} has been answered before")
    storage.write(place, json.dumps(asdict(answered)).encode())


def committed(output: str) -> tuple[Answer, ...]:
    """By name of shard."""
    paths = storage.listed(storage.below(output, COMMITS))
    names = sorted(name for name in (path.rpartition("/")[2] for path in paths) if name.endswith(".json"))
    return tuple(
        Answer(**json.loads(storage.read(storage.below(output, f"{COMMITS}/{name}")))) for name in names
    )


def left(all_shards: Sequence[Shard], done: Sequence[Answer], model: bytes) -> tuple[Shard, ...]:
    """What has no answer yet. Raises `OtherWork` where an answer is another model's, or to another shard."""
    known = {(shard.name, shard.sha256) for shard in all_shards}
    digest = hashlib.sha256(model).hexdigest()
    for each in done:
        if each.model_sha256 != digest:
            raise OtherWork(
                f"{each.shard} was answered by model {each.model_sha256[:12]}, this is {digest[:12]}"
            )
        if (each.shard, each.shard_sha256) not in known:
            raise OtherWork(f"{each.shard} is not among the shards to answer")
    answered = {each.shard for each in done}
    return tuple(shard for shard in all_shards if shard.name not in answered)


def finish(output: str, all_shards: Sequence[Shard]) -> int:
    """Writes the index, which lists each shard's answer once and in order, and returns the number of examples."""
    by_shard = {each.shard: each for each in committed(output)}
    index = [asdict(by_shard[shard.name]) for shard in all_shards]
    storage.write(storage.below(output, INDEX), json.dumps({"answers": index}, indent=2).encode())
    return sum(each["examples"] for each in index)


def read(output: str) -> Iterator[Examples]:
    """The scores in the order of the examples. Raises `shards.Damaged` for a file that is not as committed."""
    said: Mapping[str, Any] = json.loads(storage.read(storage.below(output, INDEX)))
    for entry in said["answers"]:
        content = storage.read(storage.below(output, entry["name"]))
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise shards.Damaged(f"{entry['name']} is not what was committed")
        yield shards.decoded(content)
