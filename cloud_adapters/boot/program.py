"""Makes a machine that was just bought part of its claim's Ray cluster, and ends it when nobody wants it any more.

The one file that travels in user data: runs as root under systemd, with the standard library of Python 3.9 alone. What
it says on the wire, what its order holds, and when a machine must end stands in docs/machine-protocol.md.

    live ── Metadata  who this machine is, and whether its provider wants it back
         ├─ Line      check-ins with the control plane
         ├─ Ray       `ray start`, as a user that can neither read our secrets nor take back the shutdown
         └─ Gate      on the head: TLS in front of Ray's dashboard, which listens on loopback alone

parse_answer, part_of, Course, Starts, ray_flags, is_let_in and the notices decide; they touch nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

USER = "crossdock"
HOME = "/var/lib/crossdock-ray"
RAY_LOG = Path("/var/log/crossdock-ray.log")
RAY_PLACES = ("/opt/crossdock/bin", "/opt/ray/bin", "/opt/conda/bin")
DASHBOARD_PORT = 8265
AGENT_PORT = 8266
PORTS = {
    "--dashboard-agent-listen-port": AGENT_PORT,
    "--dashboard-agent-grpc-port": 8267,
    "--metrics-export-port": 8268,
    "--runtime-env-agent-port": 8269,
    "--node-manager-port": 8270,
    "--object-manager-port": 8271,
    "--min-worker-port": 10002,
    "--max-worker-port": 19999,
}
TICK_SECONDS = 0.25
CALL_SECONDS = 10.0
LAST_CALL_SECONDS = 3.0
METADATA_SECONDS = 2.0
NOTICE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 30.0
START_SECONDS = 180.0  # `ray start` waits for a dead head without end
STOP_SECONDS = 10.0
STEADY_SECONDS = 600.0
MOST_STARTS = 5
HEAD_BYTES = 32 * 1024
HEAD_SECONDS = 10.0
MOST_CONNECTIONS = 256
CHUNK_BYTES = 64 * 1024
ANSWER_BYTES = 1024 * 1024
NEVER = float("inf")
OK = 200
GONE = 410
METADATA_HEADERS = {"aws": "X-aws-ec2-metadata-token", "alibaba": "X-aliyun-ecs-metadata-token"}
GATE_HEADERS = (b"authorization", b"x-ray-authorization")
END_OF_HEAD = b"\r\n\r\n"

Order = SimpleNamespace  # came in as JSON


def monotonic() -> float:
    """Goes on while the machine is suspended, unlike time.monotonic: the dead man does not wait."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def log(text: str) -> None:
    sys.stderr.write(f"crossdock: {text}\n")
    sys.stderr.flush()


class Answer(NamedTuple):
    """What a contact says."""

    role: str
    head_host: str | None
    ray_token: str
    tls: tuple[str, str] | None  # certificate and key
    tls_port: int
    gcs_port: int
    labels: tuple[tuple[str, str], ...]
    again_after_seconds: float
    dead_man_seconds: float


def parse_answer(payload: bytes) -> Answer:
    """Raises ValueError for what is no answer of a control plane, without its text: that may hold a token."""
    try:
        said = json.loads(payload)
        tls = said["tls"]
        answer = Answer(
            role=said["role"],
            head_host=said["head_host"],
            ray_token=said["ray_token"] or "",
            tls=tls and (str(tls["certificate_pem"]), str(tls["key_pem"])),
            tls_port=int(said["tls_port"]),
            gcs_port=int(said["gcs_port"]),
            labels=tuple(sorted((str(name), str(value)) for name, value in said["labels"].items())),
            again_after_seconds=float(said["again_after_seconds"]),
            dead_man_seconds=float(said["dead_man_seconds"]),
        )
    except (ValueError, TypeError, LookupError, AttributeError) as problem:
        raise ValueError(f"not an answer of a control plane: {type(problem).__name__}") from None
    whole = {"head": answer.tls, "node": answer.head_host, "wait": True}.get(answer.role)
    if not whole or (answer.role != "wait" and not answer.ray_token):
        raise ValueError(f"an answer for role {answer.role!r} lacks what the role needs")
    if not (answer.again_after_seconds > 0 and answer.dead_man_seconds > 0):
        raise ValueError("an answer without positive times")
    return answer


