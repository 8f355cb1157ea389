"""A database that was restored: the feed goes on in a server that numbers its transactions anew."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from controlplane.domain.errors import NoLongerKept
from controlplane.runtime.bell import Bell
from controlplane.runtime.scheduling import SchedulingLoop
from controlplane.store import Store
from controlplane.store.events import Cursor
from schedulers.priority import Priority
from tests import factories
from tests.databases import Opener
from tests.factories import after
from tests.store.planting import add_job, plant, raw

OLD_XIDS: Final = 10**12
"""Added to those of this server, as if a much older one had written the events."""


def restored(url: str, store: Store, *, pruned: int = 0) -> None:
    """Ten events and those of two jobs, out of the order of their numbers, and as many pruned."""
    plant(store)
    store.write(lambda tx: tx.events.add(*map(factories.event, range(1, 11))))
    if pruned:
        assert store.write(lambda tx: tx.retention.prune_events(after(999), pruned)) == pruned
    with raw(url) as operator:
        operator.execute(f"UPDATE events SET xid = {OLD_XIDS} - seq")  # noqa: S608 - a number
        operator.execute(f"UPDATE feed_floor SET xid = {OLD_XIDS} - 1000000")  # noqa: S608


def test_the_scheduler_goes_on_in_another_server(postgresql_url: str, open_store: Opener) -> None:
    store = open_store(postgresql_url)
    restored(postgresql_url, store, pruned=3)
    reopened = open_store(postgresql_url)
    reopened.migrate()
    loop = SchedulingLoop(
        store=reopened,
        policy=Priority(),
        bell=Bell(reopened.change_marker),
        holder="me",
        leader_seconds=10,
    )
    loop.step()
    reopened.write(lambda tx: add_job(tx, factories.job(1), factories.ask(1)))

    loop.step()

    with reopened.read() as tx:
        assert [each.ask_id for each in tx.attempts.live()] == ["ask-1"]


@pytest.mark.parametrize("pruned", [0, 3])
def test_no_event_is_lost_and_new_ones_come_behind(
    postgresql_url: str, open_store: Opener, pruned: int
) -> None:
    store = open_store(postgresql_url)
    restored(postgresql_url, store, pruned=pruned)
    with raw(postgresql_url) as operator:
        numbers = [row[0] for row in operator.execute("SELECT subject FROM events ORDER BY seq")]

    store.migrate()

    with store.read() as tx:
        found, head = tx.events.after(None, 100)
    assert [event.subject for _, event in found] == numbers
    store.write(lambda tx: tx.events.add(factories.event(77)))
    with store.read() as tx:
        (following,) = tx.events.after(head, 100)[0]
        (last,) = tx.events.after(found[-1][0], 100)[0]
    assert following == last
    assert last[1] == factories.event(77)


def test_a_cursor_of_the_old_server_is_refused(postgresql_url: str, open_store: Opener) -> None:
    store = open_store(postgresql_url)
    restored(postgresql_url, store)
    store.migrate()
    store.write(lambda tx: tx.events.add(factories.event(77)))
    with store.read() as tx:
        oldest = tx.events.after(None, 100)[0][0][0]

        for xid in (1, OLD_XIDS):  # behind what this server has come to, and ahead of it
            with pytest.raises(NoLongerKept, match="was restored") as refused:
                tx.events.after(str(Cursor(xid=xid, seq=2)), 10)
            again, _ = tx.events.after(str(refused.value.limit), 10)
            assert again[0][0] == oldest


def test_a_cursor_from_behind_the_backup_is_refused(store: Store) -> None:
    store.write(lambda tx: tx.events.add(factories.event(1)))
    with store.read() as tx:
        head = Cursor.parse(tx.events.head())
        lost = Cursor(xid=head.xid, seq=head.seq + 1)
        for read in (tx.events.after, tx.events.subjects_after):
            with pytest.raises(NoLongerKept, match="was restored"):
                read(str(lost), 10)


def test_processes_that_start_at_once_settle_it_once(postgresql_url: str, open_store: Opener) -> None:
    stores = [open_store(postgresql_url) for _ in range(4)]
    restored(postgresql_url, stores[0])

    def start(store: Store) -> None:
        store.migrate()
        store.write(lambda tx: tx.events.add(factories.event(77)))

    with ThreadPoolExecutor(len(stores)) as threads:
        for done in [threads.submit(start, store) for store in stores]:
            done.result(timeout=60)

    with raw(postgresql_url) as operator:
        of_the_old = operator.execute("SELECT count(*) FROM events WHERE xid = 0 AND subject <> 'thing-77'")
        of_this = operator.execute("SELECT count(*) FROM events WHERE xid > 0 AND subject = 'thing-77'")
        marks = operator.execute(
            "SELECT count(*) FROM feed_floor f JOIN events e ON e.seq = f.seq AND e.xid = 0"
        )
    with stores[0].read() as tx:
        assert len(tx.events.after(None, 100)[0]) == of_the_old[0][0] + of_this[0][0]
    assert of_this == [(4,)]
    assert marks == [(1,)]


def test_a_database_at_home_stays_as_it_is(postgresql_url: str, open_store: Opener) -> None:
    store = open_store(postgresql_url)
    plant(store)
    before = store.change_marker()

    store.migrate()

    assert store.change_marker() == before
