"""Inputs that are kept: what is read stays; else age decides, and then the oldest of too many."""

from dataclasses import replace
from datetime import timedelta

from controlplane.domain.ids import CopyId
from controlplane.domain.inputs import FoundObject, Input, InputState, address_of
from controlplane.reconcilers.inputs import KeptView, decide
from tests import factories

DAY = timedelta(days=1)
NOW = factories.NOON + 100 * DAY
COPY = CopyId("copy-1")


def ready(number: int, *, days: float = 0, size: int = 10, target: str = "", store: str = "near") -> Input:
    """Wanted so many days ago."""
    return factories.kept_input(
        number,
        state=InputState.READY,
        store=store,
        address="ab",
        target=target or f"s3://near/{number}",
        size_bytes=size,
        copy_id=COPY,
        used_at=NOW - days * DAY,
    )


def left(*kept: Input, read: tuple[Input, ...] = (), most_bytes: int = 1000) -> list[str]:
    view = KeptView(
        kept=[*((each, False) for each in kept), *((each, True) for each in read)],
        longest=7 * DAY,
        most_bytes=most_bytes,
        now=NOW,
    )
    return [each.id for each in decide(view).save if each.state is InputState.LEAVING]


def test_what_nobody_wanted_for_long_leaves() -> None:
    assert left(ready(1, days=6.9), ready(2, days=7)) == ["input-2"]


def test_what_an_open_job_reads_stays_and_counts_as_used_now() -> None:
    view = KeptView(kept=[(ready(1, days=30), True)], longest=7 * DAY, most_bytes=1, now=NOW)
    (kept,) = decide(view).save
    assert (kept.state, kept.used_at) == (InputState.READY, NOW)


def test_of_too_many_those_leave_that_were_not_wanted_for_the_longest_time() -> None:
    kept = [ready(1, days=1), ready(2, days=3), ready(3, days=2), ready(4, days=4, store="other")]
    assert left(*kept, most_bytes=30) == []
    assert left(*kept, most_bytes=29) == ["input-2"]
    assert left(*kept, most_bytes=19) == ["input-2", "input-3"]


def test_what_is_read_takes_room_and_others_make_it() -> None:
    assert left(ready(1, days=1), read=(ready(2, days=5, size=20),), most_bytes=25) == ["input-1"]


def test_rows_of_one_place_stay_or_leave_together() -> None:
    both = (ready(1, days=8, target="s3://near/x"), ready(2, days=9, target="s3://near/x"))
    assert left(*both) == ["input-1", "input-2"]
    assert left(both[0], ready(2, days=1, target="s3://near/x")) == []
    assert left(both[0], read=(both[1],)) == []
    again = replace(both[1], state=InputState.COPYING)
    assert left(both[0], again) == []


def test_what_never_came_leaves_at_once_and_needs_no_deleting_where_nothing_was_begun() -> None:
    broken = factories.kept_input(
        1, state=InputState.FAILED, address="ab", target="s3://near/1", used_at=NOW, copy_id=COPY
    )
    unseen = factories.kept_input(2, state=InputState.FAILED, used_at=NOW)
    view = KeptView(kept=[(broken, True), (unseen, False)], longest=7 * DAY, most_bytes=1, now=NOW)
    assert [each.state for each in decide(view).save] == [InputState.LEAVING, InputState.GONE]


def test_an_address_is_that_of_names_sizes_etags_and_the_store() -> None:
    found = (FoundObject(name="a", size_bytes=1, etag="x"), FoundObject(name="b", size_bytes=2, etag="y"))
    others = (
        address_of("s3://from", found[:1]),
        address_of("s3://from", (found[0], replace(found[1], name="c"))),
        address_of("s3://from", (found[0], replace(found[1], size_bytes=3))),
        address_of("s3://from", (found[0], replace(found[1], etag="z"))),
        address_of("s3://other", found),
    )
    assert address_of("s3://from", found) == address_of("s3://from", iter(found))
    assert len({address_of("s3://from", found), *others}) == 1 + len(others)
