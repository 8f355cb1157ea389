"""Settings of an embedded cluster: from the pairs of its row to a directory and a shape."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from cloud_adapters.base import ClusterRef, Rejected
from cloud_adapters.local.shape import MEBIBYTE, Shape

LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "nodes": (1, 16),
    "cpus_per_node": (1, 1024),
    "gpus_per_node": (0, 1024),
    "memory_bytes_per_node": (64 * MEBIBYTE, 2**50),
    "object_store_bytes_per_node": (80 * MEBIBYTE, 2**50),  # below 75 MiB Ray refuses to start
    "orphan_seconds": (1, 86_400),
}


def directory_of(cluster: ClusterRef) -> Path:
    """Where the cluster keeps what must outlive the server."""
    named = dict(cluster.settings).get("directory")
    if not named or not Path(named).is_absolute():
        raise Rejected(
            f"cluster {cluster.name} needs the setting `directory`, an absolute path, not {named!r}"
        )
    return Path(named)


def shape_of(cluster: ClusterRef) -> Shape:
    given = {name: value for name, value in cluster.settings if name != "directory"}
    known = {field.name for field in fields(Shape)}
    if unknown := sorted(given.keys() - known):
        raise Rejected(f"cluster {cluster.name} has unknown settings: {', '.join(unknown)}")
    return Shape(**{name: _number(name, value) for name, value in given.items()})


def _number(name: str, value: str) -> int:
    least, most = LIMITS[name]
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise Rejected(f"setting {name} must be a whole number from {least} to {most}, not {value!r}")
    return int(value)
