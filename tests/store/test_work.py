"""The work list: what is due is claimed by one, and no poke is ever lost."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

import pytest

from controlplane.domain.errors import StaleWrite
from controlplane.store import Store, Tx, WorkItem
from tests import factories
from tests.databases import Opener

TTL_SECONDS: Final = 30.0


class Clock:
    """The database's, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return factories.after(self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, open_store: Opener, clock: Clock) -> Store:
    return open_store(database_url, now=clock)


def poke(store: Store, id_: str = "job-1", at: datetime | None = None) -> None:
    store.write(lambda tx: tx.work.poke("job", id_, at))


def claim(store: Store, holder: str = "me", limit: int = 10) -> list[WorkItem]:
    return store.write(lambda tx: tx.work.claim("job", holder, limit, TTL_SECONDS))


def settle(store: Store, item: WorkItem, next_at: datetime | None = None) -> None:
    store.write(lambda tx: tx.work.settle(item, next_at))


def ids(items: list[WorkItem]) -> list[str]:
    return [item.id for item in items]


def next_due(store: Store) -> datetime | None:
    with store.read() as tx:
        return tx.work.next_due("job")


def test_what_was_poked_is_claimed_once(store: Store) -> None:
    poke(store)
    poke(store)

    (item,) = claim(store)

    assert (item.noun, item.id, item.due_at) == ("job", "job-1", factories.NOON)
    assert claim(store, "other") == []
    assert store.write(lambda tx: tx.work.claim("attempt", "me", 10, TTL_SECONDS)) == []


def test_the_longest_due_come_first_and_no_more_than_wanted(store: Store, clock: Clock) -> None:
    for second, id_ in enumerate(["c", "a", "d", "b"]):
        poke(store, id_, factories.after(second))
    poke(store, "e", factories.after(0))
    clock.seconds = 2

    assert ids(claim(store, limit=2)) == ["c", "e"]
    assert ids(claim(store)) == ["a", "d"]
    assert claim(store) == []


def test_a_poke_makes_it_due_sooner_but_never_later(store: Store, clock: Clock) -> None:
    poke(store, at=factories.after(10))
    poke(store, at=factories.after(20))
    assert next_due(store) == factories.after(10)

    poke(store, at=factories.after(5))
    assert next_due(store) == factories.after(5)
    assert claim(store) == []
    clock.seconds = 5
    assert ids(claim(store)) == ["job-1"]


def test_one_look_tells_what_is_due_of_all_nouns(store: Store) -> None:
    poke(store, at=factories.after(10))
    poke(store, "job-2", at=factories.after(20))
    store.write(lambda tx: tx.work.poke("attempt", "attempt-1"))
    store.write(lambda tx: tx.work.claim("attempt", "me", 1, TTL_SECONDS))

    with store.read() as tx:
        dues = tx.work.dues(("attempt", "claim", "job"))

    assert dues == {"attempt": factories.after(TTL_SECONDS), "job": factories.after(10)}


def test_what_is_settled_for_good_is_gone(store: Store) -> None:
    poke(store)
    (item,) = claim(store)
    settle(store, item)

    assert next_due(store) is None
    assert claim(store) == []


def test_what_is_settled_for_later_comes_back_then(store: Store, clock: Clock) -> None:
    poke(store)
    (item,) = claim(store)
    settle(store, item, factories.after(60))

    assert next_due(store) == factories.after(60)
    assert claim(store) == []
    clock.seconds = 60
    assert ids(claim(store)) == ["job-1"]


@pytest.mark.parametrize("next_at", [None, factories.after(60)])
def test_a_poke_while_it_is_claimed_is_not_lost(store: Store, next_at: datetime | None) -> None:
    poke(store)
    (item,) = claim(store)
    poke(store)
    assert claim(store, "other") == []

    settle(store, item, next_at)

    assert ids(claim(store)) == ["job-1"]


def test_a_timer_that_is_set_while_it_is_claimed_does_not_make_it_due_at_once(store: Store) -> None:
    poke(store)
    (item,) = claim(store)
    poke(store, at=factories.after(50))
    poke(store, at=factories.after(40))
    poke(store, at=factories.after(45))

    settle(store, item)

    assert next_due(store) == factories.after(40)
    assert claim(store) == []


def test_the_sooner_of_timer_and_settlement_counts(store: Store) -> None:
    poke(store)
    (item,) = claim(store)
    poke(store, at=factories.after(50))

    settle(store, item, factories.after(30))

    assert next_due(store) == factories.after(30)


def test_a_poke_of_the_same_unit_that_settles_is_not_lost(store: Store) -> None:
    poke(store)
    (item,) = claim(store)

    def unit(tx: Tx) -> None:
        tx.work.check(item)
        tx.work.poke("job", "job-1")
        tx.work.settle(item, None)

    store.write(unit)

    assert ids(claim(store)) == ["job-1"]


