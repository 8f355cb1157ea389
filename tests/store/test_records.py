"""Records: metrics, checkpoints, logs by offset, and how far each rank has come."""

from dataclasses import replace

import pytest

from controlplane.domain.attempts import AttemptState
from controlplane.domain.errors import Conflict
from controlplane.domain.ids import AskId, AttemptId, JobId
from controlplane.store import CheckpointRow, MetricRow, NumberedMetric, RankRow, Store, Tx
from tests import factories
from tests.store.planting import plant

ONE, TWO = AttemptId("attempt-1"), AttemptId("attempt-2")
JOB = JobId("job-1")


@pytest.fixture
def planted(store: Store) -> Store:
    """Two attempts of the first job."""
    plant(store, jobs=2)

    def unit(tx: Tx) -> None:
        tx.attempts.add(factories.attempt(1, state=AttemptState.ENDED), [])
        tx.attempts.add(factories.attempt(2, job_id=JOB, ask_id=AskId("ask-1"), number=2), [])

    store.write(unit)
    return store


def metric(attempt_id: AttemptId, rank: int, seq: int, **values: float | None) -> MetricRow:
    return MetricRow(
        attempt_id=attempt_id,
        job_id=JOB,
        rank=rank,
        seq=seq,
        step=seq * 10,
        at=factories.after(seq),
        values=values,
    )


def checkpoint(attempt_id: AttemptId, seq: int, step: int) -> CheckpointRow:
    return CheckpointRow(
        attempt_id=attempt_id,
        job_id=JOB,
        rank=0,
        seq=seq,
        step=step,
        uri=f"file:///checkpoints/{step}",
        sha256=None if step % 2 else "ab" * 32,
        at=factories.after(step),
    )


def append(store: Store, offset: int, data: bytes) -> int:
    return store.write(lambda tx: tx.records.append_log(ONE, 0, offset, data))


def read(store: Store, offset: int, limit_bytes: int = 1000) -> bytes:
    with store.read() as tx:
        return tx.records.read_log(ONE, 0, offset, limit_bytes)


def test_a_rank_that_never_reported_has_zeros(planted: Store) -> None:
    with planted.read() as tx:
        assert tx.records.rank(ONE, 0) == RankRow()
        assert tx.records.ranks(ONE) == {}


def test_what_was_read_before_another_wrote_takes_nothing_back(planted: Store) -> None:
    """A twin that was held up in its transaction; on PostgreSQL nothing keeps the other from going first."""
    before = RankRow(acked_seq=4, log_offset=10, heartbeat_at=factories.after(1), progress=0.1)
    newest = RankRow(
        acked_seq=9,
        log_offset=30,
        heartbeat_at=factories.after(5),
        exit_code=0,
        exit_reason="finished",
        exited_at=factories.after(4),
        progress=1.0,
        progress_message="done",
    )
    twin = replace(before, acked_seq=5, heartbeat_at=factories.after(3))

    for row in (before, newest, twin):
        planted.write(lambda tx, row=row: tx.records.save_rank(ONE, 0, row))  # type: ignore[misc]

    with planted.read() as tx:
        assert tx.records.rank(ONE, 0) == newest


def test_what_is_new_of_each_of_two_is_kept(planted: Store) -> None:
    logged = RankRow(acked_seq=4, log_offset=10, heartbeat_at=factories.after(2))
    ended = RankRow(
        acked_seq=5,
        heartbeat_at=factories.after(1),
        exit_code=1,
        exit_reason="failed",
        exited_at=factories.after(1),
    )

    for row in (logged, ended):
        planted.write(lambda tx, row=row: tx.records.save_rank(ONE, 0, row))  # type: ignore[misc]

    with planted.read() as tx:
        assert tx.records.rank(ONE, 0) == replace(ended, log_offset=10, heartbeat_at=factories.after(2))


def test_a_rank_comes_back_whole_and_is_replaced(planted: Store) -> None:
    rich = RankRow(
        acked_seq=5,
        log_offset=2**40,
        heartbeat_at=factories.after(1),
        exit_code=-9,
        exit_reason="lease_lost",
        exited_at=factories.after(2),
        progress=0.25,
        progress_message="epoch 1 of 4",
    )
    planted.write(lambda tx: tx.records.save_rank(ONE, 0, RankRow(acked_seq=1)))
    planted.write(lambda tx: tx.records.save_rank(ONE, 0, rich))
    planted.write(lambda tx: tx.records.save_rank(ONE, -1, RankRow()))

    with planted.read() as tx:
        assert tx.records.rank(ONE, 0) == rich
        assert tx.records.ranks(ONE) == {-1: RankRow(), 0: rich}


