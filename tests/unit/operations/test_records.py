"""The plane's side of the job protocol: what is kept, what is repeated, and who is told to end."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from controlplane.domain.attempts import Attempt, Outcome
from controlplane.domain.errors import Gone, Invalid, NotFound, Unauthenticated
from controlplane.domain.ids import AttemptId
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.operations import records
from controlplane.store import RankRow
from controlplane.wire.protocol import RecordAnswer, RecordBatch
from tests.unit.operations.world import World

AT = "2026-03-01T12:00:00+00:00"
LEASE = 60.0


def hello(seq: int = 1) -> dict[str, Any]:
    return {"seq": seq, "kind": "hello", "at": AT, "host": "node-1", "pid": 42}


def metric(seq: int, step: int = 1, **values: float | None) -> dict[str, Any]:
    return {"seq": seq, "kind": "metric", "at": AT, "step": step, "values": values or {"loss": 0.5}}


def checkpoint(seq: int, step: int = 1) -> dict[str, Any]:
    return {
        "seq": seq,
        "kind": "checkpoint",
        "at": AT,
        "step": step,
        "uri": f"file:///c/{step}",
        "sha256": None,
    }


def farewell(seq: int, *, code: int = 0, final: bool = True) -> dict[str, Any]:
    return {"seq": seq, "kind": "exit", "at": AT, "code": code, "reason": "completed", "final": final}


def log(offset: int, data: bytes) -> dict[str, Any]:
    return {"offset": offset, "data": base64.b64encode(data).decode()}


def send(
    plane: World, attempt: Attempt, *said: dict[str, Any], rank: int = 0, log: dict[str, Any] | None = None
) -> RecordAnswer:
    batch = RecordBatch.model_validate({"rank": rank, "records": list(said), "log": log})
    token = attempt_token(plane.context.server_key, attempt.id)
    return records.ingest(plane.context, attempt.id, token, batch)


def rank_row(plane: World, attempt: Attempt, rank: int = 0) -> RankRow:
    with plane.store.read() as tx:
        return tx.records.rank(attempt.id, rank)


def steps(plane: World, attempt: Attempt) -> list[int]:
    with plane.store.read() as tx:
        return [each.metric.step for each in tx.records.metrics(attempt.job_id, None, 100)]


def text(plane: World, attempt: Attempt, rank: int = 0) -> bytes:
    with plane.store.read() as tx:
        return tx.records.read_log(attempt.id, rank, 0, 1000)


def test_hello_grants_a_lease_and_wakes_the_loop(plane: World) -> None:
    attempt = plane.running()
    answer = send(plane, attempt, hello())
    assert answer == RecordAnswer(
        acked_seq=1, log_offset=0, lease_seconds=LEASE, stop=False, grace_seconds=30.0
    )
    assert plane.attempt(attempt.id).lease_until == plane.clock.at + timedelta(seconds=LEASE)
    assert plane.is_poked("attempt", attempt.id)


def test_a_heartbeat_extends_the_lease_and_wakes_nobody(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello())
    plane.is_poked("attempt", attempt.id)
    plane.clock.pass_seconds(20)
    send(plane, attempt)
    assert plane.attempt(attempt.id).lease_until == plane.clock.at + timedelta(seconds=LEASE)
    assert rank_row(plane, attempt).heartbeat_at == plane.clock.at


def test_a_task_that_never_said_hello_gets_no_lease(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt)
    assert plane.attempt(attempt.id).lease_until is None


def test_a_batch_that_is_sent_twice_is_kept_once(plane: World) -> None:
    attempt = plane.running()
    batch = (hello(), metric(2, step=1), metric(3, step=2), checkpoint(4))
    first = send(plane, attempt, *batch, log=log(0, b"hello"))
    assert send(plane, attempt, *batch, log=log(0, b"hello")) == first
    assert steps(plane, attempt) == [1, 2]
    assert text(plane, attempt) == b"hello"
    assert plane.event_kinds().count("checkpoint.committed") == 1


def test_a_batch_that_overlaps_brings_only_what_is_new(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello(), metric(2, step=1), log=log(0, b"hello "))
    answer = send(plane, attempt, metric(2, step=1), metric(3, step=2), log=log(3, b"lo world"))
    assert (answer.acked_seq, answer.log_offset) == (3, 11)
    assert (steps(plane, attempt), text(plane, attempt)) == ([1, 2], b"hello world")


def test_log_bytes_behind_a_gap_are_not_taken_and_the_answer_says_where_it_ends(plane: World) -> None:
    attempt = plane.running()
    answer = send(plane, attempt, hello(), log=log(10, b"later"))
    assert (answer.acked_seq, answer.log_offset, text(plane, attempt)) == (1, 0, b"")


def test_records_that_the_wrapper_dropped_leave_a_gap_that_is_passed(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello())
    assert send(plane, attempt, metric(7, step=7)).acked_seq == 7
    assert steps(plane, attempt) == [7]


def test_each_rank_has_its_own_place(plane: World) -> None:
    attempt = plane.running(tasks=2)
    send(plane, attempt, hello(), metric(2, step=5), log=log(0, b"zero"))
    send(plane, attempt, hello(), rank=1, log=log(0, b"one"))
    assert (rank_row(plane, attempt).acked_seq, rank_row(plane, attempt, 1).acked_seq) == (2, 1)
    assert (text(plane, attempt), text(plane, attempt, 1)) == (b"zero", b"one")


def test_progress_is_the_last_one_said(plane: World) -> None:
    attempt = plane.running()
    said = [
        {"seq": n, "kind": "progress", "at": AT, "fraction": n / 10, "message": f"epoch {n}"} for n in (2, 3)
    ]
    send(plane, attempt, hello(), *said)
    row = rank_row(plane, attempt)
    assert (row.progress, row.progress_message) == (0.3, "epoch 3")


def test_a_checkpoint_is_kept_and_told(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello(), checkpoint(2, step=5))
    with plane.store.read() as tx:
        newest = tx.records.newest_checkpoint(attempt.job_id)
    assert newest is not None
    assert (newest.step, newest.uri) == (5, "file:///c/5")
    assert plane.event_kinds()[-1] == "checkpoint.committed"


def test_a_final_exit_speaks_for_the_whole_attempt(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello())
    plane.is_poked("attempt", attempt.id)
    send(plane, attempt, farewell(2, code=3))
    assert rank_row(plane, attempt).exit_code == 3
    assert (rank_row(plane, attempt, -1).exit_code, rank_row(plane, attempt, -1).acked_seq) == (3, 0)
    assert plane.is_poked("attempt", attempt.id)


def test_the_exit_of_one_rank_does_not_speak_for_the_gang(plane: World) -> None:
    attempt = plane.running(tasks=2)
    send(plane, attempt, hello(), farewell(2, code=3, final=False), rank=1)
    assert (rank_row(plane, attempt, 1).exit_code, rank_row(plane, attempt, -1).exit_code) == (3, None)


def test_the_grace_is_the_users(plane: World) -> None:
    assert send(plane, plane.running(grace_seconds=5.0), hello()).grace_seconds == 5.0


def test_a_task_of_a_stopping_attempt_is_told_and_gets_no_more_time_than_its_stop(plane: World) -> None:
    attempt = plane.running(grace_seconds=20.0)
    send(plane, attempt, hello())
    plane.stop(plane.attempt(attempt.id))
    plane.clock.pass_seconds(12)
    answer = send(plane, attempt, metric(2))
    assert (answer.stop, answer.lease_seconds) == (True, 18.0)


def test_a_task_that_overstays_its_stop_is_fenced(plane: World) -> None:
    attempt = plane.running(grace_seconds=20.0)
    send(plane, attempt, hello())
    plane.stop(plane.attempt(attempt.id))
    plane.clock.pass_seconds(31)
    with pytest.raises(Gone):
        send(plane, attempt)


def test_late_evidence_of_an_end_is_still_taken(plane: World) -> None:
    attempt = plane.running(grace_seconds=20.0)
    send(plane, attempt, hello())
    plane.stop(plane.attempt(attempt.id))
    plane.clock.pass_seconds(60)
    answer = send(plane, attempt, farewell(2, code=143))
    assert (answer.stop, answer.lease_seconds <= 1.0) == (True, True)
    assert rank_row(plane, attempt, -1).exit_code == 143


def test_a_late_start_is_fenced(plane: World) -> None:
    attempt = plane.stop(plane.running())
    with pytest.raises(Gone):
        send(plane, attempt, hello())
    assert rank_row(plane, attempt) == RankRow()


def test_an_ended_attempt_takes_nothing_new(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello(), log=log(0, b"abc"))
    plane.end(plane.attempt(attempt.id))
    for said, more in (([metric(2)], None), ([], log(0, b"abcd")), ([], None)):
        with pytest.raises(Gone):
            send(plane, attempt, *said, log=more)
    assert (steps(plane, attempt), text(plane, attempt)) == ([], b"abc")


def test_a_farewell_whose_answer_was_lost_is_acknowledged_again(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello(), farewell(2), log=log(0, b"bye"))
    plane.end(plane.attempt(attempt.id))
    answer = send(plane, attempt, farewell(2), log=log(0, b"bye"))
    assert (answer.acked_seq, answer.log_offset, answer.stop) == (2, 3, True)


def test_no_lease_is_given_after_the_end(plane: World) -> None:
    attempt = plane.running()
    send(plane, attempt, hello(), farewell(2))
    ended = plane.end(plane.attempt(attempt.id), Outcome.SUCCEEDED)
    plane.clock.pass_seconds(30)
    send(plane, attempt, farewell(2))
    assert plane.attempt(attempt.id).lease_until == ended.lease_until


@pytest.mark.parametrize("token", [None, "", "cda_wrong", "é"])
def test_a_wrong_token_is_refused(plane: World, token: str | None) -> None:
    attempt = plane.running()
    with pytest.raises(Unauthenticated):
        records.ingest(plane.context, attempt.id, token, RecordBatch(rank=0))


def test_another_attempts_token_is_refused(plane: World) -> None:
    first, second = plane.running(), plane.running()
    token = attempt_token(plane.context.server_key, first.id)
    with pytest.raises(Unauthenticated):
        records.ingest(plane.context, second.id, token, RecordBatch(rank=0))


def test_an_attempt_that_never_was_is_not_found(plane: World) -> None:
    own_id = AttemptId("attempt_nobody")
    with pytest.raises(NotFound):
        records.ingest(
            plane.context, own_id, attempt_token(plane.context.server_key, own_id), RecordBatch(rank=0)
        )


def test_a_rank_beyond_the_gang_is_refused(plane: World) -> None:
    with pytest.raises(Invalid) as caught:
        send(plane, plane.running(tasks=2), hello(), rank=2)
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("rank", 2, 1)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"kind": "metric", "step": "five", "values": {}}, "records.1.step"),
        ({"kind": "metric", "step": True, "values": {}}, "records.1.step"),
        ({"kind": "metric", "step": 2**63, "values": {}}, "records.1.step"),
        ({"kind": "metric", "step": 1, "values": {"loss": float("nan")}}, "records.1.values.loss"),
        ({"kind": "metric", "step": 1, "values": {"loss": "low"}}, "records.1.values.loss"),
        ({"kind": "metric", "step": 1, "values": {str(n): 1.0 for n in range(65)}}, "records.1.values"),
        ({"kind": "metric", "step": 1, "values": {"n" * 129: 1.0}}, f"records.1.values.{'n' * 129}.[key]"),
        ({"kind": "metric", "values": {}}, "records.1.step"),
        ({"kind": "checkpoint", "step": 1, "uri": "u" * 2049}, "records.1.uri"),
        ({"kind": "checkpoint", "step": 1, "uri": "file:///c", "sha256": "short"}, "records.1.sha256"),
        ({"kind": "progress", "fraction": 1.5}, "records.1.fraction"),
        ({"kind": "exit", "code": 0, "reason": "bored"}, "records.1.reason"),
        ({"kind": "metric", "step": 1, "values": {}, "at": "yesterday"}, "records.1.at"),
        ({"kind": "metric", "step": 1, "values": {}, "at": "2026-03-01T12:00:00"}, "records.1.at"),
        ({"kind": "metric", "step": 1, "values": {}, "at": "0001-01-01T00:00:00+14:00"}, "records.1.at"),
    ],
)
def test_one_bad_record_refuses_the_whole_batch_by_name(
    plane: World, bad: dict[str, Any], field: str
) -> None:
    attempt = plane.running()
    with pytest.raises(Invalid) as caught:
        send(plane, attempt, hello(), {"seq": 2, "at": AT, **bad}, log=log(0, b"abc"))
    assert caught.value.field == field
    assert (rank_row(plane, attempt), text(plane, attempt)) == (RankRow(), b"")


def test_records_out_of_order_are_refused(plane: World) -> None:
    with pytest.raises(Invalid) as caught:
        send(plane, plane.running(), hello(2), metric(2))
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("records.seq", 2, 3)


def test_a_log_that_is_not_base64_is_refused(plane: World) -> None:
    with pytest.raises(Invalid) as caught:
        send(plane, plane.running(), hello(), log={"offset": 0, "data": "***"})
    assert caught.value.field == "log.data"
