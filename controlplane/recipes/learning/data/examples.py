"""Examples: equally long columns of numbers, one row for each thing to learn from."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[Any]
"""Numbers of whatever kind its source has; the first axis counts examples."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must be equally long, not {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def take(self, indices: NDArray[np.int64]) -> "Examples":
        return Examples(columns={name: column[indices] for name, column in self.columns.items()})

    def first(self, count: int) -> "Examples":
        """All of them where there are fewer."""
        return self.take(np.arange(min(count, len(self))))

    def sha256(self) -> str:
        """Of names, types, shapes and numbers: equal exactly where the content is."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            column = np.ascontiguousarray(self.columns[name])
            digest.update(f"{name} {column.dtype.str} {column.shape}\n".encode())
            digest.update(column.tobytes())
        return digest.hexdigest()


def joined(several: Iterable[Examples]) -> Examples:
    """One after the other; all must have the same columns, and there must be one at least."""
    parts = tuple(several)
    return Examples(
        columns={name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns}
    )
