"""Retention: what is old goes, whole, and nothing goes that something else still needs."""

from datetime import timedelta

import pytest

from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import NoLongerKept
from controlplane.domain.ids import AskId, AttemptId, ClusterId, JobId
from controlplane.domain.jobs import JobState
from controlplane.store import JobPlace, MetricRow, RankRow, Store, Tx
from controlplane.store.schema import METADATA
from tests import factories
from tests.factories import NOON, after
from tests.store.planting import add_job, plant, raw

ONE = AttemptId("attempt-1")
DONE = {"state": JobState.CANCELLED, "version": 2}
OF_JOBS = (
    "jobs",
    "asks",
    "job_labels",
    "dependencies",
    "attempts",
    "seats",
    "ranks",
    "metrics",
    "log_chunks",
)


@pytest.fixture
def planted(store: Store) -> Store:
    """Job 1 is finished and has all that a job can have; 2 is finished, 3 is queued."""

    def unit(tx: Tx) -> None:
        add_job(tx, factories.job(1, **DONE), factories.ask(1), {"team": "vision"})
        add_job(tx, factories.job(2, **DONE, depends_on=(JobId("job-1"),)), factories.ask(2))
        add_job(tx, factories.job(3), factories.ask(3))
        tx.attempts.add(factories.attempt(1, state=AttemptState.ENDED), [factories.seat(1)])
        tx.records.add_metrics(
            [
                MetricRow(
                    attempt_id=ONE, job_id=JobId("job-1"), rank=0, seq=1, step=1, at=NOON, values={"a": 1.0}
                )
            ]
        )
        tx.records.append_log(ONE, 0, 0, b"\x00hello")
        tx.records.save_rank(ONE, 0, RankRow(acked_seq=1, log_offset=6))
        tx.work.poke("job", "job-1")
        tx.work.poke("attempt", ONE)

    plant(store)
    store.write(unit)
    return store


def remove(store: Store, *numbers: int) -> list[JobId]:
    versions = {JobId(f"job-{number}"): 2 for number in numbers}
    return store.write(lambda tx: tx.retention.remove(versions))


