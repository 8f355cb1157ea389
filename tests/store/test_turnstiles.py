"""Turnstiles: who has written gives way to who waits, for no longer than it wrote."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from controlplane.store.turnstiles import LOOK_SECONDS, Turnstile


class Clock:
    """Moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def two(tmp_path: Path, clock: Clock) -> Iterator[tuple[Turnstile, Turnstile]]:
    """As two processes have them."""
    path = str(tmp_path / "x.db-waiting")
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(closing(Turnstile(path, clock=clock, sleep=clock.sleep))) for _ in range(2)
        )
        yield first, second


def test_nobody_waits_for_nobody(two: tuple[Turnstile, Turnstile], clock: Clock, tmp_path: Path) -> None:
    assert two[0].pass_through(lambda: True, 1.0)
    two[0].give_way(1.0)

    assert clock.seconds == 0
    assert list(tmp_path.iterdir()) == []


def test_who_has_written_gives_way_while_somebody_waits(
    two: tuple[Turnstile, Turnstile], clock: Clock
) -> None:
    writer, waiter = two
    looks: list[float] = []

    def meets_it_locked_once() -> bool:
        if len(looks) == 1:
            writer.give_way(0.01)
        looks.append(clock.seconds)
        return len(looks) == 3

    assert waiter.pass_through(meets_it_locked_once, 1.0)
    assert looks == pytest.approx([0.0, 0.01 + LOOK_SECONDS, 0.01 + 2 * LOOK_SECONDS])
    before = clock.seconds
    writer.give_way(1.0)
    assert clock.seconds == before


def test_who_waits_too_long_gives_up_and_holds_up_nobody(
    two: tuple[Turnstile, Turnstile], clock: Clock
) -> None:
    writer, waiter = two

    assert not waiter.pass_through(lambda: False, 0.05)
    assert clock.seconds == pytest.approx(0.05, abs=2 * LOOK_SECONDS)
    before = clock.seconds
    writer.give_way(1.0)
    assert clock.seconds == before


def test_a_turnstile_that_cannot_be_seen_still_lets_pass(clock: Clock, tmp_path: Path) -> None:
    hidden = Turnstile(str(tmp_path / "no-such-folder" / "x"), clock=clock, sleep=clock.sleep)
    answers = iter([False, True])

    assert hidden.pass_through(lambda: next(answers), 1.0)
    hidden.give_way(1.0)


def test_where_files_cannot_be_locked_nobody_is_seen_and_everybody_gets_through(
    tmp_path: Path, clock: Clock
) -> None:
    blind = Turnstile(str(tmp_path / "x.db-waiting"), clock=clock, sleep=clock.sleep)
    blind._descriptor = 1_000_000  # no such file: every lock fails
    looks = iter([False, True])

    assert blind.pass_through(lambda: next(looks), 1.0)
    blind.give_way(1.0)

    assert clock.seconds == LOOK_SECONDS
