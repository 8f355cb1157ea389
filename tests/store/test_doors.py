"""The two doors: what is kept, what is not, and what a caller hears when the database is away."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.domain.errors import Bug, Conflict, Invalid, Unavailable
from controlplane.domain.ids import ProjectId
from controlplane.store import Store, Tx
from tests import factories
from tests.databases import Opener
from tests.store.planting import locked, plant, raw

SHORT_SECONDS = 0.05


def test_what_a_unit_wrote_is_read_afterwards(store: Store) -> None:
    store.write(lambda tx: tx.projects.add(factories.project()))

    with store.read() as tx:
        assert tx.projects.by_name("default") == factories.project()


def test_a_unit_returns_its_value(store: Store) -> None:
    assert store.write(lambda tx: tx.projects.list(None, 10)) == []


def test_what_a_unit_raises_is_raised_and_nothing_of_it_is_kept(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project())
        raise KeyError("halfway")

    with pytest.raises(KeyError, match="halfway"):
        store.write(unit)

    with store.read() as tx:
        assert tx.projects.list(None, 10) == []


def test_a_crash_inside_a_unit_is_raised_and_the_store_works_on(store: Store) -> None:
    class Crash(BaseException):
        pass

    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project())
        raise Crash

    with pytest.raises(Crash):
        store.write(unit)

    store.write(lambda tx: tx.projects.add(factories.project()))


def test_a_failing_unit_in_a_group_keeps_the_others(store: Store) -> None:
    plant(store)
    gate = threading.Event()

    def first(tx: Tx) -> None:
        tx.projects.add(factories.project(2))
        gate.wait(10)

    def fails(tx: Tx) -> None:
        tx.projects.add(factories.project(3))
        raise KeyError("mine alone")

    def violates(tx: Tx) -> None:
        tx.projects.add(factories.project(4))
        tx.queues.add(factories.queue(1))

    with ThreadPoolExecutor(8) as threads:
        units: list[Callable[[Tx], None]] = [first, fails, violates]
        units += [lambda tx, n=n: tx.projects.add(factories.project(n)) for n in (5, 6)]  # type: ignore[misc]
        written = [threads.submit(store.write, unit) for unit in units]
        gate.set()
        raised = [type(each.exception(timeout=10)) for each in written]

    assert raised == [type(None), KeyError, Conflict, type(None), type(None)]
    with store.read() as tx:
        assert [project.name for project in tx.projects.list("project-", 10)] == [
            "project-2",
            "project-5",
            "project-6",
        ]


def test_units_that_wait_together_are_committed_together(sqlite_url: str, open_store: Opener) -> None:
    store = open_store(sqlite_url)
    started, gate = threading.Event(), threading.Event()

    def first(tx: Tx) -> None:
        started.set()
        gate.wait(10)
        tx.projects.add(factories.project(1))

    with raw(sqlite_url) as other, ThreadPoolExecutor(8) as threads:
        before = other.execute("PRAGMA data_version")[0][0]
        written = [threads.submit(store.write, first)]
        started.wait(10)
        doors = store._doors
        written.extend(threads.submit(store.write, _adds_project(number)) for number in range(2, 8))
        while doors._requests.qsize() < 6:  # type: ignore[attr-defined]
            time.sleep(0.001)  # poll
        gate.set()
        for each in written:
            each.result(timeout=10)

        assert len(other.execute("SELECT id FROM projects")) == 7
        assert other.execute("PRAGMA data_version")[0][0] == before + 1


def _adds_project(number: int) -> Callable[[Tx], None]:
    return lambda tx: tx.projects.add(factories.project(number))


def test_a_commit_waits_for_the_disk(sqlite_url: str, open_store: Opener) -> None:
    """A kill cannot show it: only a power cut loses what the system still holds in memory."""
    store = open_store(sqlite_url)
    store.write(lambda tx: tx.projects.add(factories.project()))

    writer = store._doors._writer  # type: ignore[attr-defined]
    assert writer.control("PRAGMA synchronous").fetchone() == (2,)
    assert writer.control("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.control("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_unit_that_swallows_a_failure_of_the_database_is_told_that_nothing_was_kept(store: Store) -> None:
    plant(store)

    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project(2))
        with pytest.raises(Conflict):
            tx.projects.add(factories.project(1))

    with pytest.raises(Conflict, match=r"pk_projects|uq_projects_name"):
        store.write(unit)

    with store.read() as tx:
        assert tx.projects.by_name("project-2") is None


def test_nothing_runs_after_a_failure_in_the_same_unit(store: Store) -> None:
    plant(store)

    def unit(tx: Tx) -> None:
        with pytest.raises(Conflict):
            tx.projects.add(factories.project(1))
        tx.projects.get(ProjectId("project-1"))

    with pytest.raises(Bug, match="nothing more runs in this transaction"):
        store.write(unit)


def test_a_transaction_that_is_over_runs_nothing(store: Store) -> None:
    with store.read() as reading:
        pass
    kept = store.write(lambda tx: tx)

    for tx in (reading, kept):
        with pytest.raises(Bug, match="the transaction is over"):
            tx.projects.add(factories.project())


def test_calling_write_inside_a_unit_is_a_bug(store: Store) -> None:
    with pytest.raises(Bug, match="a unit calls write"):
        store.write(lambda _: store.write(lambda tx: tx.projects.list(None, 1)))

    store.write(lambda tx: tx.projects.add(factories.project()))


def test_a_reader_sees_one_snapshot(store: Store) -> None:
    with store.read() as tx:
        before = tx.projects.list(None, 10)
        store.write(lambda other: other.projects.add(factories.project()))
        assert tx.projects.list(None, 10) == before == []


def test_a_reader_cannot_write(store: Store) -> None:
    with store.read() as tx, pytest.raises((Bug, Unavailable)):
        tx.projects.add(factories.project())


def test_the_clock_stands_still_within_a_transaction_and_is_about_now(store: Store) -> None:
    def unit(tx: Tx) -> bool:
        return tx.now is tx.now

    assert store.write(unit)
    with store.read() as tx:
        earlier = tx.now
    with store.read() as tx:
        assert tx.now >= earlier


def test_a_given_clock_takes_the_place_of_the_databases(database_url: str, open_store: Opener) -> None:
    store = open_store(database_url, now=lambda: factories.after(5))

    assert store.write(lambda tx: tx.now) == factories.after(5)
    with store.read() as tx:
        assert tx.now == factories.after(5)


def test_the_change_marker_differs_after_a_commit_of_anyone(database_url: str, open_store: Opener) -> None:
    store, other = open_store(database_url), open_store(database_url)
    first = store.change_marker()
    assert store.change_marker() == first

    other.write(lambda tx: tx.projects.add(factories.project(1)))
    second = store.change_marker()
    store.write(lambda tx: tx.projects.add(factories.project(2)))
    third = store.change_marker()

    assert len({str(first), str(second), str(third)}) == 3


def test_a_change_that_began_long_ago_moves_the_marker_when_it_is_committed(
    postgresql_url: str, open_store: Opener
) -> None:
    store = open_store(postgresql_url)
    with raw(postgresql_url) as old:
        old.execute("BEGIN")
        old.execute("INSERT INTO projects VALUES ('a', 'a', 0)")
        store.write(lambda tx: tx.projects.add(factories.project()))
        before = store.change_marker()
        old.execute("COMMIT")
        assert store.change_marker() != before


def test_a_locked_database_is_unavailable_and_works_again_afterwards(
    database_url: str, open_store: Opener
) -> None:
    store = open_store(database_url, busy_timeout_seconds=SHORT_SECONDS)
    with locked(database_url), pytest.raises(Unavailable):
        store.write(lambda tx: tx.projects.add(factories.project()))

    store.write(lambda tx: tx.projects.add(factories.project()))

    with store.read() as tx:
        assert tx.projects.list(None, 10) == [factories.project()]


def test_every_unit_of_a_group_hears_that_the_database_is_locked(
    database_url: str, open_store: Opener
) -> None:
    store = open_store(database_url, busy_timeout_seconds=SHORT_SECONDS)
    with locked(database_url), ThreadPoolExecutor(4) as threads:
        written = [threads.submit(store.write, _adds_project(number)) for number in range(1, 5)]
        assert [type(each.exception(timeout=30)) for each in written] == [Unavailable] * 4


def test_readers_read_on_while_another_writes(sqlite_url: str, open_store: Opener) -> None:
    store = open_store(sqlite_url, busy_timeout_seconds=SHORT_SECONDS)
    plant(store)
    with locked(sqlite_url), store.read() as tx:
        assert tx.projects.by_name("default") is not None


def test_a_file_that_cannot_be_opened_is_unavailable_until_it_can(tmp_path: Path, open_store: Opener) -> None:
    store = open_store(f"sqlite:///{tmp_path}/later/crossdock.db")
    with pytest.raises(Unavailable):
        store.write(lambda tx: tx.projects.list(None, 1))
    with pytest.raises(Unavailable), store.read():
        pass

    (tmp_path / "later").mkdir()
    store.migrate()

    assert store.write(lambda tx: tx.projects.list(None, 1)) == []


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, open_store: Opener) -> None:
    store = open_store(f"postgresql://postgres@/absent?host={tmp_path}")

    with pytest.raises(Unavailable):
        store.write(lambda tx: tx.projects.list(None, 1))
    with pytest.raises(Unavailable):
        store.migrate()


def test_connections_that_died_while_idle_are_replaced(postgresql_url: str, open_store: Opener) -> None:
    store = open_store(postgresql_url)
    plant(store)
    with raw(postgresql_url) as operator:
        operator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    with store.read() as tx:
        assert tx.projects.by_name("default") is not None


def test_a_connection_that_dies_inside_a_unit_is_unavailable(postgresql_url: str, open_store: Opener) -> None:
    store = open_store(postgresql_url)

    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project())
        with raw(postgresql_url) as operator:
            operator.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        tx.queues.add(factories.queue())

    with pytest.raises(Unavailable):
        store.write(unit)

    assert store.write(lambda tx: tx.projects.list(None, 10)) == []


def test_a_deadlock_is_played_again(postgresql_url: str, open_store: Opener) -> None:
    store = open_store(postgresql_url)
    plant(store, jobs=2)
    both_are_in = threading.Barrier(2)
    tries: list[str] = []

    def crossing(first: str, second: str) -> Callable[[Tx], None]:
        def unit(tx: Tx) -> None:
            tries.append(first)
            tx.work.poke("job", first)
            if tries.count(first) == 1:
                both_are_in.wait(10)
            tx.work.poke("job", second)

        return unit

    store.write(lambda tx: tx.work.poke("job", "a"))
    store.write(lambda tx: tx.work.poke("job", "b"))
    with ThreadPoolExecutor(2) as threads:
        written = [threads.submit(store.write, unit) for unit in (crossing("a", "b"), crossing("b", "a"))]
        for each in written:
            each.result(timeout=30)

    assert len(tries) >= 3


def test_a_store_that_is_closed_takes_no_more_units(sqlite_url: str) -> None:
    store = Store.open(sqlite_url)
    store.write(lambda tx: tx.projects.add(factories.project()))
    store.close()

    with pytest.raises(Unavailable):
        store.write(lambda tx: tx.projects.list(None, 1))


class Rude:
    """A turnstile at which giving way goes wrong."""

    def __init__(self, wrong: BaseException) -> None:
        self._wrong = wrong

    def pass_through(self, try_once: Callable[[], bool], _timeout_seconds: float) -> bool:
        return try_once()

    def give_way(self, _at_most_seconds: float) -> None:
        raise self._wrong

    def close(self) -> None:
        """Nothing is open."""


def _written(store: Store, number: int) -> None:
    """In a thread of its own, so that a test ends where a write would not."""
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def write() -> None:
        try:
            store.write(_adds_project(number))
        except BaseException as raised:  # noqa: BLE001 - handed over
            answers.put(raised)
        else:
            answers.put(None)

    threading.Thread(target=write, daemon=True).start()
    if (raised := answers.get(timeout=10)) is not None:
        raise raised


def test_a_writer_that_cannot_give_way_writes_on(sqlite_url: str, open_store: Opener) -> None:
    store = open_store(sqlite_url)
    store._doors._turnstile = Rude(TypeError("no number"))  # type: ignore[attr-defined]

    for number in (1, 2, 3):
        _written(store, number)

    with store.read() as tx:
        assert len(tx.projects.list(None, 10)) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_writer_has_ended_nobody_waits_for_it(sqlite_url: str, open_store: Opener) -> None:
    store = open_store(sqlite_url)
    store._doors._turnstile = Rude(SystemExit())  # type: ignore[attr-defined]
    _written(store, 1)
    store._doors._thread.join(10)  # type: ignore[attr-defined]

    with pytest.raises(Unavailable):
        _written(store, 2)


class Stubborn:
    """A connection that cannot commit, and cannot be closed afterwards."""

    dialect = "sqlite"
    in_transaction = True

    def try_to_begin(self) -> bool:
        return True

    def control(self, text: str) -> None:
        if text == "COMMIT":
            raise Unavailable("the database is away")

    def close(self) -> None:
        raise OSError("cannot be closed")


def test_what_was_not_committed_is_never_told_as_written(sqlite_url: str, open_store: Opener) -> None:
    store = open_store(sqlite_url)
    store._doors._writer = Stubborn()  # type: ignore[attr-defined]

    with pytest.raises(Unavailable, match="is away"):
        store.write(lambda _: None)

    _written(store, 1)


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        Store.open("mysql://somewhere/x")

    assert refused.value.field == "database_url"


def test_a_number_that_does_not_fit_is_refused_as_invalid(store: Store) -> None:
    plant(store)
    huge = factories.ask(1, tasks=2**70)

    with pytest.raises(Invalid):
        store.write(lambda tx: tx.jobs.add(factories.job(1), huge, spec="{}", schema_version=1, labels={}))