def rows_of(url: str, table: str) -> int:
    with raw(url) as operator:
        return int(operator.execute(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - a table of ours


def test_the_walk_shows_old_jobs_in_every_state_oldest_first(planted: Store) -> None:
    with planted.read() as tx:
        first = tx.retention.walk(None, after(60), 2)
        rest = tx.retention.walk(first[-1].place, after(60), 2)
        assert tx.retention.walk(None, after(1), 9) == first[:1]

    assert [(job.place.job_id, job.is_finished) for job in [*first, *rest]] == [
        ("job-1", True),
        ("job-2", True),
        ("job-3", False),
    ]


def test_a_removed_job_leaves_nothing_but_its_events(planted: Store, database_url: str) -> None:
    events = rows_of(database_url, "events")

    assert remove(planted, 1, 2) == ["job-1", "job-2"]

    left = {table: rows_of(database_url, table) for table in OF_JOBS}
    assert left == dict.fromkeys(OF_JOBS, 0) | {"jobs": 1, "asks": 1}
    assert rows_of(database_url, "work") == 0
    assert rows_of(database_url, "events") == events
    with planted.read() as tx:
        assert tx.counts.wrong() == []


def test_what_changed_since_it_was_looked_at_stays(planted: Store) -> None:
    assert planted.write(lambda tx: tx.retention.remove({JobId("job-1"): 1})) == []


def test_what_an_unfinished_job_depends_on_stays(planted: Store) -> None:
    held = factories.job(4, state=JobState.HELD, depends_on=(JobId("job-2"),))
    planted.write(lambda tx: add_job(tx, held, factories.ask(4)))

    assert remove(planted, 1, 2) == ["job-1"]


def test_a_chain_of_retries_goes_from_its_end(planted: Store) -> None:
    again = factories.job(4, **DONE, retry_of=JobId("job-1"))
    planted.write(lambda tx: add_job(tx, again, factories.ask(4)))

    assert remove(planted, 1, 4) == ["job-4"]
    assert remove(planted, 1, 4) == ["job-1"]


@pytest.mark.parametrize("has_ended", [True, False])
def test_an_heir_may_go_before_its_victim(planted: Store, *, has_ended: bool) -> None:
    """The victim's job went on for longer, or holds its seats to this day where nobody answers."""
    victim = factories.attempt(3)
    stopping = victim.stop(Outcome.PREEMPTED, at=NOON, reason="for ask-1")

    def unit(tx: Tx) -> None:
        tx.attempts.add(victim, [factories.seat(3, rank) for rank in range(2)])
        tx.heirs.bequeath([victim.id], AskId("ask-1"))
        tx.attempts.save(stopping)
        if has_ended:
            tx.attempts.save(stopping.end(Outcome.PREEMPTED, at=NOON))

    planted.write(unit)

    assert remove(planted, 1) == ["job-1"]

    with planted.read() as tx:
        assert [seat.heir for seat in tx.attempts.seats(victim.id)] == [None, None]


def test_rows_of_jobs_come_whole_and_parents_first(planted: Store) -> None:
    with planted.read() as tx:
        rows = list(tx.retention.rows([JobId("job-1")]))

    assert {
        "jobs",
        "asks",
        "job_labels",
        "attempts",
        "seats",
        "ranks",
        "metrics",
        "log_chunks",
        "events",
    } == {table for table, _ in rows}
    assert [table for table, _ in rows][:2] == ["jobs", "asks"]
    for table, row in rows:
        assert set(row) == {column.name for column in METADATA.tables[table].c}
    chunk = next(row for table, row in rows if table == "log_chunks")
    assert chunk == {"attempt_id": ONE, "rank": 0, "start": 0, "data": "AGhlbGxv"}


def test_dropped_logs_read_as_empty(planted: Store) -> None:
    with planted.read() as tx:
        assert tx.retention.logged([JobId("job-1"), JobId("job-2")]) == ["job-1"]

    planted.write(lambda tx: tx.retention.drop_logs([JobId("job-1")]))

    with planted.read() as tx:
        assert tx.retention.logged([JobId("job-1")]) == []
        assert tx.records.read_log(ONE, 0, 0, 100) == b""
        assert tx.records.rank(ONE, 0) == RankRow(acked_seq=1)


def add_events(store: Store, *numbers: int) -> None:
    store.write(lambda tx: tx.events.add(*(factories.event(number) for number in numbers)))


def test_a_reader_behind_the_pruned_events_hears_of_it(store: Store) -> None:
    with store.read() as tx:
        beginning = tx.events.head()
    add_events(store, 1, 2, 3, 4)
    with store.read() as tx:
        cursors = [cursor for cursor, _ in tx.events.after(beginning, 10)[0]]

    assert store.write(lambda tx: tx.retention.prune_events(after(2), 10)) == 2

    with store.read() as tx:
        for lost in (beginning, cursors[0]):
            with pytest.raises(NoLongerKept) as refused:
                tx.events.after(lost, 10)
            with pytest.raises(NoLongerKept):
                tx.events.subjects_after(lost, 10)
            assert (refused.value.field, refused.value.limit) == ("after", cursors[1])
        assert [event.subject for _, event in tx.events.after(cursors[1], 10)[0]] == ["thing-3", "thing-4"]
        assert tx.events.after(None, 10) == tx.events.after(cursors[1], 10)


def test_the_newest_event_stays_and_new_ones_follow_it(store: Store) -> None:
    add_events(store, 1, 2)
    with store.read() as tx:
        head = tx.events.head()

    assert store.write(lambda tx: tx.retention.prune_events(after(999), 10)) == 1
    assert store.write(lambda tx: tx.retention.prune_events(after(999), 10)) == 0

    add_events(store, 3)
    with store.read() as tx:
        assert [event.subject for _, event in tx.events.after(head, 10)[0]] == ["thing-3"]


def test_events_are_pruned_a_few_at_a_time(store: Store) -> None:
    add_events(store, *range(1, 8))

    pruned = [store.write(lambda tx: tx.retention.prune_events(after(999), 3)) for _ in range(4)]

    assert pruned == [3, 3, 0, 0]


def test_the_newest_lease_of_a_name_stays(store: Store) -> None:
    for _ in range(3):
        lease = store.write(lambda tx: tx.leases.take("x", "me", 5))
        assert lease is not None
        store.write(lambda tx, lease=lease: tx.leases.release(lease))  # type: ignore[misc]

    def unit(tx: Tx) -> int:
        return tx.retention.prune_leases(tx.now + timedelta(days=1))

    assert store.write(unit) == 2
    lease = store.write(lambda tx: tx.leases.take("x", "me", 5))
    assert lease is not None
    assert lease.token == 4


def test_departed_nodes_go_when_no_kept_attempt_sat_on_them(planted: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.clusters.add(factories.cluster(2, state=ClusterState.DETACHED))
        tx.nodes.put(factories.node(2, cluster_id=ClusterId("cluster-2")))
        tx.nodes.put(factories.node(1, gone_at=NOON))
        tx.nodes.put(factories.node(3))

    planted.write(unit)

    def prune(tx: Tx) -> int:
        return tx.retention.prune_nodes(after(60), 10)

    assert planted.write(prune) == 1
    remove(planted, 1, 2)
    assert planted.write(prune) == 1
    with planted.read() as tx:
        assert [node.id for node in tx.nodes.present()] == ["node-3"]


def test_the_walk_goes_on_behind_a_place(planted: Store) -> None:
    place = JobPlace(submitted_us=0, job_id=JobId("none"))
    with planted.read() as tx:
        assert tx.retention.walk(place, after(60), 9) == tx.retention.walk(None, after(60), 9)