class Part(NamedTuple):
    """What this machine is in its cluster; another part is another Ray."""

    head_host: str | None  # None: the head itself
    ray_token: str
    tls_port: int
    gcs_port: int


def part_of(answer: Answer, now_playing: Part | None) -> Part | None:
    """`wait` changes nothing."""
    if answer.role == "wait":
        return now_playing
    head_host = answer.head_host if answer.role == "node" else None
    return Part(head_host, answer.ray_token, answer.tls_port, answer.gcs_port)


class Course:
    """When to check in, when to arm the operating system, and why to end. Is told what happens; does nothing."""

    def __init__(self, now: float, dead_man_seconds: float) -> None:
        self.dead_man_seconds = dead_man_seconds
        self.ending: str | None = None
        self._contact_at = now
        self._again_at = now
        self._failures = 0
        self._tried: object = None
        self._armed: tuple[float, int] | None = None

    def is_due(self, now: float, news: object) -> bool:
        """Whether to check in now; what is new is tried at once, and then like everything else."""
        return now >= self._again_at or news != self._tried

    def tried(self, now: float, news: object, code: int, answer: Answer | None) -> None:
        self._tried = news
        if code == GONE:
            self.ending = "the claim is over"
        elif answer is None:
            self._again_at = now + min(2.0**self._failures, LONGEST_PAUSE_SECONDS)
            self._failures = min(self._failures + 1, 10)
        else:
            self._failures = 0
            self._contact_at = now
            self._again_at = now + answer.again_after_seconds
            self.dead_man_seconds = answer.dead_man_seconds

    def minutes_to_arm(self, now: float) -> int | None:
        """For `shutdown -h +N`, when that is due: first of all, and after contacts, but not after each."""
        minutes = math.ceil(self.dead_man_seconds / 60) + 1
        if self._armed is not None:
            armed_at, armed_minutes = self._armed
            is_fresh = now - armed_at < min(60.0, self.dead_man_seconds / 4)
            if self._contact_at <= armed_at or (is_fresh and minutes == armed_minutes):
                return None
        self._armed = (now, minutes)
        return minutes

    def look(self, now: float) -> None:
        """The dead man's switch."""
        if self.ending is None and now - self._contact_at > self.dead_man_seconds:
            self.ending = f"no contact with the control plane for {self.dead_man_seconds:.0f} s"


class Starts:
    """When Ray may be started, and when it is given up."""

    def __init__(self) -> None:
        self.failures = 0
        self._next_at = -NEVER

    @property
    def given_up(self) -> bool:
        return self.failures >= MOST_STARTS

    def ended(self, now: float, ran_seconds: float) -> None:
        self.failures = 1 if ran_seconds >= STEADY_SECONDS else self.failures + 1
        self._next_at = now + min(2.0**self.failures, LONGEST_PAUSE_SECONDS)

    def is_due(self, now: float) -> bool:
        return now >= self._next_at and not self.given_up


def ray_flags(part: Part, host: str, labels: tuple[tuple[str, str], ...]) -> list[str]:
    if part.head_host is None:
        place = ["--head", f"--port={part.gcs_port}", "--include-dashboard=true", "--no-monitor"]
        place += ["--dashboard-host=127.0.0.1", f"--dashboard-port={DASHBOARD_PORT}"]
    else:
        place = [f"--address={part.head_host}:{part.gcs_port}"]
    named = ",".join(f"{name}={value}" for name, value in labels)
    ports = [f"{flag}={port}" for flag, port in PORTS.items()]
    return ["start", "--block", *place, *ports, f"--node-ip-address={host}", f"--labels={named}"]


def is_let_in(head: bytes, token: str) -> bool:
    """Whether a request's head carries the Ray token."""
    right = f"Bearer {token}".encode()
    fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    said = [value.strip() for name, _, value in fields if name.lower() in GATE_HEADERS]
    return any(hmac.compare_digest(value, right) for value in said)


