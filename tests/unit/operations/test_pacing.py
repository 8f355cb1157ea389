"""Bulk writes: in the calling thread or beside it, and what is raised comes to who asks for the result."""

import pytest

from controlplane.operations.pacing import AtOnce, Inline, Pace


@pytest.mark.parametrize("pace", [AtOnce(), Inline()])
def test_each_write_answers_for_itself(pace: Pace) -> None:
    def fails() -> int:
        raise KeyError

    written = [pace.write(lambda: 1), pace.write(lambda: 2)]
    assert [each.result() for each in written] == [1, 2]
    with pytest.raises(KeyError):
        pace.write(fails).result()


def test_what_is_written_inline_fails_inline() -> None:
    def crash() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inline().write(crash)
