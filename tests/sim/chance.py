"""Chance: every choice of the world, drawn from the seed alone, and the faults that struck.

Each site has a stream of its own, made from the seed and the site's name, so leaving one fault out does not change what
is drawn anywhere else: that is what makes a failing seed small enough to read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

HARMLESS: Final = frozenset({"others act before", "others act after"})
"""What goes on when faults have stopped: replicas meet each other in the middle of their work."""


@dataclass(frozen=True, slots=True, order=True)
class Strike:
    """A fault that was injected."""

    site: str
    """Where: `loops-1 executor.start`."""

    occasion: int
    """The how-manieth draw at that site."""

    kind: str

    def __str__(self) -> str:
        return f"{self.site} #{self.occasion}: {self.kind}"


@dataclass(slots=True)
class _Stream:
    """What is drawn at one site."""

    draw: Callable[[], float]
    occasions: int = 0


class Chance:
    def __init__(self, seed: int, *, only: frozenset[Strike] | None = None) -> None:
        """`only`: the faults that may strike; None: all that are drawn."""
        self.seed = seed
        self.struck: list[Strike] = []
        self.is_calm = False
        """True: no more faults."""

        self.meetings = 1
        """How many times as often replicas meet each other."""

        self._only = only
        self._streams: dict[str, _Stream] = {}

    def draw(self, site: str) -> float:
        """In [0, 1)."""
        stream = self._streams.get(site) or self._open(site)
        stream.occasions += 1
        return stream.draw()

    def is_so(self, site: str, probability: float) -> bool:
        return self.draw(site) < probability

    def pick(self, site: str, options: Sequence[T]) -> T:
        return options[int(self.draw(site) * len(options))]

    def whole(self, site: str, low: int, high: int) -> int:
        """Both ends included."""
        return low + int(self.draw(site) * (high - low + 1))

    def between(self, site: str, low: float, high: float) -> float:
        return low + self.draw(site) * (high - low)

    def weighted(self, site: str, weights: Mapping[str, float]) -> str:
        point = self.draw(site) * sum(weights.values())
        for name, weight in weights.items():
            point -= weight
            if point < 0:
                return name
        return list(weights)[-1]

    def fault(self, site: str, probabilities: Mapping[str, float]) -> str | None:
        """Which fault strikes here and now; None: none."""
        point = self.draw(site)
        if point >= self.meetings * sum(probabilities.values()):
            return None  # nearly always
        for kind, probability in probabilities.items():
            point -= probability * (self.meetings if kind in HARMLESS else 1)
            if point < 0:
                if self.is_calm and kind not in HARMLESS:
                    return None
                return self._strike(Strike(site, self._streams[site].occasions, kind))
        return None

    def _open(self, site: str) -> "_Stream":
        digest = blake2b(f"{self.seed}|{site}".encode(), digest_size=8).digest()
        stream = self._streams[site] = _Stream(Random(int.from_bytes(digest, "big")).random)
        return stream

    def _strike(self, strike: Strike) -> str | None:
        if self._only is not None and strike not in self._only:
            return None
        self.struck.append(strike)
        return strike.kind
