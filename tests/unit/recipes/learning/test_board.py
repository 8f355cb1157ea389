"""The board hands on each record once, and a stop reaches the step that begins after it."""

from controlplane.recipes.learning.board import Board


def test_records_are_taken_once_and_in_order() -> None:
    board = Board()
    board.post({"step": 1})
    board.post({"step": 2})
    assert board.take() == [{"step": 1}, {"step": 2}]
    board.post({"step": 3})
    assert board.take() == [{"step": 3}]
    assert board.take() == []


def test_a_step_that_begins_after_the_stop_is_the_last() -> None:
    board = Board()
    assert not board.begin_step()
    board.stop()
    assert board.begin_step()


def test_a_stop_says_whether_there_is_anything_to_save() -> None:
    idle, busy = Board(), Board()
    busy.begin_step()
    assert (idle.stop(), busy.stop()) == (False, True)


def test_a_step_that_begins_brings_what_was_measured_before() -> None:
    board = Board()
    board.begin_step({"step": 1}, {"step": 2})
    board.post({"step": 3}, {"step": 4})
    assert [record["step"] for record in board.take()] == [1, 2, 3, 4]