def aws_notice(action: str | None, events: str | None) -> dict[str, str] | None:
    """From `spot/instance-action` and `events/maintenance/scheduled`; the nearer one of the first kind wins."""
    if action is not None:
        return {"kind": "spot", "at": str(json.loads(action)["time"])}
    scheduled = [event for event in json.loads(events or "[]") if event.get("State") == "active"]
    times = sorted(parsedate_to_datetime(event["NotBefore"]) for event in scheduled)
    return {"kind": "maintenance", "at": rfc3339(times[0])} if times else None


def alibaba_notice(termination_time: str | None) -> dict[str, str] | None:
    return {"kind": "spot", "at": termination_time.strip()} if termination_time else None


def rfc3339(at: datetime) -> str:
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: UP017 - Python 3.9


class Metadata:
    """The provider's metadata service, in its hardened mode. Calls raise OSError, HTTPException or ValueError."""

    def __init__(self, kind: str, url: str) -> None:
        self._kind = kind
        self._netloc = urlsplit(url).netloc
        self._header = METADATA_HEADERS[kind]

    def identity(self) -> tuple[str, str]:
        """Id and private address."""
        token = self._token()
        address = "local-ipv4" if self._kind == "aws" else "private-ipv4"
        machine, host = self._get("instance-id", token), self._get(address, token)
        if not machine or not host:
            raise ValueError("the metadata service does not say who this machine is")
        return machine.strip(), host.strip()

    def notice(self) -> dict[str, str] | None:
        token = self._token()
        if self._kind == "alibaba":
            return alibaba_notice(self._get("instance/spot/termination-time", token))
        action = self._get("spot/instance-action", token)
        return aws_notice(action, self._get("events/maintenance/scheduled", token))

    def _token(self) -> str:
        code, token = self._ask("PUT", "/latest/api/token", {f"{self._header}-ttl-seconds": "60"})
        if code != OK:
            raise OSError(f"the metadata service answered {code}")
        return token

    def _get(self, name: str, token: str) -> str | None:
        code, text = self._ask("GET", f"/latest/meta-data/{name}", {self._header: token})
        if code not in {OK, 404}:
            raise OSError(f"the metadata service answered {code}")
        return text if code == OK else None

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = HTTPConnection(self._netloc, timeout=METADATA_SECONDS)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(CHUNK_BYTES).decode()
        finally:
            connection.close()


class Line:
    """To the control plane, by any of its urls."""

    def __init__(self, order: Order) -> None:
        self._urls = [urlsplit(url) for url in order.urls]
        self._token = order.token
        self._context = ssl.create_default_context(cadata=order.ca_pem)

    def check_in(self, body: dict[str, Any], seconds: float) -> tuple[int, bytes]:
        """The code is 0 when nobody answered. Another url is tried next time."""
        url = self._urls[0]
        try:
            code, payload = self._post(url, json.dumps(body).encode(), seconds)
        except (OSError, HTTPException, ValueError) as problem:
            log(f"no answer from {url.netloc}: {type(problem).__name__} {problem}")
            code, payload = 0, b""
        if code not in {OK, GONE}:
            self._urls = [*self._urls[1:], url]
        return code, payload

    def _post(self, url: Any, body: bytes, seconds: float) -> tuple[int, bytes]:  # noqa: ANN401 - private type
        if url.scheme == "https":
            connection: HTTPConnection = HTTPSConnection(url.netloc, timeout=seconds, context=self._context)
        elif url.hostname in {"127.0.0.1", "::1", "localhost"}:
            connection = HTTPConnection(url.netloc, timeout=seconds)
        else:
            raise ValueError("plain http off loopback is refused")
        try:
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            connection.request("POST", f"{url.path.rstrip('/')}/v1/machines/check-in", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES)
        finally:
            connection.close()


