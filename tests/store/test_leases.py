"""Leases: one holder at a time, tokens that only grow, and a fence that the old holder cannot pass."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane.domain.errors import StaleWrite
from controlplane.domain.leases import Lease, LeaseState
from controlplane.store import Store, Tx
from tests import factories
from tests.databases import Opener
from tests.store.planting import raw
from tests.store.test_work import Clock

NAME = "scheduler"
TTL_SECONDS = 10.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def first(database_url: str, open_store: Opener, clock: Clock) -> Store:
    return open_store(database_url, now=clock, busy_timeout_seconds=30)


@pytest.fixture
def second(database_url: str, open_store: Opener, clock: Clock) -> Store:
    return open_store(database_url, now=clock, busy_timeout_seconds=30)


def take(store: Store, holder: str) -> Lease | None:
    return store.write(lambda tx: tx.leases.take(NAME, holder, TTL_SECONDS, f"http://{holder}"))


def taken(store: Store, holder: str) -> Lease:
    lease = take(store, holder)
    assert lease is not None
    return lease


def fenced(lease: Lease, number: int) -> object:
    def unit(tx: Tx) -> None:
        tx.leases.fence(lease)
        tx.projects.add(factories.project(number))

    return unit


def test_a_free_lease_is_taken(first: Store) -> None:
    lease = taken(first, "a")

    assert (lease.name, lease.holder, lease.token, lease.state) == (NAME, "a", 1, LeaseState.HELD)
    assert (lease.until, lease.address) == (factories.after(TTL_SECONDS), "http://a")
    with first.read() as tx:
        assert tx.leases.get(NAME) == lease
        assert tx.leases.get("another") is None


def test_nobody_takes_what_another_still_holds(first: Store, second: Store, clock: Clock) -> None:
    taken(first, "a")
    clock.seconds = TTL_SECONDS - 0.001

    assert take(second, "b") is None


def test_a_look_says_whether_taking_it_would_be_in_vain(first: Store, second: Store, clock: Clock) -> None:
    def is_in_vain(holder: str) -> bool:
        with second.read() as tx:
            return tx.leases.is_with_another(NAME, holder)

    assert not is_in_vain("b")
    lease = taken(first, "a")
    assert (is_in_vain("a"), is_in_vain("b")) == (False, True)

    clock.seconds = TTL_SECONDS
    assert not is_in_vain("b")
    clock.seconds = 0
    first.write(lambda tx: tx.leases.release(lease))
    assert not is_in_vain("b")


def test_an_expired_lease_is_taken_over_with_the_next_token(
    first: Store, second: Store, clock: Clock
) -> None:
    old = taken(first, "a")
    clock.seconds = TTL_SECONDS
    new = taken(second, "b")

    assert new.token == old.token + 1
    with pytest.raises(StaleWrite, match="lease scheduler: no longer held with token 1"):
        first.write(lambda tx: tx.leases.renew(old, TTL_SECONDS))
    with pytest.raises(StaleWrite):
        first.write(fenced(old, 1))  # type: ignore[arg-type]
    second.write(fenced(new, 2))  # type: ignore[arg-type]
    with first.read() as tx:
        assert [project.id for project in tx.projects.list(None, 10)] == ["project-2"]


def test_a_holder_that_comes_back_takes_over_from_itself(first: Store) -> None:
    old = taken(first, "a")
    new = taken(first, "a")

    assert new.token == old.token + 1
    with pytest.raises(StaleWrite):
        first.write(fenced(old, 1))  # type: ignore[arg-type]


def test_a_renewed_lease_lasts_longer(first: Store, second: Store, clock: Clock) -> None:
    lease = taken(first, "a")
    clock.seconds = 8
    renewed = first.write(lambda tx: tx.leases.renew(lease, TTL_SECONDS))
    clock.seconds = 17

    assert renewed.until == factories.after(18)
    assert take(second, "b") is None


def test_a_released_lease_is_free_at_once_and_its_row_stays(
    first: Store, second: Store, database_url: str
) -> None:
    old = taken(first, "a")
    first.write(lambda tx: tx.leases.release(old))
    first.write(lambda tx: tx.leases.release(old))

    assert taken(second, "b").token == 2
    with raw(database_url) as other:
        rows = other.execute("SELECT token, state, came_from FROM leases ORDER BY token")
    assert rows == [(1, "released", "held"), (2, "held", "-")]


def test_releasing_what_was_taken_over_leaves_the_new_holder_alone(
    first: Store, second: Store, clock: Clock
) -> None:
    old = taken(first, "a")
    clock.seconds = TTL_SECONDS
    new = taken(second, "b")
    first.write(lambda tx: tx.leases.release(old))

    with second.read() as tx:
        assert tx.leases.get(NAME) == new


def test_a_takeover_waits_for_the_fenced_commit_of_the_old_holder(
    first: Store, second: Store, clock: Clock
) -> None:
    """A plain read instead of a fence would let the old holder commit after the takeover."""
    old = taken(first, "a")
    is_inside, may_commit = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(tx: Tx) -> None:
        tx.leases.fence(old)
        is_inside.set()
        may_commit.wait(10)
        tx.projects.add(factories.project(1))
        order.append("old holder")

    def take_over() -> None:
        taken(second, "b")
        order.append("takeover")

    with ThreadPoolExecutor(2) as threads:
        written = threads.submit(first.write, slow)
        is_inside.wait(10)
        clock.seconds = TTL_SECONDS
        over = threads.submit(take_over)
        for _ in range(20):
            assert not over.done()
            time.sleep(0.01)  # poll
        may_commit.set()
        written.result(timeout=20)
        over.result(timeout=20)

    assert order == ["old holder", "takeover"]
    with pytest.raises(StaleWrite):
        first.write(fenced(old, 2))  # type: ignore[arg-type]


def test_of_many_who_take_at_once_one_gets_it(first: Store, second: Store, clock: Clock) -> None:
    for round_ in range(5):
        clock.seconds = round_ * TTL_SECONDS
        with ThreadPoolExecutor(8) as threads:
            stores = [first, second] * 4
            results = [threads.submit(take, store, f"holder-{round_}-{n}") for n, store in enumerate(stores)]
            leases = [lease for each in results if (lease := each.result(timeout=30)) is not None]

        assert [lease.token for lease in leases] == [round_ + 1]
