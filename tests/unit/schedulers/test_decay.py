"""Past use: half is left after a half-life, whatever the steps, and it decides who is let in but drives nobody out."""

from schedulers.decay import HALF_LIFE_SECONDS, WHOLE_USE, after
from schedulers.fair.policy import Fair
from schedulers.testing.cases import settle
from schedulers.testing.scenes import Json, simulation_of


def test_half_is_left_after_a_half_life() -> None:
    assert after(WHOLE_USE, 0, HALF_LIFE_SECONDS) == WHOLE_USE // 2


def test_use_in_many_steps_is_the_same_as_in_one() -> None:
    used = 0
    for _ in range(288):
        used = after(used, WHOLE_USE, 300, 86_400)
    assert abs(used - WHOLE_USE // 2) <= 288


def test_what_is_in_use_for_ever_is_all_that_counts() -> None:
    assert after(WHOLE_USE, WHOLE_USE // 4, 1000 * HALF_LIFE_SECONDS) == WHOLE_USE // 4


SCENE: Json = {
    "queues": [
        {"name": "top", "quota": {"gpu": [8]}},
        {"name": "a", "parent": "top"},
        {"name": "b", "parent": "top"},
    ],
    "past_uses": {"a": 0.5},
}


def test_who_used_more_of_late_is_let_in_later() -> None:
    rows = [{"ask": name, "queue": name, "gpu": 8, "submitted_at": at} for at, name in enumerate("ab")]
    simulation = simulation_of({**SCENE, "pending": rows})
    settle(simulation, Fair())
    assert sorted(simulation.running) == ["b"]


def test_past_use_sends_nobody_away() -> None:
    running = [{"ask": "a", "queue": "a", "gpu": 8, "admitted_at": 10}]
    waiting = [{"ask": "b", "queue": "b", "gpu": 8, "submitted_at": 20}]
    simulation = simulation_of({**SCENE, "running": running, "pending": waiting})
    settle(simulation, Fair())
    assert sorted(simulation.running) == ["a"]


def test_what_was_noted_is_noted_once_in_an_epoch() -> None:
    running = [{"ask": "a", "queue": "a", "gpu": 8, "admitted_at": 10}]
    simulation = simulation_of({**SCENE, "running": running})
    simulation.advance(300)
    first = Fair().plan(simulation.snapshot())
    simulation.commit(first)
    assert {row.queue_id for row in first.past_uses} == {"top", "a"}
    assert Fair().plan(simulation.snapshot()).past_uses == ()
