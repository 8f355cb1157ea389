"""Shards: examples as compressed Parquet files with a manifest, written once and read in parts.

Places are URIs of pyarrow's file systems: `file:///...`, `s3://bucket/...`, and OSS through its S3 endpoint,
`s3://bucket/...?endpoint_override=...`. The files are what Ray Data reads as well.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem

from .. import storage
from .cleaning import Removed
from .examples import Examples

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SHAPES: Final = b"shapes"


class Damaged(ValueError):
    """A file is not what the manifest says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    name: str
    examples: int
    sha256: str
    """Of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One split."""

    examples: int
    content_sha256: str
    """Of the numbers in order, however they are divided into shards or compressed."""

    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    source: str
    seed: int
    shapes: Mapping[str, tuple[int, ...]]
    """Of one example, by column."""

    removed: Removed
    parts: Mapping[str, Part]

    def to_json(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Raises ValueError for a format of another number."""
        said: dict[str, Any] = json.loads(content)
        if said.pop("format") != FORMAT:
            raise ValueError(f"this manifest has another format than {FORMAT}")
        parts = {
            name: Part(**part | {"shards": tuple(Shard(**shard) for shard in part["shards"])})
            for name, part in said["parts"].items()
        }
        shapes = {name: tuple(shape) for name, shape in said["shapes"].items()}
        return cls(**said | {"parts": parts, "shapes": shapes, "removed": Removed(**said["removed"])})

    def part(self, split: str) -> Part:
        if split not in self.parts:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(sorted(self.parts))}")
        return self.parts[split]


def write(
    uri: str, splits: Mapping[str, Examples], *, source: str, seed: int, removed: Removed, shards: int
) -> Manifest:
    """The manifest comes last: where there is one, its shards are whole."""
    first = next(iter(splits.values()))
    manifest = Manifest(
        source=source,
        seed=seed,
        shapes={name: tuple(column.shape[1:]) for name, column in first.columns.items()},
        removed=removed,
        parts={name: _write_part(uri, name, examples, shards) for name, examples in splits.items()},
    )
    storage.write(storage.below(uri, MANIFEST), manifest.to_json())
    return manifest


def _write_part(uri: str, split: str, examples: Examples, shards: int) -> Part:
    written = []
    for number, indices in enumerate(np.array_split(np.arange(len(examples)), shards)):
        content = encoded(examples.take(indices))
        # Named by content: a second preparation never changes a file that somebody reads.
        digest = hashlib.sha256(content).hexdigest()
        name = f"{split}-{number:05d}-{digest[:12]}.parquet"
        storage.write(storage.below(uri, name), content)
        written.append(Shard(name=name, examples=len(indices), sha256=digest))
    return Part(examples=len(examples), content_sha256=examples.sha256(), shards=tuple(written))


def encoded(examples: Examples) -> bytes:
    """As a Parquet file, which also tells the shape of one example."""
    shapes = {name: column.shape[1:] for name, column in examples.columns.items()}
    arrays = {
        name: pa.array(column)
        if column.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), int(np.prod(column.shape[1:])))
        for name, column in examples.columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata({SHAPES: json.dumps(shapes)})
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()


def decoded(content: bytes) -> Examples:
    table = pq.read_table(io.BytesIO(content))
    columns = {}
    for name, shape in json.loads(table.schema.metadata[SHAPES]).items():
        column = table[name].combine_chunks()
        flat = column.flatten() if shape else column
        columns[name] = flat.to_numpy(zero_copy_only=False).reshape(-1, *shape)
    return Examples(columns=columns)


def manifest(uri: str) -> Manifest:
    return Manifest.from_json(storage.read(storage.below(uri, MANIFEST)))


def read(uri: str, split: str, *, rank: int = 0, ranks: int = 1) -> Iterator[Examples]:
    """The shards of one rank, one at a time; those of all ranks are the split, each once.

    Raises `Damaged` for a file that is not as the manifest says.
    """
    for shard in manifest(uri).part(split).shards[rank::ranks]:
        yield read_shard(uri, shard)


def read_shard(uri: str, shard: Shard) -> Examples:
    """Raises `Damaged` for a file that is not as the manifest says."""
    content = storage.read(storage.below(uri, shard.name))
    digest = hashlib.sha256(content).hexdigest()
    if digest != shard.sha256:
        raise Damaged(f"{shard.name} has sha256 {digest}, its manifest says {shard.sha256}")
    return decoded(content)


def dataset(uri: str, split: str) -> Any:  # noqa: ANN401 - a ray.data.Dataset, which is untyped
    """The split as a Ray Dataset, whose blocks are read on the nodes of the cluster."""
    import ray.data

    files, _ = FileSystem.from_uri(uri)
    paths = [
        FileSystem.from_uri(storage.below(uri, shard.name))[1] for shard in manifest(uri).part(split).shards
    ]
    return ray.data.read_parquet(paths, filesystem=files)
