"""The wrapper as a real process, against a control plane with vices."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.executors.ray import wrapper
from tests.plane import LOSE_ANSWER, REFUSE, Plane

pytestmark = pytest.mark.sockets

UNSTARTED = {"code": 75, "signal": None, "final": True, "log_bytes": 0}
TRAP = 'trap "echo saved; exit 0" TERM; echo ready; while :; do sleep 0.02; done'
DEAF = 'trap "" TERM; echo ready; while :; do sleep 0.02; done'


@pytest.fixture
def plane() -> Iterator[Plane]:
    plane = Plane().up()
    yield plane
    plane.down()
    assert plane.faults == []


@dataclass(kw_only=True)
class Started:
    process: subprocess.Popen[bytes]
    plane: Plane
    spools: Path

    def ended(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def until_ready(self) -> None:
        self.plane.until(lambda: b"ready\n" in self.plane.log())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@dataclass(kw_only=True)
class Bench:
    plane: Plane
    folder: Path
    started: list[Started] = field(default_factory=list)

    def order(self, **fields: object) -> dict[str, object]:
        return {
            "attempt_id": "a1",
            "job_id": "j1",
            "number": 1,
            "urls": [self.plane.url],
            "token": "t0ken",
            "launch": "tasks",
            "entrypoint": {"command": "true"},
            "environment": {},
            "seats": [{"rank": 0, "node_id": "n0", "resources": {"CPU": 1.0}}],
            "lease_seconds": self.plane.lease_seconds,
            "grace_seconds": self.plane.grace_seconds,
            "start_timeout_seconds": 20,
            "log_quota_bytes": 1_000_000,
            "checkpoint_uri": None,
            "outputs_uri": None,
            "resume_from": None,
            **fields,
        }

    def start(self, command: str, **fields: object) -> Started:
        spools = self.folder / f"spools{len(self.started)}"
        spools.mkdir()
        order = self.order(**{"entrypoint": {"command": command}, **fields})
        process = subprocess.Popen(
            [sys.executable, wrapper.__file__],
            env={**os.environ, "CROSSDOCK_ORDER": json.dumps(order), "TMPDIR": str(spools)},
            cwd=self.folder,
        )
        self.started.append(Started(process=process, plane=self.plane, spools=spools))
        return self.started[-1]

    def run(self, command: str, **fields: object) -> int:
        return self.start(command, **fields).ended()

    def script(self, text: str) -> str:
        path = self.folder / f"script{len(list(self.folder.iterdir()))}.py"
        path.write_text(text)
        return f"{sys.executable} {path}"


@pytest.fixture
def bench(plane: Plane, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(plane=plane, folder=tmp_path)
    yield bench
    for started in bench.started:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def until(holds: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # poll


def test_a_command_that_ends_well_tells_its_log_and_its_exit(bench: Bench, plane: Plane) -> None:
    assert bench.run("echo out; echo err >&2") == 0
    assert plane.log() == b"out\nerr\n"
    assert plane.exit() == {"code": 0, "reason": "completed", "signal": None, "final": True, "log_bytes": 8}
    assert [sorted(record) for record in plane.records("hello")] == [["host", "pid"]]


@pytest.mark.parametrize(
    ("command", "code", "number"),
    [("exit 3", 3, None), ("kill -SEGV $$", 139, 11), ("no-such-program", 127, None)],
)
def test_the_exit_code_is_the_users(
    bench: Bench, plane: Plane, command: str, code: int, number: int | None
) -> None:
    assert bench.run(command) == code
    ended = plane.exit()
    assert (ended["code"], ended["reason"], ended["signal"]) == (code, "failed", number)


def test_lost_answers_errors_and_a_restart_leave_no_hole_and_no_duplicate(bench: Bench, plane: Plane) -> None:
    plane.vices = [500, 200, LOSE_ANSWER, 200, 503, 404, 200, LOSE_ANSWER, 200, 401, 200, 429]
    script = bench.script(
        "import json, os, time\n"
        "for step in range(400):\n"
        "    print('zażółć', step)\n"
        "    with open(os.environ['CROSSDOCK_RECORDS'], 'a') as f:\n"
        "        f.write(json.dumps({'kind': 'metric', 'step': step, 'values': {'loss': step / 2}}) + '\\n')\n"
        "    time.sleep(0.004)\n"
    )
    plane.lease_seconds = 10
    started = bench.start(script)
    plane.until(lambda: len(plane.records("metric")) > 60)
    plane.down()
    until(lambda: (next(started.spools.iterdir()) / "records").stat().st_size > 12_000)
    plane.up()
    assert started.ended() == 0
    assert plane.log() == "".join(f"zażółć {step}\n" for step in range(400)).encode()
    assert plane.records("metric") == [{"step": step, "values": {"loss": step / 2}} for step in range(400)]
    assert plane.exit()["log_bytes"] == len(plane.log())
    assert plane.retold > 0
    assert list(started.spools.iterdir()) == []


def test_user_code_waits_for_the_answer_to_hello(bench: Bench, plane: Plane) -> None:
    plane.vices = [500, LOSE_ANSWER, 503]
    early: list[bool] = []

    def look(body: dict[str, object]) -> None:
        if plane.vices:
            early.append((bench.folder / "begun").exists())

    plane.on_request = look
    assert bench.run("touch begun") == 0
    assert early == [False, False, False]
    assert (bench.folder / "begun").exists()


def test_a_wrapper_that_finds_no_control_plane_at_first_goes_on_when_it_comes(
    bench: Bench, plane: Plane
) -> None:
    plane.down()
    started = bench.start("echo hello")
    until(lambda: any(started.spools.iterdir()))
    plane.up()
    assert started.ended() == 0
    assert plane.log() == b"hello\n"


def test_an_attempt_that_is_over_never_starts(bench: Bench, plane: Plane) -> None:
    plane.vices = [410]
    started = bench.start("touch begun")
    assert started.ended() == 75
    assert not (bench.folder / "begun").exists()
    assert list(started.spools.iterdir()) == []


def test_a_hello_that_nobody_answers_is_a_start_timeout(bench: Bench, plane: Plane) -> None:
    plane.vices = [500, 500, 500]
    assert bench.run("touch begun", start_timeout_seconds=0.5) == 75
    assert not (bench.folder / "begun").exists()
    assert plane.exit() == {**UNSTARTED, "reason": "start_timeout"}


def test_a_stop_in_the_answer_to_hello_means_no_start(bench: Bench, plane: Plane) -> None:
    plane.stop = True
    assert bench.run("touch begun") == 75
    assert not (bench.folder / "begun").exists()
    assert plane.exit() == {**UNSTARTED, "reason": "stopped"}


def test_nothing_of_the_users_runs_after_the_lease(bench: Bench, plane: Plane) -> None:
    plane.lease_seconds, plane.grace_seconds = 1.2, 0.3
    script = bench.script(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(terms, b'%f\\n' % time.monotonic()))\n"
        "ticks, terms = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ('ticks', 'terms'))\n"
        "os.fork()\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    os.write(ticks, b'%f\\n' % time.monotonic())\n"
        "    time.sleep(0.01)\n"
    )
    started = bench.start(script)
    started.until_ready()
    plane.down()
    assert started.ended() == 75
    last_tick = float((bench.folder / "ticks").read_text().split()[-1])
    first_term = float((bench.folder / "terms").read_text().split()[0])
    assert last_tick <= plane.answered_at[0] + plane.lease_seconds
    assert last_tick - first_term >= 0.15
    assert len(list(started.spools.iterdir())) == 1


def test_a_fenced_attempt_is_killed_at_once(bench: Bench, plane: Plane) -> None:
    started = bench.start(DEAF, grace_seconds=60)
    started.until_ready()
    plane.vices = [410]
    assert started.ended(3) == 75


def test_a_signal_stops_with_grace_and_the_code_is_reported(bench: Bench, plane: Plane) -> None:
    started = bench.start(TRAP)
    started.until_ready()
    started.stop()
    assert started.ended() == 0
    assert plane.log().endswith(b"saved\n")
    log_bytes = len(plane.log())
    assert plane.exit() == {
        "code": 0,
        "reason": "stopped",
        "signal": None,
        "final": True,
        "log_bytes": log_bytes,
    }


def test_an_answer_stops_and_what_does_not_heed_is_killed_after_the_grace(bench: Bench, plane: Plane) -> None:
    plane.grace_seconds = 0.4
    started = bench.start(DEAF, grace_seconds=60)
    started.until_ready()
    plane.stop = True
    assert started.ended(10) == 137
    ended = plane.exit()
    assert (ended["code"], ended["reason"], ended["signal"]) == (137, "stopped", 9)


@pytest.mark.parametrize(("shell", "code"), [("", 4), ("trap - TERM; ", 143)])
def test_what_a_shell_runs_gets_the_grace_and_nothing_after_it_runs(
    bench: Bench, plane: Plane, shell: str, code: int
) -> None:
    script = bench.script(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print('saved'), sys.exit(4)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    started = bench.start(f"{shell}{script}; echo never", grace_seconds=60)
    started.until_ready()
    started.stop()
    assert started.ended(20) == code
    assert plane.log() == b"ready\nsaved\n"
    assert plane.exit()["reason"] == "stopped"


def test_a_checkpoint_written_on_stop_arrives_before_the_exit(bench: Bench, plane: Plane) -> None:
    line = '{"kind": "checkpoint", "uri": "file:///c/7", "step": 7}'
    (bench.folder / "line").write_text(line)
    started = bench.start(TRAP.replace("echo saved", "cat line >> $CROSSDOCK_RECORDS"))
    started.until_ready()
    started.stop()
    assert started.ended() == 0
    assert plane.records("checkpoint") == [{"uri": "file:///c/7", "step": 7, "sha256": None}]


def test_the_log_quota_leaves_a_marker_and_the_job_goes_on(bench: Bench, plane: Plane) -> None:
    assert bench.run("yes 0123456 | head -c 3000000; echo last > end", log_quota_bytes=1001) == 0
    assert (bench.folder / "end").exists()
    marker = b"\n[crossdock] log quota of 1001 bytes reached; the rest is dropped\n"
    assert plane.log() == (b"0123456\n" * 126)[:1001] + marker


def test_a_line_that_is_no_record_becomes_a_log_line(bench: Bench, plane: Plane) -> None:
    lines = [
        '{"kind": "metric", "step": 1, "values": {"loss": NaN, "lr": 0.5}}',
        "not json",
        '{"kind": "exit", "code": 0}',
        '{"kind": "progress", "fraction": 0.5, "message": "half, and no newline"}',
    ]
    script = bench.script(
        f"import os; open(os.environ['CROSSDOCK_RECORDS'], 'w').write({chr(10).join(lines)!r})"
    )
    assert bench.run(script) == 0
    assert plane.records("metric") == [{"step": 1, "values": {"loss": None, "lr": 0.5}}]
    assert plane.records("progress") == [{"fraction": 0.5, "message": "half, and no newline"}]
    assert (
        plane.log()
        == b'[crossdock] not a record: not json\n[crossdock] not a record: {"kind": "exit", "code": 0}\n'
    )
    assert plane.exit()["code"] == 0


def test_a_poisoned_batch_is_dropped_and_the_lease_lives(bench: Bench, plane: Plane) -> None:
    plane.on_request = lambda body: REFUSE if any(r["kind"] == "progress" for r in body["records"]) else None
    line = '{"kind": "progress", "fraction": 0, "message": "poison"}'
    started = bench.start(f"echo '{line}' >> $CROSSDOCK_RECORDS; {TRAP}")
    plane.until(lambda: b"refused records up to 2 with 422" in plane.log())
    answered_at = plane.answered_at[0]
    plane.until(lambda: plane.answered_at[0] > answered_at + plane.lease_seconds)
    started.stop()
    assert started.ended() == 0


def test_user_code_has_our_names_and_not_the_token(
    bench: Bench, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"runtime_env": {"env_vars": {"CROSSDOCK_ORDER": "t0ken", "A": "1"}}, "metadata": {}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(config))
    # The test run's own, which user code would inherit.
    for name in [each for each in os.environ if each.startswith("CROSSDOCK_")]:
        monkeypatch.delenv(name)
    environment = {"MINE": "1", "RANK": "7"}
    assert bench.run("env", environment=environment, checkpoint_uri="s3://c", resume_from="s3://c/3") == 0
    assert b"t0ken" not in plane.log()
    names = dict(line.partition("=")[::2] for line in plane.log().decode().splitlines())
    assert "CROSSDOCK_OUTPUTS_URI" not in names
    assert names.pop("CROSSDOCK_RECORDS").endswith("/records")
    assert {
        name: value
        for name, value in names.items()
        if name.startswith(("CROSSDOCK", "RANK", "WORLD", "MINE"))
    } == {
        "MINE": "1",
        "RANK": "0",
        "WORLD_SIZE": "1",
        "CROSSDOCK_JOB_ID": "j1",
        "CROSSDOCK_ATTEMPT_ID": "a1",
        "CROSSDOCK_ATTEMPT_NUMBER": "1",
        "CROSSDOCK_RANK": "0",
        "CROSSDOCK_WORLD_SIZE": "1",
        "CROSSDOCK_NODE_IDS": '["n0"]',
        "CROSSDOCK_SEATS": '[{"CPU": 1.0}]',
        "CROSSDOCK_CHECKPOINT_URI": "s3://c",
        "CROSSDOCK_RESUME_FROM": "s3://c/3",
        "CROSSDOCK_GRACE_SECONDS": "1.0",
    }
    exported = json.loads(names["RAY_JOB_CONFIG_JSON_ENV_VAR"])["runtime_env"]["env_vars"]
    assert exported == {"A": "1", "MINE": "1", "RANK": "7"}


CLINGING = 'trap "" TERM; echo $$; sleep 60 & echo $!; echo ready; while :; do wait; done'


def test_a_killed_wrapper_takes_all_user_code_with_it_and_still_tells(bench: Bench, plane: Plane) -> None:
    started = bench.start(CLINGING)
    started.until_ready()
    pids = [int(pid) for pid in plane.log().split()[:2]]
    assert all(map(is_alive, pids))
    started.process.kill()
    until(lambda: not any(map(is_alive, pids)))
    plane.until(lambda: plane.records("exit"))
    assert plane.exit()["reason"] == "stopped"


def test_a_killed_keeper_takes_all_user_code_with_it(bench: Bench, plane: Plane) -> None:
    started = bench.start(CLINGING)
    started.until_ready()
    pids = [int(pid) for pid in plane.log().split()[:2]]
    os.kill(plane.records("hello")[0]["pid"], signal.SIGKILL)
    assert started.ended() == 137
    until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize("start", ["sleep 60 &", "setsid sleep 60 &", "(setsid sleep 60 &);"])
def test_what_user_code_leaves_behind_ends_with_it(bench: Bench, plane: Plane, start: str) -> None:
    (bench.folder / "stay").write_text("echo $$ > pid; exec sleep 60")
    begin = start.replace("sleep 60", "sh stay")
    assert bench.run(f"{begin} while ! [ -s pid ]; do sleep 0.01; done") == 0
    assert not is_alive(int((bench.folder / "pid").read_text()))


def test_a_stop_while_nobody_answers_hello_ends_the_wait(bench: Bench, plane: Plane) -> None:
    plane.vices = [500] * 1000
    started = bench.start("touch begun", lease_seconds=0.5, grace_seconds=0.1)
    plane.until(lambda: len(plane.vices) < 1000)
    started.stop()
    assert started.ended() == 75
    assert not (bench.folder / "begun").exists()


def test_a_function_runs_in_the_working_directory(bench: Bench, plane: Plane) -> None:
    (bench.folder / "train.py").write_text("def main(): print('trained')\n")
    assert bench.run("", entrypoint={"function": "train:main"}) == 0
    assert plane.log() == b"trained\n"


def test_a_function_that_cannot_be_imported_shows_why(bench: Bench, plane: Plane) -> None:
    assert bench.run("", entrypoint={"function": "absent:main"}) == 1
    assert plane.log().endswith(b"ModuleNotFoundError: No module named 'absent'\n")
    assert plane.exit()["reason"] == "failed"


def test_an_entrypoint_that_cannot_be_started_is_a_failure_with_a_reason(bench: Bench, plane: Plane) -> None:
    assert bench.run("true", environment={"A": "nul\0"}) == 126
    assert plane.log() == b"[crossdock] the entrypoint could not be started: embedded null byte\n"
    assert plane.exit()["reason"] == "failed"


def test_another_url_is_tried_when_one_is_dead(bench: Bench, plane: Plane) -> None:
    assert bench.run("echo there", urls=["http://127.0.0.1:9", plane.url]) == 0
    assert plane.log() == b"there\n"


def test_a_start_imports_neither_ray_nor_what_is_slow() -> None:
    code = f"import runpy, sys; runpy.run_path({wrapper.__file__!r}); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert (
        set(loaded) & {"ray", "dataclasses", "inspect", "asyncio", "shutil", "tempfile", "logging", "pathlib"}
        == set()
    )