class Ray:
    """One Ray node that is kept running, as a user whose every process ends with it."""

    def __init__(self, machine: str, host: str, claim_id: str) -> None:
        self._host = host
        self._labels = {"crossdock.io/claim": claim_id, "crossdock.io/machine": machine}
        self._command = find_ray()
        self._account = account()
        self._starts = Starts()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self.part: Part | None = None
        self.is_up = False
        self.problem: str | None = None

    @property
    def given_up(self) -> bool:
        return self._starts.given_up

    def tend(self, now: float, part: Part | None, labels: tuple[tuple[str, str], ...]) -> None:
        """Starts what should run, looks whether it is up, and clears away what has ended."""
        if part != self.part:
            self.stop()
            self.part, self._starts = part, Starts()
        if self._process is not None:
            self._watch(self._process, now)
        elif self.part is not None and self._starts.is_due(now):
            self._start(now, self.part, labels)

    def _start(self, now: float, part: Part, labels: tuple[tuple[str, str], ...]) -> None:
        self._started_at = now
        flags = ray_flags(part, self._host, tuple(sorted({**dict(labels), **self._labels}.items())))
        home = self._account.pw_dir
        token_file = f"{home}/ray-token"
        shutil.rmtree("/tmp/ray", ignore_errors=True)  # noqa: S108 - root may have left it on the image
        write_private(token_file, part.ray_token, self._account)
        environment = {
            **os.environ,
            # Jobs inherit it, and need the Python that has Ray.
            "PATH": f"{Path(self._command).parent}:{os.environ.get('PATH', os.defpath)}",
            "HOME": home,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": token_file,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{START_SECONDS:.0f}",
            "RAY_enable_autoscaler_v2": "1",  # the dashboard then tells what is used per node
        }
        log(f"starts ray as {'the head' if part.head_host is None else 'a node'}")
        with RAY_LOG.open("wb") as out:
            self._process = subprocess.Popen(
                [self._command, *flags],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                user=self._account.pw_uid,
                group=self._account.pw_gid,
                extra_groups=os.getgrouplist(USER, self._account.pw_gid),
            )

    def _watch(self, process: subprocess.Popen[bytes], now: float) -> None:
        code = process.poll()
        if code is None and self.is_up:
            return
        if code is None and now - self._started_at < START_SECONDS:
            if self._answers():
                self.is_up, self.problem = True, None
            return
        self._starts.ended(now, now - self._started_at)
        why = f"ended with code {code}" if code is not None else f"was not up after {START_SECONDS:.0f} s"
        self.problem = f"ray {why}, {self._starts.failures} of {MOST_STARTS} starts; it said: {self._said()}"
        log(self.problem)
        self.stop()

    def _answers(self) -> bool:
        token = "" if self.part is None else self.part.ray_token
        asked = [(self._host, AGENT_PORT, "/api/local_raylet_healthz")]
        if self.part is not None and self.part.head_host is None:
            asked.append(("127.0.0.1", DASHBOARD_PORT, "/api/version"))
        return all(answers_ok(host, port, path, token) for host, port, path in asked)

    def _said(self) -> str:
        with suppress(OSError), RAY_LOG.open("rb") as file:
            file.seek(max(0, RAY_LOG.stat().st_size - 2000))
            text = " ".join(file.read().decode(errors="replace").split())
            token = self.part.ray_token if self.part else ""
            return (text.replace(token, "***") if token else text)[-500:]
        return ""

    def stop(self) -> None:
        """Ray's own processes leave its process group, and the users' may do what they like: all have the user."""
        self.is_up = False
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        while found := pids_of(self._account.pw_uid):
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(TICK_SECONDS)
        self._process = None


def find_ray() -> str:
    """Raises FileNotFoundError."""
    places = os.pathsep.join((os.environ.get("PATH") or os.defpath, *RAY_PLACES))
    found = shutil.which("ray", path=places)
    if found is None:
        raise FileNotFoundError(f"the image has no `ray` on {places}")
    return os.path.realpath(found)


def account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    make = ["useradd", "--system", "--create-home", "--home-dir", HOME, "--shell", "/bin/sh", USER]
    subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
    return pwd.getpwnam(USER)


def write_private(path: str, text: str, owner: pwd.struct_passwd) -> None:
    Path(path).unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.chown(path, owner.pw_uid, owner.pw_gid)


