"""What the wrapper decides: lease, outbox, records and the user's environment, without a process or a network."""

import base64
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from controlplane.executors.ray.wrapper import Lease, Outbox, parse_record, seat_options, user_environment


def lease_at(now: list[float], *, seconds: float = 9, grace_seconds: float = 1) -> Lease:
    lease = Lease(lambda: now[0], start_timeout_seconds=100)
    lease.renew(sent_at=0, seconds=seconds, grace_seconds=grace_seconds)
    return lease


def test_a_lease_asks_for_term_one_grace_before_its_end_and_for_kill_before_it() -> None:
    now = [7.9]
    lease = lease_at(now)
    told = [lease.due()]
    for now[0] in (8.0, 8.5, 8.74, 8.75, 9.0):
        told.append(lease.due())
    assert told == [None, signal.SIGTERM, None, None, signal.SIGKILL, signal.SIGKILL]
    assert lease.reason == "lease_lost"


def test_a_long_grace_takes_no_more_than_a_third_of_the_lease() -> None:
    now = [5.9]
    lease = lease_at(now, grace_seconds=60)
    assert lease.due() is None
    now[0] = 6.0
    assert lease.due() == signal.SIGTERM


def test_a_renewal_after_term_does_not_save_user_code() -> None:
    now = [8.0]
    lease = lease_at(now)
    assert lease.due() == signal.SIGTERM
    lease.renew(sent_at=8.0, seconds=9, grace_seconds=1)
    now[0] = 8.75
    assert lease.due() == signal.SIGKILL
    assert lease.reason == "lease_lost"


def test_a_stop_has_its_grace_unless_the_lease_ends_first() -> None:
    now = [1.0]
    lease = lease_at(now)
    lease.stop(5)
    assert lease.due() == signal.SIGTERM
    now[0] = 5.9
    assert lease.due() is None
    now[0] = 6.0
    assert lease.due() == signal.SIGKILL
    assert lease.reason == "stopped"


def test_a_fenced_lease_kills_at_once_whatever_was_said_before() -> None:
    now = [1.0]
    lease = lease_at(now)
    lease.stop(5)
    lease.due()
    lease.fenced = True
    assert (lease.due(), lease.reason) == (signal.SIGKILL, "fenced")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(0, str(tmp_path / "log"), 10**9)


def sent(outbox: Outbox) -> tuple[list[int], int | None, bytes]:
    body = json.loads(outbox.batch()[0])
    log = body["log"]
    seqs = [record["seq"] for record in body["records"]]
    return (seqs, log["offset"], base64.b64decode(log["data"])) if log else (seqs, None, b"")


def test_an_outbox_resends_until_acknowledged(outbox: Outbox) -> None:
    outbox.add({"kind": "progress"})
    outbox.log(b"\xff\xfeabc")
    assert sent(outbox) == sent(outbox) == ([1], 0, b"\xff\xfeabc")
    outbox.add({"kind": "progress"})
    outbox.acknowledge(1, 3)
    assert sent(outbox) == ([2], 3, b"bc")
    outbox.acknowledge(2, 5)
    assert sent(outbox) == ([], None, b"")
    assert outbox.settled


def test_a_log_that_the_control_plane_forgot_is_sent_again(outbox: Outbox) -> None:
    outbox.log(b"abcdef")
    outbox.acknowledge(0, 6)
    outbox.acknowledge(0, 2)
    assert sent(outbox) == ([], 2, b"cdef")


def test_an_outbox_believes_no_offset_beyond_its_log(outbox: Outbox) -> None:
    outbox.log(b"abc")
    outbox.acknowledge(0, 99)
    outbox.log(b"def")
    assert sent(outbox) == ([], 3, b"def")


def test_a_batch_has_at_most_500_records_and_256_kib_of_log(outbox: Outbox) -> None:
    for _ in range(501):
        outbox.add({"kind": "progress"})
    outbox.log(b"x" * 300_000)
    seqs, offset, data = sent(outbox)
    assert (seqs, offset, len(data)) == (list(range(1, 501)), 0, 262_144)
    assert outbox.crowded


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b"\xff",
        b"[" * 100_000,
        b'{"kind": ["metric"]}',
        b'{"kind": "metric", "step": -1, "values": {}}',
        b'{"kind": "metric", "step": 1.5, "values": {}}',
        b'{"kind": "metric", "step": 9223372036854775808, "values": {}}',
        b'{"kind": "metric", "step": 1, "values": {"loss": "low"}}',
        b'{"kind": "metric", "step": 1, "values": {"loss": ' + b"9" * 400 + b"}}",
        b'{"kind": "metric", "step": 1, "values": {"a\\u0000b": 1}}',
        b'{"kind": "checkpoint", "uri": "\\ud800", "step": 1}',
        b'{"kind": "checkpoint", "uri": "file:///a", "step": 1, "sha256": 5}',
        b'{"kind": "checkpoint", "uri": "file:///a", "step": 1, "sha256": "abc123"}',
        b'{"kind": "checkpoint", "uri": "", "step": 1}',
        b'{"kind": "metric", "step": 1, "values": {"' + b"n" * 129 + b'": 1}}',
        json.dumps({"kind": "metric", "step": 1, "values": {str(i): i for i in range(65)}}).encode(),
        json.dumps({"kind": "progress", "fraction": 1, "message": "m" * 4097}).encode(),
        b'{"kind": "progress", "fraction": 1.1, "message": ""}',
        b'{"kind": "progress", "fraction": NaN, "message": ""}',
        b'{"kind": "endpoint", "url": "http://a:1"}',
        b'{"kind": "endpoint", "url": "http://a:1/path", "ready": true}',
        b'{"kind": "endpoint", "url": "http://user@a:1", "ready": true}',
        b'{"kind": "endpoint", "url": "file://a", "ready": true}',
        b'{"kind": "endpoint", "url": "http://a:1", "grpc": "a", "ready": true}',
        b'{"kind": "endpoint", "url": "http://a:1\\n", "ready": true}',
        b'{"kind": "endpoint", "url": "http://a:1", "ready": 1}',
        b'{"kind": "hello", "host": "x", "pid": 1}',
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    assert parse_record(line) is None


