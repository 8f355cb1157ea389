"""Runs user code on a Ray cluster, keeps its lease, and tells the control plane every fact.

The one file that travels: started as `python -m crossdock_wrapper`, it may use the standard library alone, and `ray`
for gangs only. What it says on the wire, and what an order holds, stands in docs/job-protocol.md.

    main ── Keeper  one rank: its UserCode, watched by a guard; a Link delivers what the Outbox holds under a Lease
         └─ Gang    one Seat (a Ray actor) per rank, and each Seat starts a Keeper

A keeper never is a descendant of what Ray started, for Ray's stop signals whole trees and user code shall get one
SIGTERM, not two; and Ray's kills shall leave a keeper to end user code with grace and to tell the end of it. What
started a keeper holds its standard input: the word "stop" or the end of the pipe stops it. The end of its standard
output means that keeper and user code are gone; the last thing written there is its Exit.

user_environment, parse_record, Lease and Outbox decide; they touch no process and no network.
"""

import base64
import ctypes
import json
import os
import re
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import islice
from subprocess import DEVNULL, PIPE, Popen, SubprocessError
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

COORDINATOR: Final = -1
TICK_SECONDS: Final = 0.05
GATHER_SECONDS: Final = 0.2
HEARTBEAT_SECONDS: Final = 5.0
BACKOFF_SECONDS: Final = (0.2, 0.4, 0.8, 1.6, 2.0)
SLACK_SECONDS: Final = 10.0  # what keepers may take over and above their grace and their time to deliver
BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 256 * 1024
LINE_BYTES: Final = 16 * 1024
METRIC_VALUES: Final = 64
ENDPOINT_URL: Final = re.compile(r"https?://[^/\s@?#]+\Z")
ENDPOINT_GRPC: Final = re.compile(r"[^/\s@?#]+:[0-9]{1,5}\Z")
SHA256_DIGITS: Final = 64
NEVER: Final = float("inf")
NOT_STARTED: Final = 75  # EX_TEMPFAIL: no code of the user's, or none that can be trusted
RETRIED: Final = frozenset({401, 403, 404, 408, 409, 429})  # any other client error means this very batch
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
STDIN: Final = 0
STDOUT: Final = 1
LIBC: Final = ctypes.CDLL(None)
GUARD: Final = 'trap "" TERM INT; read -r group || exit 0; read -r _ || kill -9 "-$group"'
OUTLIVE: Final = "trap 'exit $?' TERM; "  # a shell then waits for what it runs, and ends with its code
CALL: Final = (
    "import importlib, os, sys; sys.path.insert(0, os.getcwd()); "
    "getattr(importlib.import_module({module!r}), {function!r})()"
)

Order = SimpleNamespace  # came in as JSON; a dataclass would cost every start the import of `inspect`
Record = dict[str, Any]  # goes out as JSON; its values have no narrower type