def answers_ok(host: str, port: int, path: str, token: str) -> bool:
    connection = HTTPConnection(host, port, timeout=METADATA_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def pids_of(uid: int) -> list[int]:
    """Processes of a user that are not zombies."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError), (folder / "status").open() as file:
                fields = dict(line.split(":", 1) for line in file)
                if int(fields["Uid"].split()[0]) == uid and fields["State"].strip()[0] not in "ZX":
                    found.append(int(folder.name))
    return found


class Gate:
    """TLS in front of a port of loopback: who shows the Ray token is passed on, byte for byte."""

    def __init__(self, part: Part, target_port: int, tls: tuple[str, str]) -> None:
        """Listens when it returns. Raises OSError (ssl.SSLError among them)."""
        self.part = part
        self._target_port = target_port
        self._tls: tuple[str, str] | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.use(tls)
        self._open = 0
        self._listener = socket.create_server(("0.0.0.0", part.tls_port), backlog=128)  # noqa: S104 - the claim's only door
        self._listener.settimeout(0)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def use(self, tls: tuple[str, str]) -> None:
        """For new connections. Python reads a key from a file only; this one is in memory."""
        if tls == self._tls:
            return
        with os.fdopen(os.memfd_create("tls"), "w") as file:
            file.write("\n".join(tls))
            file.flush()
            self._context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        self._tls = tls

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        with self._listener, suppress(asyncio.CancelledError):
            asyncio.run(self._accept())  # cancels what is still open when it ends

    async def _accept(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving = self._loop.create_task(self._accept_each())
        self._ready.set()
        await self._serving

    async def _accept_each(self) -> None:
        tasks = set()
        while True:
            try:
                line, _ = await self._loop.sock_accept(self._listener)
            except OSError:  # out of descriptors, or gone before it was taken
                await asyncio.sleep(TICK_SECONDS)
                continue
            if self._open >= MOST_CONNECTIONS:
                line.close()
                continue
            self._open += 1
            tasks.add(task := self._loop.create_task(self._serve(line)))
            task.add_done_callback(tasks.discard)

    async def _serve(self, line: socket.socket) -> None:
        writers: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await self._shake_hands(line)
            writers.append(writer)
            head = await self._head(reader, writer)
            if head is not None:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
                writers.append(far_writer)
                far_writer.write(head)
                ways = (pump(reader, far_writer), pump(far_reader, writer))
                both = [self._loop.create_task(way) for way in ways]
                _, other = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in other:
                    task.cancel()
        except (OSError, EOFError, asyncio.TimeoutError):  # noqa: UP041 - Python 3.9 tells them apart
            pass
        finally:
            self._open -= 1
            for writer in writers:
                writer.close()

    async def _shake_hands(self, line: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        line.settimeout(0)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        reader = asyncio.StreamReader(limit=HEAD_BYTES, loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol, line, ssl=self._context, ssl_handshake_timeout=HEAD_SECONDS
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def _head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """Of the first request, or None when that was refused."""
        try:
            head = await asyncio.wait_for(reader.readuntil(END_OF_HEAD), HEAD_SECONDS)
            if is_let_in(head, self.part.ray_token):
                return head
            refusal = b"401 Unauthorized"
        except asyncio.LimitOverrunError:
            refusal = b"431 Request Header Fields Too Large"
        writer.write(b"HTTP/1.1 " + refusal + b"\r\nContent-Length: 0\r\nConnection: close" + END_OF_HEAD)
        await asyncio.wait_for(writer.drain(), HEAD_SECONDS)
        return None


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


class Machine:
    """All of it, one step at a time."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.course = Course(monotonic(), order.dead_man_seconds)
        self.arm(monotonic())
        self._line = Line(order)
        self.stopped = threading.Event()  # by a signal
        self._metadata: Metadata | None = None
        self._identity: tuple[str, str] | None = None
        self._notice: dict[str, str] | None = None
        self._notice_at = -NEVER
        self._answer: Answer | None = None
        self._part: Part | None = None
        self._ray: Ray | None = None
        self._gate: Gate | None = None
        self._problem: str | None = None

    def live(self) -> str | None:
        """Returns why the machine must end, or None when somebody else ends it."""
        signal.signal(signal.SIGTERM, lambda *_: self.stopped.set())
        while not self.stopped.wait(TICK_SECONDS):
            now = monotonic()
            self.course.look(now)
            if self.course.ending is not None:
                return self.course.ending
            self._look_around(now)
            if self._identity is not None:
                self._play(now)
                self._check_in(now)
                if self._ray is not None and self._ray.given_up:
                    self._leave()
                    return self._ray.problem
            self.arm(monotonic())
        self._notice = {"kind": "shutdown", "at": rfc3339(datetime.now(timezone.utc))}  # noqa: UP017 - Python 3.9
        self._leave()
        return None

    def close(self) -> None:
        if self._gate is not None:
            self._gate.close()
        if self._ray is not None:
            self._ray.stop()

    def arm(self, now: float) -> None:
        minutes = self.course.minutes_to_arm(now)
        if minutes is not None:
            shut_down(f"+{minutes}")

    def _look_around(self, now: float) -> None:
        if now < self._notice_at:
            return
        self._notice_at = now + NOTICE_SECONDS
        try:
            if self._metadata is None or self._identity is None:
                self._metadata, self._identity = find_identity(self._order.metadata)
            self._notice = self._metadata.notice()
        except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as problem:
            log(f"metadata: {type(problem).__name__} {problem}")

    def _play(self, now: float) -> None:
        """The part that the control plane gave to this machine."""
        if self._answer is None or self._identity is None:
            return
        try:
            if self._ray is None:
                self._ray = Ray(*self._identity, self._order.claim_id)
            self._part = part_of(self._answer, self._part)
            self._ray.tend(now, self._part, self._answer.labels)
            self._tend_gate(self._answer, self._part)
            self._problem = self._ray.problem
        except (OSError, subprocess.SubprocessError, KeyError) as problem:
            self._problem = f"{type(problem).__name__}: {problem}"

    def _tend_gate(self, answer: Answer, part: Part | None) -> None:
        if self._gate is not None and self._gate.part != part:
            self._gate.close()
            self._gate = None
        if part is None or part.head_host is not None or answer.tls is None:
            return
        if self._gate is None:
            self._gate = Gate(part, DASHBOARD_PORT, answer.tls)
        self._gate.use(answer.tls)

    @property
    def _phase(self) -> str:
        is_up = self._ray is not None and self._ray.is_up
        is_open = self._gate is not None or (self._part is not None and self._part.head_host is not None)
        return "up" if is_up and is_open else "booting"

    def _check_in(self, now: float) -> None:
        news = (self._phase, str(self._notice), self._problem)
        if not self.course.is_due(now, news):
            return
        code, payload = self._line.check_in(self._body(self._phase), CALL_SECONDS)
        answer = None
        if code == OK:
            try:
                answer = parse_answer(payload)
            except ValueError as problem:
                log(str(problem))
        elif code:
            log(f"check-in was answered {code}")
        self._answer = answer or self._answer
        self.course.tried(now, news, code, answer)

    def _leave(self) -> None:
        if self._identity is not None:
            self._line.check_in(self._body("leaving"), LAST_CALL_SECONDS)

    def _body(self, phase: str) -> dict[str, Any]:
        machine, host = self._identity or ("", "")
        return {
            "claim_id": self._order.claim_id,
            "launch_id": self._order.launch_id,
            "machine": machine,
            "host": host,
            "phase": phase,
            "notice": self._notice,
            "problem": self._problem,
        }


def find_identity(places: list[dict[str, str]]) -> tuple[Metadata, tuple[str, str]]:
    for place in places:
        metadata = Metadata(place["kind"], place["url"])
        with suppress(OSError, HTTPException, ValueError):
            return metadata, metadata.identity()
    raise OSError("no metadata service answers")


def shut_down(when: str) -> None:
    for command in (["shutdown", "--no-wall", "-h", when], ["shutdown", "-h", when]):
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30
            )
            return
    log(f"could not shut down {when}")


def main() -> None:
    machine = Machine(Order(**json.loads(Path(sys.argv[1]).read_text())))
    why = machine.live()
    machine.close()
    while why is not None:
        log(f"ends this machine: {why}")
        shut_down("now")
        if machine.stopped.wait(LONGEST_PAUSE_SECONDS):
            return


if __name__ == "__main__":
    main()
