"""Ids are unique, sort by birth, and say what they are of."""

import re

from controlplane.operations.ids import RandomIds


def test_an_id_is_its_noun_and_26_letters_that_nobody_misreads() -> None:
    assert re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{26}", RandomIds().new("job"))


def test_ids_are_never_the_same() -> None:
    ids = RandomIds()
    assert len({ids.new("job") for _ in range(10_000)}) == 10_000


def test_ids_sort_by_the_millisecond_of_their_birth() -> None:
    ids = RandomIds()
    milliseconds = [ids.new("job")[4:14] for _ in range(1000)]
    assert milliseconds == sorted(milliseconds)
