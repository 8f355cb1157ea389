"""Values as text: the same on every machine, so that output can be tested and parsed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

KIBI: Final = 1024


def moment(at: datetime | None) -> str:
    return "-" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def number(value: float) -> str:
    return f"{value:.6g}"


def span(least: int, most: int) -> str:
    """`2`, or `2..4`."""
    return str(least) if least == most else f"{least}..{most}"


def size(count: float) -> str:
    """Bytes for people: `512MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < KIBI:
            return f"{count:.4g}{unit}"
        count /= KIBI
    return f"{count:.4g}TiB"


def price(amount: Decimal | None, currency: str | None, *, is_sure: bool) -> str:
    """`98.32 USD`; with a question mark where nobody has checked it."""
    if amount is None:
        return "-"
    return f"{amount.normalize():f} {currency or ''}{'' if is_sure else '?'}"


def amount(name: str, value: float) -> str:
    return size(value) if name.startswith("memory") else number(value)


def amounts(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount(name, value)}" for name, value in values.items() if value) or "-"


def usage(booked: Mapping[str, float], capacity: Mapping[str, float]) -> str:
    """`cpus 1/4, gpus 0/2`: booked of what there is."""
    parts = (
        f"{name} {amount(name, booked.get(name, 0.0))}/{amount(name, whole)}"
        for name, whole in capacity.items()
        if whole
    )
    return ", ".join(parts) or "-"


def duration(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def printable(text: str) -> str:
    """Others' text on one line: control characters could move the cursor or rewrite the screen."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
