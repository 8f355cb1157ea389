"""A rank below Ray Train calls the board seldom, and loses nothing by it."""

from controlplane.recipes.learning.board import Board, Record
from controlplane.recipes.learning.training.outlets import ASK_EVERY_SECONDS, BoardOutlet

SAVED: Record = {"kind": "checkpoint", "step": 3}


class CountedBoard(Board):
    """Counts the calls of the rank."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def begin_step(self, *measured: Record) -> bool:
        self.calls += 1
        return super().begin_step(*measured)

    def post(self, *records: Record) -> None:
        self.calls += 1
        super().post(*records)


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def metric(step: int) -> Record:
    return {"kind": "metric", "step": step, "values": {"loss": 1.0 / step}}


def outlet_of(board: Board, clock: Clock, *, asks: bool = True) -> BoardOutlet:
    return BoardOutlet(board, asks=asks, place="here", now=clock)


def take_steps(outlet: BoardOutlet, clock: Clock, count: int, *, each_seconds: float) -> list[bool]:
    """What each of them heard."""
    heard = []
    for step in range(1, count + 1):
        heard.append(outlet.begin_step())
        clock.seconds += each_seconds
        outlet.post(metric(step))
    return heard


def test_small_steps_share_a_call() -> None:
    board, clock = CountedBoard(), Clock()
    outlet = outlet_of(board, clock)

    take_steps(outlet, clock, 1000, each_seconds=0.001)
    calls = board.calls
    outlet.close()

    assert calls <= 1 + 1.0 / ASK_EVERY_SECONDS
    assert board.take() == [metric(step) for step in range(1, 1001)]


def test_a_step_that_takes_long_is_told_when_the_next_begins() -> None:
    board, clock = CountedBoard(), Clock()
    outlet = outlet_of(board, clock)
    take_steps(outlet, clock, 1, each_seconds=30.0)

    outlet.begin_step()

    assert board.take() == [metric(1)]


def test_a_checkpoint_is_on_the_board_at_once_behind_what_was_measured_before_it() -> None:
    board, clock = CountedBoard(), Clock()
    outlet = outlet_of(board, clock)
    take_steps(outlet, clock, 3, each_seconds=0.001)

    outlet.post(SAVED)

    assert board.take() == [metric(1), metric(2), metric(3), SAVED]


def test_a_stop_is_heard_with_the_next_call_and_from_then_on() -> None:
    board, clock = CountedBoard(), Clock()
    outlet = outlet_of(board, clock)
    take_steps(outlet, clock, 1, each_seconds=0.001)
    board.stop()

    heard = take_steps(outlet, clock, 5, each_seconds=ASK_EVERY_SECONDS / 2)

    assert heard == [False, False, True, True, True]


def test_a_stop_finds_that_a_first_step_has_begun() -> None:
    board = CountedBoard()
    outlet_of(board, Clock()).begin_step()

    assert board.stop()


def test_a_rank_that_does_not_ask_is_not_stopped_by_itself_and_still_tells() -> None:
    board, clock = CountedBoard(), Clock()
    outlet = outlet_of(board, clock, asks=False)
    board.stop()

    heard = take_steps(outlet, clock, 3, each_seconds=1.0)
    outlet.close()

    assert (heard, board.take()) == ([False] * 3, [metric(1), metric(2), metric(3)])


def test_nothing_is_told_twice_and_an_end_without_news_calls_nobody() -> None:
    board, clock = CountedBoard(), Clock()
    outlet = outlet_of(board, clock)
    take_steps(outlet, clock, 2, each_seconds=0.001)

    outlet.close()
    calls = board.calls
    outlet.close()

    assert (board.take(), board.calls) == ([metric(1), metric(2)], calls)