def test_numbers_without_a_value_become_null() -> None:
    line = (
        b'{"kind": "metric", "step": 0, "values": {"a": NaN, "b": -Infinity, "c": 1e999, "d": 2, "e": true}}'
    )
    values = {"a": None, "b": None, "c": None, "d": 2.0, "e": 1.0}
    assert parse_record(line) == {"kind": "metric", "step": 0, "values": values}


def test_a_record_keeps_no_field_that_the_protocol_does_not_know() -> None:
    line = b'{"kind": "progress", "fraction": 1, "message": "done", "seq": 5, "at": "never"}'
    assert parse_record(line) == {"kind": "progress", "fraction": 1.0, "message": "done"}


def test_an_endpoint_is_passed_on_with_what_it_left_out() -> None:
    line = b'{"kind": "endpoint", "url": "https://[::1]:9000", "ready": true, "since": 3}'
    endpoint = {"kind": "endpoint", "url": "https://[::1]:9000", "grpc": None, "ready": True}
    assert parse_record(line) == endpoint


def test_a_gang_meets_at_rank_0_and_a_driver_is_alone() -> None:
    fields = dict.fromkeys(("job_id", "attempt_id", "checkpoint_uri", "outputs_uri", "resume_from"))
    seats = [{"node_id": f"n{rank}", "resources": {"CPU": 1.0}} for rank in range(2)]
    order = SimpleNamespace(
        **fields, number=1, grace_seconds=5, seats=seats, environment={"MASTER_ADDR": "user's"}
    )
    inherited = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4242"}
    for launch, rank, met in (("tasks", 1, ("1", "2", "10.0.0.1")), ("driver", 0, ("0", "1", "user's"))):
        order.launch = launch
        names = user_environment(order, rank, inherited, "/r")
        assert (names["RANK"], names["WORLD_SIZE"], names["MASTER_ADDR"]) == met
        assert names["CROSSDOCK_NODE_IDS"] == '["n0", "n1"]'


def test_a_task_of_a_gang_with_roles_knows_its_own_and_a_driver_knows_all() -> None:
    fields = dict.fromkeys(("job_id", "attempt_id", "checkpoint_uri", "outputs_uri", "resume_from"))
    seats = [
        {"node_id": "n", "resources": {"CPU": 1.0}, "role": role} for role in ("server", "worker", "worker")
    ]
    order = SimpleNamespace(**fields, number=1, grace_seconds=5, seats=seats, environment={}, launch="tasks")
    own = ("CROSSDOCK_ROLE", "CROSSDOCK_ROLE_RANK", "CROSSDOCK_ROLE_SIZE")
    for rank, told in enumerate((("server", "0", "1"), ("worker", "0", "2"), ("worker", "1", "2"))):
        names = user_environment(order, rank, {}, "/r")
        assert tuple(names[name] for name in own) == told
        assert names["CROSSDOCK_ROLES"] == '["server", "worker", "worker"]'
    order.launch = "driver"
    names = user_environment(order, 0, {}, "/r")
    assert names["CROSSDOCK_ROLES"] == '["server", "worker", "worker"]'
    assert not set(own) & set(names)


def test_an_actor_gets_exactly_what_its_bundle_booked() -> None:
    bundle = {"CPU": 1.5, "GPU": 1.0, "memory": 4096.0, "logical_gpu": 2.0}
    assert seat_options(bundle) == {
        "num_cpus": 1.5,
        "num_gpus": 1.0,
        "memory": 4096.0,
        "resources": {"logical_gpu": 2.0},
        "max_concurrency": 2,
        "max_restarts": 0,
    }
    assert seat_options({"slot": 1.0})["num_cpus"] == 0  # Ray's own default would not fit the bundle
