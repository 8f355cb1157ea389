"""Text: sentences that a small grammar says by chance, so that the best possible loss is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .examples import Examples

CONTEXT: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A sentence takes one word from each slot, all equally likely, and ends with a full stop and a space."""

    slots: tuple[tuple[str, ...], ...]

    def nats_per_character(self) -> float:
        """The entropy rate: what no model's cross entropy can stay below.

        Sentences are independent and can be told apart, so it is the entropy of a sentence over its mean
        length (Cover and Thomas, Elements of Information Theory, chapter 4).
        """
        nats = sum(math.log(len(words)) for words in self.slots)
        characters = sum(sum(map(len, words)) / len(words) + 1 for words in self.slots) + 1
        return nats / characters

    def sentence(self, rng: np.random.Generator) -> str:
        return " ".join(words[int(rng.integers(len(words)))] for words in self.slots) + ". "


GRAMMAR: Final = Grammar(
    slots=(
        ("the", "a", "every"),
        ("old", "small", "fast", "quiet"),
        ("robot", "driver", "cluster", "student", "river"),
        ("moves", "finds", "sees", "carries", "follows"),
        ("the", "a", "every"),
        ("box", "signal", "letter", "stone", "number", "lamp"),
    )
)
ALPHABET: Final = " .abcdefghijklmnopqrstuvwxyz"


def encode(text: str) -> NDArray[np.int64]:
    """Positions in the alphabet. Raises ValueError for a character that is not in it."""
    return np.array([ALPHABET.index(character) for character in text], dtype=np.int64)


def decode(tokens: Sequence[int]) -> str:
    return "".join(ALPHABET[token] for token in tokens)


def read(*, windows: int = 1024, context: int = CONTEXT, seed: int = 0) -> Examples:
    """`tokens` and, one character later, `following`; each window begins anywhere in a sentence."""
    rng = np.random.default_rng([seed, 1])
    said: list[str] = []
    missing = windows * (context + 1)
    while missing > 0:
        said.append(GRAMMAR.sentence(rng))
        missing -= len(said[-1])
    rows = encode("".join(said))[: windows * (context + 1)].reshape(windows, context + 1)
    return Examples(columns={"tokens": rows[:, :-1].copy(), "following": rows[:, 1:].copy()})
