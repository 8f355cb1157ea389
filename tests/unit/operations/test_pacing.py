"""Bulk writers leave the database to others for as long as they held it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from controlplane.operations.pacing import AtOnce, Inline, InTurns, Pace


@dataclass(slots=True)
class Watch:
    """A clock that only deeds and pauses move."""

    now: float = 100.0
    pauses: list[float] = field(default_factory=list)

    def lasting(self, seconds: float) -> Callable[[], float]:
        def deed() -> float:
            self.now += seconds
            return seconds

        return deed

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def turns(watch: Watch) -> InTurns:
    return InTurns(clock=lambda: watch.now, sleep=watch.sleep)


def test_between_two_writes_lies_as_long_as_the_first_took(watch: Watch, turns: InTurns) -> None:
    done = [turns.write(watch.lasting(seconds)).result() for seconds in (4.0, 1.0, 2.0)]
    assert (done, watch.pauses) == ([4.0, 1.0, 2.0], [4.0, 1.0])


def test_what_the_writer_does_meanwhile_counts_as_pause(watch: Watch, turns: InTurns) -> None:
    for _ in range(2):
        turns.write(watch.lasting(4.0)).result()
        watch.now += 3.0
    assert watch.pauses == [1.0]


def test_a_write_that_fails_took_its_time_as_well(watch: Watch, turns: InTurns) -> None:
    def fails() -> None:
        watch.now += 2.0
        raise LookupError

    with pytest.raises(LookupError):
        turns.write(fails).result()
    turns.write(watch.lasting(1.0)).result()
    assert watch.pauses == [2.0]


@pytest.mark.parametrize("pace", [AtOnce(), Inline()])
def test_where_writers_do_not_queue_nobody_pauses(watch: Watch, pace: Pace) -> None:
    written = [pace.write(watch.lasting(seconds)) for seconds in (4.0, 1.0)]
    assert [each.result() for each in written] == [4.0, 1.0]


def test_what_is_written_inline_fails_inline() -> None:
    def crash() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inline().write(crash)
