"""What is generated has the entropy that it is said to have."""

import math

import numpy as np
import pytest

from controlplane.recipes.learning.data import interactions, text
from controlplane.recipes.learning.data.text import Grammar


def test_the_entropy_of_a_grammar_is_that_of_a_sentence_over_its_mean_length() -> None:
    grammar = Grammar(slots=(("a", "bcd"), ("e", "f", "g", "h")))
    # Sentences "a e. " and "bcd e. " and so on: 8 equally likely ones, 5 or 7 characters long.
    assert grammar.nats_per_character() == pytest.approx(math.log(8) / 6)


def test_the_lengths_that_the_entropy_counts_on_are_those_of_real_sentences() -> None:
    rng = np.random.default_rng(0)
    lengths = [len(text.GRAMMAR.sentence(rng)) for _ in range(2000)]
    nats = sum(math.log(len(words)) for words in text.GRAMMAR.slots)
    assert np.mean(lengths) == pytest.approx(nats / text.GRAMMAR.nats_per_character(), rel=0.01)


def test_the_target_of_a_window_is_the_window_one_character_on() -> None:
    read = text.read(windows=3, context=8, seed=1)
    assert read["tokens"].shape == read["following"].shape == (3, 8)
    assert (read["tokens"][:, 1:] == read["following"][:, :-1]).all()


def test_text_is_read_back_as_it_was_written() -> None:
    assert text.decode(list(text.encode("the robot moves."))) == "the robot moves."


def test_clicks_are_as_frequent_as_the_tastes_make_them_likely() -> None:
    read = interactions.read(pairs=20_000, seed=3)
    likely = interactions.tastes(3).click_probability(read["users"], read["items"])
    assert read["clicks"].mean() == pytest.approx(likely.mean(), abs=0.01)
    surprise = -np.where(read["clicks"] > 0, np.log(likely), np.log1p(-likely)).mean()
    assert surprise == pytest.approx(interactions.nats_per_pair(read, seed=3), abs=0.01)