def monotonic() -> float:
    """Goes on while the machine is suspended, unlike time.monotonic: a lease runs out there, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def delivery_seconds(order: Order) -> float:
    """How long the last words may take once user code has ended."""
    return float(max(order.lease_seconds, order.grace_seconds))


def command_line(entrypoint: Mapping[str, str]) -> list[str]:
    if "command" in entrypoint:
        return ["/bin/sh", "-c", OUTLIVE + entrypoint["command"]]
    module, _, function = entrypoint["function"].partition(":")
    return [sys.executable, "-c", CALL.format(module=module, function=function)]


def user_environment(
    order: Order, rank: int, inherited: Mapping[str, str], records_path: str
) -> dict[str, str]:
    """Has neither the order nor its token; the user's names win over inherited ones, and ours over the user's."""
    tasks = len(order.seats) if order.launch == "tasks" else 1
    ours = {
        "RANK": rank,
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": 0,
        "CROSSDOCK_JOB_ID": order.job_id,
        "CROSSDOCK_ATTEMPT_ID": order.attempt_id,
        "CROSSDOCK_ATTEMPT_NUMBER": order.number,
        "CROSSDOCK_RANK": rank,
        "CROSSDOCK_WORLD_SIZE": tasks,
        "CROSSDOCK_NODE_IDS": json.dumps([seat["node_id"] for seat in order.seats]),
        "CROSSDOCK_SEATS": json.dumps([seat["resources"] for seat in order.seats]),
        "CROSSDOCK_CHECKPOINT_URI": order.checkpoint_uri,
        "CROSSDOCK_OUTPUTS_URI": order.outputs_uri,
        "CROSSDOCK_RESUME_FROM": order.resume_from,
        "CROSSDOCK_GRACE_SECONDS": order.grace_seconds,
        "CROSSDOCK_RECORDS": records_path,
    }
    if tasks > 1:
        ours |= {name: inherited.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")}
    roles = [seat.get("role") for seat in order.seats]
    if any(roles):
        ours["CROSSDOCK_ROLES"] = json.dumps(roles)
        if order.launch == "tasks":
            ours["CROSSDOCK_ROLE"] = roles[rank]
            ours["CROSSDOCK_ROLE_RANK"] = roles[:rank].count(roles[rank])
            ours["CROSSDOCK_ROLE_SIZE"] = roles.count(roles[rank])
    names = {"PYTHONUNBUFFERED": "1", **inherited, **order.environment}
    names |= {name: str(value) for name, value in ours.items() if value is not None}
    if job_config := names.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        config = json.loads(
            job_config
        )  # Ray hands a job's environment to its actors: the user's part, not ours
        exported = config.setdefault("runtime_env", {}).setdefault("env_vars", {})
        exported.pop("CROSSDOCK_ORDER", None)
        exported.update(order.environment)
        names["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(config)
    return {name: names[name] for name in names if name not in {"CROSSDOCK_ORDER", "CROSSDOCK_KEEP_RANK"}}


def parse_record(line: bytes) -> Record | None:
    """One line of the records file, or None for what the control plane would refuse, and a whole batch with it."""
    try:
        match {"sha256": None, "message": "", "grpc": None, **json.loads(line)}:
            case {"kind": "metric", "step": int(step), "values": dict(values)} if (
                0 <= step < 2**63 and len(values) <= METRIC_VALUES
            ):
                numbers = {_text(name, 128): _number(value) for name, value in values.items()}
                return {"kind": "metric", "step": int(step), "values": numbers}
            case {"kind": "checkpoint", "uri": uri, "step": int(step), "sha256": digest} if 0 <= step < 2**63:
                digest = None if digest is None else bytes.fromhex(_text(digest, 64)).hex()
                if uri and (digest is None or len(digest) == SHA256_DIGITS):
                    return {
                        "kind": "checkpoint",
                        "uri": _text(uri, 2048),
                        "step": int(step),
                        "sha256": digest,
                    }
            case {"kind": "progress", "fraction": fraction, "message": message} if 0 <= fraction <= 1:
                return {"kind": "progress", "fraction": _number(fraction), "message": _text(message, 4096)}
            case {"kind": "endpoint", "url": str(url), "grpc": grpc, "ready": bool(ready)} if (
                ENDPOINT_URL.match(_text(url, 512))
                and (grpc is None or ENDPOINT_GRPC.match(_text(grpc, 512)))
            ):
                return {"kind": "endpoint", "url": url, "grpc": grpc, "ready": ready}
            case _:
                pass
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    return None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float):
        raise TypeError
    return float(value) if abs(value) < NEVER else None  # None for NaN as well


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise TypeError
    value.encode()  # refuses half a surrogate pair, as a database would
    return value


class Lease:
    """The right to run user code: until when, and what ends it early. Says which signal is due and sends none."""

    def __init__(self, clock: Callable[[], float], start_timeout_seconds: float) -> None:
        self.start_by = clock() + start_timeout_seconds
        self.granted = False
        self.fenced = False
        self.reason: str | None = None
        self.patience_seconds = 0.0  # comes on top of a stop's grace
        self._clock = clock
        self._stop_grace_seconds: float | None = None
        self._limits = (NEVER, NEVER)
        self._kill_at = NEVER

    def renew(self, sent_at: float, seconds: float, grace_seconds: float) -> None:
        """Counts from when the request was sent, and ends a little early: the kill takes time as well."""
        ends_at = sent_at + seconds
        self._limits = (ends_at - min(grace_seconds, seconds / 3), ends_at - min(0.25, seconds / 20))
        self.granted = True

    def stop(self, grace_seconds: float) -> None:
        if self._stop_grace_seconds is None:
            self._stop_grace_seconds = grace_seconds

    def condemn(self, reason: str, grace_seconds: float = 0) -> int | None:
        """The first reason stays, and SIGTERM is due once."""
        if self.reason is not None:
            return None
        self.reason = reason
        self._kill_at = self._clock() + grace_seconds + self.patience_seconds
        return signal.SIGTERM

    def due(self) -> int | None:
        """The signal that user code is due now. With a reason set, nothing may start any more."""
        now, (term_at, kill_at) = self._clock(), self._limits
        if self.fenced:
            self.reason, self._kill_at = "fenced", now
        if now >= min(self._kill_at, kill_at):
            self.condemn("lease_lost")
            return signal.SIGKILL
        if self._stop_grace_seconds is not None:
            return self.condemn("stopped", self._stop_grace_seconds)
        if now >= term_at:
            return self.condemn("lease_lost", kill_at - now)
        return self.condemn("start_timeout") if now >= self.start_by else None


class Outbox:
    """What the control plane has not acknowledged yet: records by seq, and the log, a file bounded by the quota."""

    def __init__(self, rank: int, log_path: str, quota_bytes: int) -> None:
        self.log_size = 0
        self._rank = rank
        self._log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._log_acked = 0
        self._quota_bytes = quota_bytes
        self._quota_reached = False
        self._records: deque[Record] = deque()
        self._seq = 0

    @property
    def settled(self) -> bool:
        return not self._records and self._log_acked == self.log_size

    @property
    def crowded(self) -> bool:
        return len(self._records) > BATCH_RECORDS

    def add(self, record: Record) -> None:
        self._seq += 1
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")  # noqa: UP017 - a cluster may run 3.10
        self._records.append({"seq": self._seq, "at": at, **record})

    def log(self, data: bytes) -> None:
        if self._quota_reached:
            return
        room = self._quota_bytes - self.log_size
        if len(data) > room:
            self._quota_reached = True
            marker = b"\n[crossdock] log quota of %d bytes reached; the rest is dropped\n" % self._quota_bytes
            data = data[:room] + marker
        with suppress(OSError):  # a full disk costs log lines, never the job
            self.log_size += os.write(self._log, data)

    def batch(self) -> tuple[bytes, int]:
        """The body to send, and the last seq in it or 0."""
        records = list(islice(self._records, BATCH_RECORDS))
        data = os.pread(self._log, BATCH_BYTES, self._log_acked)
        log = {"offset": self._log_acked, "data": base64.b64encode(data).decode()} if data else None
        body = json.dumps({"rank": self._rank, "records": records, "log": log})
        return body.encode(), records[-1]["seq"] if records else 0

    def acknowledge(self, acked_seq: int, log_offset: int | None = None) -> None:
        if log_offset is not None:
            self._log_acked = max(0, min(log_offset, self.log_size))
        while self._records and self._records[0]["seq"] <= acked_seq:
            self._records.popleft()


class Link:
    """One rank's line to the control plane: a thread that delivers the outbox and so keeps the lease."""

    def __init__(self, order: Order, rank: int) -> None:
        self.directory = f"{os.environ.get('TMPDIR', '/tmp')}/crossdock-{os.getpid()}-{time.time_ns()}"  # noqa: S108
        os.mkdir(self.directory, 0o700)  # noqa: PTH102 - pathlib would slow down every start
        self.lease = Lease(monotonic, order.start_timeout_seconds)
        self.outbox = Outbox(rank, f"{self.directory}/log", order.log_quota_bytes)
        self._order = order
        self._urls = deque(urlsplit(url) for url in order.urls)
        self._connection: HTTPConnection | None = None
        self._lease_seconds = float(order.lease_seconds)
        self._closing = False
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._answered = threading.Event()

    def heed_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.lease.stop(self._order.grace_seconds))

    def report(self, record: Record) -> None:
        with self._lock:
            self.outbox.add(record)
        self._news.set()

    def log(self, data: bytes) -> None:
        with self._lock:
            self.outbox.log(data)
        self._news.set()

    def note(self, text: str) -> None:
        """A line of ours among the user's."""
        self.log(f"[crossdock] {text}\n".encode(errors="replace"))

    def greet(self, meanwhile: Callable[[], object]) -> str | None:
        """Says hello and returns None, or why user code must not start."""
        self.heed_signals()
        self.report({"kind": "hello", "host": socket.gethostname(), "pid": os.getpid()})
        threading.Thread(target=self._run, daemon=True).start()
        while not (self.lease.due() or self.lease.granted):
            self._await_answer()
            meanwhile()
        self.lease.due()  # the answer may have said "stop"
        return self.lease.reason

    def drain(self, until: float) -> bool:
        """Whether all that was reported and logged so far has been acknowledged."""
        self._closing = True
        self._news.set()
        while not (self.outbox.settled or self.lease.fenced or monotonic() >= until):
            self._await_answer()
        return self.outbox.settled

    def close(self, farewell: Record | None, until: float) -> None:
        """Delivers the log's tail first, the exit record alone and last."""
        import shutil

        if self.drain(until) and farewell:
            self.report({"kind": "exit", **farewell, "log_bytes": self.outbox.log_size})
        if self.drain(until) or self.lease.fenced:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            sys.stderr.write(
                f"[crossdock] the control plane did not take all; the rest is in {self.directory}\n"
            )

    def _await_answer(self) -> None:
        self._answered.wait(TICK_SECONDS)
        self._answered.clear()

    def _run(self) -> None:
        failures, sent_at = 0, -NEVER
        while not self.lease.fenced:
            pause = sent_at + self._pause_seconds(failures) - monotonic()
            if pause > 0:
                self._news.wait(pause)
                self._news.clear()
                continue
            sent_at = monotonic()
            failures = 0 if self._exchange(sent_at) else failures + 1
            self._answered.set()

    def _pause_seconds(self, failures: int) -> float:
        if failures:
            return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
        if self.outbox.settled:
            return min(HEARTBEAT_SECONDS, max(GATHER_SECONDS, self._lease_seconds / 4))
        return 0 if self._closing or self.outbox.crowded else GATHER_SECONDS

    def _exchange(self, sent_at: float) -> bool:
        with self._lock:
            body, last_seq = self.outbox.batch()
        try:
            code, payload = self._post(body)
            if code == 200:  # noqa: PLR2004
                return self._accept(json.loads(payload), sent_at)
        except (
            OSError,
            HTTPException,
            ValueError,
            LookupError,
            TypeError,
        ):  # the last three: not a plane's answer
            code = 503
        if code == 410:  # noqa: PLR2004
            self.lease.fenced = True
        elif 400 <= code < 500 and code not in RETRIED:  # noqa: PLR2004
            with self._lock:
                self.outbox.acknowledge(last_seq)
            self.note(f"the control plane refused records up to {last_seq} with {code}; they are dropped")
        else:
            self._urls.rotate(-1)
            self._connection = None
        return False

    def _post(self, body: bytes) -> tuple[int, bytes]:
        url = self._urls[0]
        if self._connection is None:
            kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
            self._connection = kind(url.netloc, timeout=min(10.0, max(0.5, self._order.lease_seconds / 3)))
        path = f"{url.path.rstrip('/')}/v1/attempts/{self._order.attempt_id}/records"
        headers = {"Authorization": f"Bearer {self._order.token}", "Content-Type": "application/json"}
        self._connection.request("POST", path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _accept(self, answer: Record, sent_at: float) -> bool:
        acked_seq, grace_seconds = int(answer["acked_seq"]), float(answer["grace_seconds"])
        with self._lock:
            self.outbox.acknowledge(acked_seq, int(answer["log_offset"]))
        if answer["stop"]:
            self.lease.stop(grace_seconds)
        if acked_seq > 0:  # hello has arrived
            self._lease_seconds = float(answer["lease_seconds"])
            self.lease.renew(sent_at, self._lease_seconds, grace_seconds)
        return True


class Exit(NamedTuple):
    code: int
    reason: str
    signal: int | None = None


LOST: Final = Exit(128 + signal.SIGKILL, "failed", signal.SIGKILL)


class UserCode:
    """The user's process group, known to its guard before its first instruction.

    The guard is a shell that kills the group when this process is gone, however it went. It shares our standard
    output: whoever reads that to its end knows that user code has ended as well.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        LIBC.prctl(
            PR_SET_CHILD_SUBREAPER, 1
        )  # what leaves the group, or outlives its parent there, becomes ours
        source, self._leash = os.pipe()
        self.output, sink = os.pipe()
        self._guard = Popen(["/bin/sh", "-c", GUARD], stdin=source, start_new_session=True)
        self._child = Popen(
            command,
            stdin=DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment,
            start_new_session=True,
            preexec_fn=self._settle,  # noqa: PLW1509 - it only calls the kernel
        )
        os.close(source)
        os.close(sink)

    def _settle(self) -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray blocks SIGINT in all its processes
        os.write(self._leash, b"%d\n" % os.getpid())

    def signal(self, number: int) -> bool:
        """Whether anybody is left to get it."""
        with suppress(ChildProcessError):
            while self._child.returncode is not None and os.waitpid(-self._child.pid, os.WNOHANG)[0]:
                pass  # an orphan that we inherited and that has ended
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)
            return True
        return False

    def is_over(self, *, patient: bool) -> bool:
        """Whether the entrypoint ended and, if `patient`, all it left behind: a shell dies before what it started."""
        return self._child.poll() is not None and not (patient and self.signal(0))

    def end(self, reason: str | None) -> Exit:
        """Kills what is left, wherever it hides, and waits until it is gone."""
        while self.signal(signal.SIGKILL) | self._kill_strays():
            time.sleep(TICK_SECONDS)
        os.write(self._leash, b"0\n")
        self._guard.wait()
        code = self._child.wait()
        number = -code if code < 0 else None
        code = 128 + number if number else code
        return Exit(code, reason or ("failed" if code else "completed"), number)

    def _kill_strays(self) -> bool:
        strays: set[int] = set()
        with suppress(FileNotFoundError), open(f"/proc/self/task/{os.getpid()}/children", "rb") as children:  # noqa: PTH123
            strays = {int(pid) for pid in children.read().split()} - {self._guard.pid, self._child.pid}
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return bool(strays)


class Keeper:
    """One rank: starts its user code, takes in what that says, and ends it when the lease wants so."""

    def __init__(self, order: Order, rank: int, link: Link, *, in_gang: bool) -> None:
        self._order, self._rank, self._link, self._in_gang = order, rank, link, in_gang
        self._records_path = f"{link.directory}/records"
        self._records = os.open(self._records_path, os.O_RDONLY | os.O_CREAT, 0o600)
        self._half_line = b""
        self._sources = [STDIN]

    def run(self) -> Exit:
        environment = user_environment(self._order, self._rank, os.environ, self._records_path)
        lease, due = self._link.lease, None
        lease.start_by = NEVER
        try:
            user = UserCode(command_line(self._order.entrypoint), environment)
        except (OSError, ValueError, SubprocessError) as problem:
            self._link.note(f"the entrypoint could not be started: {problem}")
            return Exit(126, "failed")
        self._sources.append(user.output)
        while not user.is_over(patient=lease.reason is not None and due != signal.SIGKILL):
            self.listen(TICK_SECONDS)
            if (due := lease.due()) is not None:
                user.signal(due)
        ended = user.end(lease.reason)
        while self.listen(0):
            pass
        return ended

    def farewell(self, ended: Exit, until: float) -> Record | None:
        while self._take_records() and (not self._link.outbox.crowded or self._link.drain(until)):
            pass
        self._take_line(self._half_line)
        return {**ended._asdict(), "final": not self._in_gang}

    def listen(self, seconds: float = 0) -> bool:
        """Whether anything was heard."""
        ready = select.select(self._sources, [], [], seconds)[0]
        for source in ready:
            data = os.read(source, BATCH_BYTES)
            if source != STDIN and data:
                self._link.log(data)
                continue
            self._sources.remove(source)
            if source == STDIN:
                self._link.lease.stop(self._order.grace_seconds)
        if not self._link.outbox.crowded:
            self._take_records()
        return bool(ready)

    def _take_records(self) -> bool:
        """Whether there may be more."""
        data = os.read(self._records, BATCH_BYTES)
        *lines, self._half_line = (self._half_line + data).split(b"\n")
        for line in lines:
            self._take_line(line)
        return bool(data)

    def _take_line(self, line: bytes) -> None:
        if (record := parse_record(line) if len(line) <= LINE_BYTES else None) is not None:
            self._link.report(record)
        elif line.strip():
            self._link.note(f"not a record: {line[:200].decode(errors='replace')}")


class Seat:
    """A gang's rank as a Ray actor: holds the booked share of the node, and the pipe to the keeper."""

    def __init__(self) -> None:
        self._source, self._sink = os.pipe()

    def address(self) -> tuple[str, int]:
        """Where the ranks of this gang can meet, should this be rank 0."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def keep(self, environment: dict[str, str]) -> list[Any] | None:
        """The keeper's Exit, or None if the keeper was killed; either way user code has ended."""
        command, names = [sys.executable, "-m", "crossdock_wrapper"], {**os.environ, **environment}
        keeper = Popen(command, stdin=self._source, stdout=PIPE, env=names, start_new_session=True)
        os.close(self._source)
        said: bytes = keeper.communicate()[0]
        return json.loads(said) if said else None

    def stop(self) -> None:
        os.write(self._sink, b"stop\n")


class Gang:
    """Starts a keeper in each booked seat, stops all when one fails, and says what came of them."""

    def __init__(self, order: Order, link: Link) -> None:
        self._order, self._link, self._lease = order, link, link.lease
        self._lease.patience_seconds = delivery_seconds(order) + SLACK_SECONDS
        self._running: dict[Any, int] = {}  # Ray's handles and references have no useful types
        self._ended: dict[int, Exit] = {}
        self._lost = False

    def run(self) -> Exit:
        try:
            seats = self._take_seats()
            return self._watch(seats) if seats else Exit(NOT_STARTED, self._lease.reason or "start_timeout")
        except Exception:  # noqa: BLE001 - Ray raises what it likes; the control plane must hear of it all the same
            self._link.note(f"the gang could not be led\n{traceback.format_exc()}")
            return Exit(NOT_STARTED, "start_timeout")  # unless keepers run, and then nobody is told

    def listen(self) -> None:
        """Nobody speaks to a gang but by signals."""

    def farewell(self, ended: Exit, _until: float) -> Record | None:
        """None while user code may run somewhere: the control plane then waits for each rank's own word or lease."""
        if self._running or self._lost:
            return None
        codes = {rank: each.code for rank, each in self._ended.items()}
        return {**ended._asdict(), "final": True, "ranks": codes}

    def _take_seats(self) -> list[Any]:
        """Tells a keeper in every seat to begin; takes no seat once the lease has a reason against it."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InBundle

        ray.init(address="auto", log_to_driver=False)
        self._link.heed_signals()  # ray.init takes SIGTERM for itself
        bundles = [
            {name: amount for name, amount in seat["resources"].items() if amount}
            for seat in self._order.seats
        ]
        nodes = [{"ray.io/node-id": seat["node_id"]} for seat in self._order.seats]
        group = ray.util.placement_group(bundles, strategy="PACK", bundle_label_selector=nodes)
        while not (self._lease.due() or group.wait(TICK_SECONDS)):
            pass
        if self._lease.reason:
            return []
        actor: Any = ray.remote(Seat)
        seats = [
            actor.options(**seat_options(bundle), scheduling_strategy=InBundle(group, rank)).remote()
            for rank, bundle in enumerate(bundles)
        ]
        addresses = [seat.address.remote() for seat in seats]
        while not self._lease.due() and ray.wait(addresses, num_returns=len(seats), timeout=TICK_SECONDS)[1]:
            pass
        if self._lease.reason:
            return []
        host, port = ray.get(addresses)[0]
        names = {
            "CROSSDOCK_ORDER": json.dumps(vars(self._order)),
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
        }
        for rank, seat in enumerate(seats):
            self._running[seat.keep.remote({**names, "CROSSDOCK_KEEP_RANK": str(rank)})] = rank
        self._lease.start_by = NEVER
        return seats

    def _watch(self, seats: list[Any]) -> Exit:
        import ray

        due: int | None = None
        first = Exit(0, "completed")
        while self._running and due != signal.SIGKILL:
            for done in ray.wait(list(self._running), timeout=TICK_SECONDS)[0]:
                rank = self._running.pop(done)
                self._ended[rank] = ended = self._outcome(rank, done)
                first = ended if first.reason == "completed" else first
            due = self._lease.due()
            if first.reason != "completed":
                due = self._lease.condemn(first.reason, self._order.grace_seconds) or due
            if due == signal.SIGTERM:
                for seat in seats:
                    seat.stop.remote()
        return first._replace(reason=self._lease.reason or first.reason)

    def _outcome(self, rank: int, done: Any) -> Exit:  # noqa: ANN401 - an ObjectRef
        import ray

        try:
            said = ray.get(done)
        except ray.exceptions.RayError as problem:
            self._lost = True
            self._link.note(f"rank {rank} was lost: {type(problem).__name__}")
            return LOST
        if said is None:
            self._link.note(f"the keeper of rank {rank} was killed")
            return LOST
        return Exit(*said)


def seat_options(bundle: Mapping[str, float]) -> Record:
    """A bundle's resources in the words of an actor's options."""
    own = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    options: Record = {option: bundle[name] for name, option in own.items() if name in bundle}
    options["resources"] = {name: bundle[name] for name in bundle if name not in own}
    return {"num_cpus": 0, **options, "max_concurrency": 2, "max_restarts": 0}


def play(order: Order, part: Keeper | Gang, link: Link) -> tuple[Exit, bool]:
    """How it ended, and whether that is the whole truth."""
    reason = link.greet(part.listen)
    ended = Exit(NOT_STARTED, reason) if reason else part.run()
    until = monotonic() + delivery_seconds(order)
    farewell = part.farewell(ended, until)
    link.close(farewell, until)
    return ended, farewell is not None


def fork_keeper() -> tuple[int, int] | None:
    """Returns the ends of the keeper's input and output to its starter, and None to the keeper."""
    words, sink = os.pipe()
    said, result = os.pipe()
    if os.fork():
        os.close(result)
        return sink, said
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(sink)
    os.dup2(words, STDIN)
    os.dup2(result, STDOUT)
    return None


def await_keeper(sink: int, said: int) -> Exit:
    def stop(*_: object) -> None:
        with suppress(BrokenPipeError):
            os.write(sink, b"stop\n")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with open(said, "rb") as result:
        last_words = result.read()
    return Exit(*json.loads(last_words)) if last_words else LOST


def main() -> int:
    order = Order(**json.loads(os.environ["CROSSDOCK_ORDER"]))
    keep_rank = os.environ.get("CROSSDOCK_KEEP_RANK")
    if keep_rank is None and order.launch == "tasks" and len(order.seats) > 1:
        link = Link(order, COORDINATOR)
        ended, knows_all = play(order, Gang(order, link), link)
        if not knows_all:
            os.kill(os.getpid(), signal.SIGKILL)  # an exit code would pass for proof that no user code runs
    elif keep_rank is None and (ends := fork_keeper()) is not None:
        ended = await_keeper(*ends)
    else:
        if keep_rank is not None and os.fork():
            os._exit(0)
        rank = int(keep_rank or 0)
        link = Link(order, rank)
        ended, _ = play(order, Keeper(order, rank, link, in_gang=keep_rank is not None), link)
        os.write(STDOUT, json.dumps(ended).encode())
    return NOT_STARTED if ended.reason in {"lease_lost", "start_timeout", "fenced"} else ended.code


if __name__ == "__main__":
    sys.exit(main())
