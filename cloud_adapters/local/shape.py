"""Shapes: how many nodes an embedded cluster has, and what each pretends to hold. Standard library only."""

from dataclasses import dataclass

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    nodes: int = 2
    """Beside the head, which takes no tasks."""

    cpus_per_node: int = 4
    """Logical: Ray counts them and limits nothing."""

    gpus_per_node: int = 2
    """Logical too, as the custom resource `logical_gpu`."""

    memory_bytes_per_node: int = 2048 * MEBIBYTE
    """Logical."""

    object_store_bytes_per_node: int = 256 * MEBIBYTE
    """Taken from the machine only as far as it is filled."""

    orphan_seconds: int = 120
    """The cluster ends by itself when nobody asked for it for so long."""
