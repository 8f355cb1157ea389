"""Chance: every choice of the world, drawn from the seed alone, and the faults that struck.

Each site has a stream of its own, made from the seed and the site's name, so leaving one fault out does not change what
is drawn anywhere else: that is what makes a failing seed small enough to read.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

HARMLESS: Final = frozenset({"others act before", "others act after"})
"""What goes on when faults have stopped: replicas meet each other in the middle of their work."""

CALM_MEETINGS: Final = 4
"""So many times as often: then nothing else repairs what such a meeting broke."""


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


class Chance:
    def __init__(self, seed: int, *, only: frozenset[Strike] | None = None) -> None:
        """`only`: the faults that may strike; None: all that are drawn."""
        self.seed = seed
        self.struck: list[Strike] = []
        self.is_calm = False
        """True: no more faults."""

        self._only = only
        self._occasions: Counter[str] = Counter()
        self._streams: dict[str, Callable[[], float]] = {}

    def draw(self, site: str) -> float:
        """In [0, 1)."""
        self._occasions[site] += 1
        stream = self._streams.get(site)
        if stream is None:
            digest = blake2b(f"{self.seed}|{site}".encode(), digest_size=8).digest()
            stream = self._streams[site] = Random(int.from_bytes(digest, "big")).random
        return stream()

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
        for kind, probability in probabilities.items():
            point -= probability * (CALM_MEETINGS if self.is_calm and kind in HARMLESS else 1)
            if point < 0:
                if self.is_calm and kind not in HARMLESS:
                    return None
                return self._strike(Strike(site, self._occasions[site], kind))
        return None

    def _strike(self, strike: Strike) -> str | None:
        if self._only is not None and strike not in self._only:
            return None
        self.struck.append(strike)
        return strike.kind
