"""Amounts: how much of each countable thing a task needs or a node has, as exact integers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from controlplane.domain.twins import quick

MILLI = 1000


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """A vector of non-negative integers. Custom names are sorted and never hold zero, so equal vectors are `==`."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    gpu_milli: int = 0
    custom_milli: tuple[tuple[str, int], ...] = ()

    def fits_in(self, other: Self) -> bool:
        have = dict(other.custom_milli)
        return (
            self.cpu_milli <= other.cpu_milli
            and self.memory_bytes <= other.memory_bytes
            and self.gpu_milli <= other.gpu_milli
            and all(need <= have.get(name, 0) for name, need in self.custom_milli)
        )

    def times_in(self, other: Self) -> int:
        """How many vectors like this one fit side by side into `other`. Needs at least one amount above zero."""
        have = dict(other.named())
        return min(have.get(name, 0) // need for name, need in self.named())

    def plus(self, other: Self) -> Self:
        return self._merge(other, 1)

    def minus(self, other: Self) -> Self:
        """Subtracts, stopping at zero: a node may hold more than it reports while its numbers are being refreshed."""
        return self._merge(other, -1)

    def named(self) -> tuple[tuple[str, int], ...]:
        """Every non-zero amount under its public name, sorted: the columns of a snapshot."""
        pairs = [("cpu", self.cpu_milli), ("gpu", self.gpu_milli), ("memory", self.memory_bytes)]
        if self.custom_milli:
            pairs = [*((f"custom:{name}", value) for name, value in self.custom_milli), *pairs]
        return tuple([pair for pair in pairs if pair[1]])

    def _merge(self, other: Self, sign: int) -> Self:
        custom = self.custom_milli
        if other.custom_milli:
            sums = dict(custom)
            for name, value in other.custom_milli:
                sums[name] = sums.get(name, 0) + sign * value
            custom = custom_amounts(sums.items())
        return type(self)(
            cpu_milli=max(0, self.cpu_milli + sign * other.cpu_milli),
            memory_bytes=max(0, self.memory_bytes + sign * other.memory_bytes),
            gpu_milli=max(0, self.gpu_milli + sign * other.gpu_milli),
            custom_milli=custom,
        )


def custom_amounts(pairs: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """The canonical form: sorted by name, zeros and below left out."""
    return tuple(sorted((name, value) for name, value in pairs if value > 0))


def total(amounts: Iterable[Amounts]) -> Amounts:
    result = Amounts()
    for each in amounts:
        result = result.plus(each)
    return result