def test_metrics_are_read_by_attempt_rank_and_seq(planted: Store) -> None:
    rows = [
        metric(ONE, 0, 1, loss=1.5),
        metric(ONE, 0, 2, loss=None),
        metric(ONE, 1, 1),
        metric(TWO, 0, 1, loss=0.5),
    ]
    planted.write(lambda tx: tx.records.add_metrics(rows[::-1]))
    numbered = [NumberedMetric(number=1 if row.attempt_id == ONE else 2, metric=row) for row in rows]

    with planted.read() as tx:
        assert tx.records.metrics(JOB, None, 10) == numbered
        assert tx.records.metrics(JOB, None, 2) == numbered[:2]
        assert tx.records.metrics(JOB, (1, 0, 2), 10) == numbered[2:]
        assert tx.records.metrics(JOB, (2, 0, 1), 10) == []
        assert tx.records.metrics(JobId("job-2"), None, 10) == []


def test_a_metric_that_was_stored_before_is_a_conflict(planted: Store) -> None:
    planted.write(lambda tx: tx.records.add_metrics([metric(ONE, 0, 1)]))

    with pytest.raises(Conflict, match="pk_metrics"):
        planted.write(lambda tx: tx.records.add_metrics([metric(ONE, 0, 2), metric(ONE, 0, 1)]))

    with planted.read() as tx:
        assert len(tx.records.metrics(JOB, None, 10)) == 1


def test_the_newest_checkpoint_is_the_furthest_of_the_newest_attempt_that_has_one(planted: Store) -> None:
    with planted.read() as tx:
        assert tx.records.newest_checkpoint(JOB) is None
        assert tx.records.checkpoints(JOB) == []

    rows = [checkpoint(ONE, 1, 10), checkpoint(ONE, 2, 30), checkpoint(ONE, 3, 21)]
    for row in rows:
        planted.write(lambda tx, row=row: tx.records.add_checkpoint(row))  # type: ignore[misc]
    with planted.read() as tx:
        assert tx.records.newest_checkpoint(JOB) == rows[1]

    resumed = checkpoint(TWO, 1, 22)
    planted.write(lambda tx: tx.records.add_checkpoint(resumed))
    with planted.read() as tx:
        assert tx.records.newest_checkpoint(JOB) == resumed
        assert tx.records.checkpoints(JOB) == [resumed, rows[1], rows[2], rows[0]]


def test_a_log_grows_by_offset(planted: Store) -> None:
    assert append(planted, 0, b"hello ") == 6
    assert append(planted, 6, b"w\x00rld") == 11

    assert read(planted, 0) == b"hello w\x00rld"


def test_what_is_sent_again_is_kept_once(planted: Store) -> None:
    append(planted, 0, b"0123")
    append(planted, 4, b"4567")

    assert append(planted, 0, b"0123") == 8
    assert append(planted, 2, b"23456789") == 10
    assert append(planted, 10, b"") == 10
    assert read(planted, 0) == b"0123456789"


def test_a_gap_in_a_log_is_refused(planted: Store) -> None:
    append(planted, 0, b"0123")

    with pytest.raises(Conflict, match="the log ends at 4, bytes from 5 leave a gap") as refused:
        append(planted, 5, b"5")

    assert (refused.value.field, refused.value.limit) == ("offset", 4)
    assert read(planted, 0) == b"0123"


def test_a_log_is_read_from_anywhere_in_pieces(planted: Store) -> None:
    whole = bytes(range(100))
    for start in range(0, 100, 7):
        append(planted, start, whole[start : start + 7])

    for offset in (0, 1, 6, 7, 8, 50, 99):
        for limit_bytes in (1, 6, 7, 8, 20, 1000):
            assert read(planted, offset, limit_bytes) == whole[offset : offset + limit_bytes]
    assert read(planted, 100) == b""
    assert read(planted, 5000) == b""


def test_logs_of_ranks_and_attempts_are_apart(planted: Store) -> None:
    append(planted, 0, b"mine")
    planted.write(lambda tx: tx.records.append_log(ONE, 1, 0, b"rank"))
    planted.write(lambda tx: tx.records.append_log(TWO, 0, 0, b"attempt"))

    with planted.read() as tx:
        logs = [
            tx.records.read_log(attempt_id, rank, 0, 99)
            for attempt_id, rank in ((ONE, 0), (ONE, 1), (TWO, 0))
        ]
    assert logs == [b"mine", b"rank", b"attempt"]
