"""Rows: how moments, amounts and JSON values cross into columns and back."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar

from controlplane.domain.amounts import Amounts
from controlplane.domain.errors import Bug

# `Any`: the table's definition says what stands in which column, and the reader of the row names them.
Row = tuple[Any, ...]

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECONDS_PER_SECOND: Final = 1_000_000
SECONDS_PER_DAY: Final = 86_400
MOST_MOMENTS_REMEMBERED: Final = 4096
"""What is written together bears one moment, and is read and written again together."""

MOST_ROWS_REMEMBERED: Final = 1024
"""Of each noun: about what one round of the loops reads."""

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def remembered(make: Callable[[Row], T]) -> Callable[[Row], T]:
    """What was made of a row that reads the same: nobody can change it, and making it costs twenty times more."""
    return lru_cache(maxsize=MOST_ROWS_REMEMBERED)(make)


@lru_cache(maxsize=MOST_MOMENTS_REMEMBERED)
def micros(at: datetime) -> int:
    """Exact, unlike a float of seconds."""
    since = at - EPOCH
    return (since.days * SECONDS_PER_DAY + since.seconds) * MICROSECONDS_PER_SECOND + since.microseconds


_FIRST: Final = micros(datetime.min.replace(tzinfo=UTC))
_LAST: Final = micros(datetime.max.replace(tzinfo=UTC))


def micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


@lru_cache(maxsize=MOST_MOMENTS_REMEMBERED)
def moment(column: int) -> datetime:
    """Of one that no calendar has, the nearest that it has: a row that cannot be read would stop all who read many."""
    return EPOCH + timedelta(microseconds=min(max(column, _FIRST), _LAST))


def moment_or_none(column: int | None) -> datetime | None:
    return None if column is None else moment(column)


def packed(value: object) -> str:
    """Strict JSON: NaN, infinities and objects of ours are mistakes of the caller."""
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError) as mistake:
        raise Bug(f"not a JSON value: {mistake}") from mistake


def unpacked(column: str) -> Any:  # noqa: ANN401 - whatever was packed
    return json.loads(column)


def pairs(column: str) -> tuple[tuple[str, str], ...]:
    """Sorted pairs that were packed as an object."""
    return tuple(sorted(json.loads(column).items())) if column != "{}" else ()


def amounts_params(amounts: Amounts, prefix: str = "") -> dict[str, object]:
    return {
        f"{prefix}cpu_milli": amounts.cpu_milli,
        f"{prefix}memory_bytes": amounts.memory_bytes,
        f"{prefix}gpu_milli": amounts.gpu_milli,
        f"{prefix}custom_milli": packed(dict(amounts.custom_milli)) if amounts.custom_milli else "{}",
    }


@lru_cache(maxsize=MOST_ROWS_REMEMBERED)
def amounts_of(cpu_milli: int, memory_bytes: int, gpu_milli: int, custom: str) -> Amounts:
    return Amounts(
        cpu_milli=cpu_milli,
        memory_bytes=memory_bytes,
        gpu_milli=gpu_milli,
        custom_milli=custom_of(custom),
    )


def custom_of(custom: str) -> tuple[tuple[str, int], ...]:
    return () if custom == "{}" else tuple(sorted(_whole_numbers(json.loads(custom))))


def _whole_numbers(values: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, int(value)) for name, value in values.items()]