def test_an_expired_claim_is_taken_over_and_its_old_holder_is_stopped(store: Store, clock: Clock) -> None:
    poke(store)
    (old,) = claim(store, "first")
    assert next_due(store) == factories.after(TTL_SECONDS)
    clock.seconds = TTL_SECONDS
    (new,) = claim(store, "second")

    assert new.token > old.token
    with pytest.raises(StaleWrite, match="job job-1: the claim was taken over"):
        store.write(lambda tx: tx.work.check(old))
    for next_at in (None, factories.after(90)):
        with pytest.raises(StaleWrite):
            settle(store, old, next_at)
    store.write(lambda tx: tx.work.check(new))
    settle(store, new)


def test_an_expired_claim_that_nobody_took_over_still_stands(store: Store, clock: Clock) -> None:
    poke(store)
    (item,) = claim(store)
    clock.seconds = 2 * TTL_SECONDS

    store.write(lambda tx: tx.work.check(item))
    settle(store, item)


def test_a_thing_that_comes_back_does_not_meet_a_claim_of_its_earlier_life(
    store: Store, clock: Clock
) -> None:
    poke(store)
    (old,) = claim(store, "first")
    clock.seconds = TTL_SECONDS
    (new,) = claim(store, "second")
    settle(store, new)
    poke(store)
    claim(store, "third")

    with pytest.raises(StaleWrite):
        store.write(lambda tx: tx.work.check(old))


def test_the_claims_of_a_dead_holder_are_given_back_and_its_timers_kept(store: Store) -> None:
    poke(store, "mine")
    poke(store, "timed")
    claim(store, "dead", limit=2)
    poke(store, "theirs")
    claim(store, "alive")
    poke(store, "timed", factories.after(60))

    assert store.write(lambda tx: tx.work.free("dead")) == 2
    assert ids(claim(store, "next")) == ["mine", "timed"]


def test_a_settled_item_cannot_be_settled_again(store: Store) -> None:
    poke(store)
    (item,) = claim(store)
    settle(store, item, factories.after(60))

    with pytest.raises(StaleWrite):
        settle(store, item)


class Tally:
    """Who is at what, and up to which poke each thing was looked at."""

    def __init__(self) -> None:
        self.wanted: Counter[str] = Counter()
        self.seen: dict[str, int] = {}
        self._at_it: set[str] = set()
        self._lock = threading.Lock()

    def poked(self, id_: str) -> None:
        """Before the poke itself, so who sees the count has not seen the poke."""
        with self._lock:
            self.wanted[id_] += 1

    def claimed(self, id_: str) -> None:
        with self._lock:
            assert id_ not in self._at_it, f"{id_} is claimed twice"
            self._at_it.add(id_)
            self.seen[id_] = self.wanted[id_]

    def settling(self, id_: str) -> None:
        with self._lock:
            self._at_it.remove(id_)


def test_claimers_and_pokers_lose_nothing_and_share_nothing(database_url: str, open_store: Opener) -> None:
    store = open_store(database_url, busy_timeout_seconds=30)
    tally, pokers_are_done = Tally(), threading.Event()

    with ThreadPoolExecutor(6) as threads:
        claimers = [threads.submit(_claim_all, store, tally, f"c-{n}", pokers_are_done) for n in range(3)]
        pokers = [threads.submit(_poke_all, store, tally, start) for start in range(3)]
        try:
            for each in pokers:
                each.result(timeout=60)
        finally:
            pokers_are_done.set()
        for each in claimers:
            each.result(timeout=60)

    assert tally.seen == dict(tally.wanted)


def _poke_all(store: Store, tally: Tally, start: int) -> None:
    for number in range(25):
        id_ = f"thing-{(start + number) % 6}"
        tally.poked(id_)
        store.write(lambda tx, id_=id_: tx.work.poke("thing", id_))  # type: ignore[misc]


def _claim_all(store: Store, tally: Tally, name: str, pokers_are_done: threading.Event) -> None:
    while True:
        was_done = pokers_are_done.is_set()
        items = store.write(lambda tx: tx.work.claim("thing", name, 2, 600))
        for item in items:
            tally.claimed(item.id)
            tally.settling(item.id)
            settle(store, item)
        if was_done and not items:
            return


def test_two_claimers_at_the_same_time_share_what_is_due(postgresql_url: str, open_store: Opener) -> None:
    """Neither waits for the other: rows that another transaction is claiming are skipped."""
    store = open_store(postgresql_url)
    for id_ in ("a", "b", "c"):
        poke(store, id_)
    has_claimed, may_commit = threading.Event(), threading.Event()

    def slow(tx: Tx) -> list[WorkItem]:
        items = tx.work.claim("job", "slow", 2, TTL_SECONDS)
        has_claimed.set()
        may_commit.wait(10)
        return items

    with ThreadPoolExecutor(1) as threads:
        slowly = threads.submit(store.write, slow)
        has_claimed.wait(10)
        quickly = claim(store, "quick")
        may_commit.set()

        assert (ids(slowly.result(timeout=10)), ids(quickly)) == (["a", "b"], ["c"])
