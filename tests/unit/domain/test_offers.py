"""How long an offer that was refused is left alone."""

from datetime import timedelta

from tests import factories


def test_each_refusal_cools_twice_as_long_up_to_half_an_hour() -> None:
    offer, at, pauses = factories.offer(), factories.NOON, []
    for _ in range(8):
        offer = offer.refused(at=at)
        assert offer.cool_until is not None
        pauses.append((offer.cool_until - at).total_seconds())
        at = offer.cool_until
    assert pauses == [45, 90, 180, 360, 720, 1440, 1800, 1800]
    assert offer.refusals == 8


def test_launches_that_were_under_way_together_are_one_refusal() -> None:
    first = factories.offer().refused(at=factories.NOON)
    assert first.refused(at=factories.after(44)) == first
    assert first.refused(at=factories.after(45)).refusals == 2


def test_a_grant_ends_it() -> None:
    cool = factories.offer().refused(at=factories.NOON)
    assert cool.granted() == factories.offer()


def test_an_old_story_begins_anew() -> None:
    twice = factories.offer().refused(at=factories.NOON).refused(at=factories.after(45))
    assert twice.cool_until == factories.after(135)
    late = factories.after(135) + timedelta(minutes=31)
    again = twice.refused(at=late)
    assert (again.refusals, again.cool_until) == (1, late + timedelta(seconds=45))


def test_many_refusals_do_not_overflow() -> None:
    offer = factories.offer(refusals=10_000, cool_until=factories.NOON).refused(at=factories.after(1))
    assert offer.cool_until == factories.after(1801)
