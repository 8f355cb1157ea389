"""A control plane in miniature: real HTTP on loopback, jobs in a dictionary, and vices on demand.

It keeps the promises that the SDK builds on (an idempotency key does a deed once, Last-Event-ID goes on
behind an event) and breaks everything else that a network may break.
"""

import contextlib
import hashlib
import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

NOW: Final = "2026-03-01T12:00:00Z"
Query = dict[str, list[str]]
Answer = tuple[int, dict[str, Any] | None]


class Vice(StrEnum):
    LOST_ANSWER = "the deed is done, then the connection breaks"
    AWAY = "503, come back at once"
    BUSY = "429"
    BROKEN_PROXY = "502 with a page that is no problem document"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    method: str
    path: str
    query: Query
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Stream:
    """What one connection to a stream is sent."""

    messages: list[tuple[str | None, str]]
    """(id, data)"""

    breaks: bool = False
    """Ends without the end of the body, as a killed server does."""


@dataclass(slots=True)
class Plane:
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[tuple[str, int], str] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    vices: deque[Vice] = field(default_factory=deque)
    streams: deque[Stream] = field(default_factory=deque)
    refused_streams: Answer | None = None
    """What a connection to a stream is answered when `streams` is empty; None: an empty stream."""

    fixed: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """(method, path) -> what is answered there."""

    phases: dict[str, deque[str]] = field(default_factory=dict)
    """Job id -> the states that the next looks find; the last one stays."""

    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    connections: list[socket.socket] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        plane = self

        class Talk(_Talk):
            owner = plane

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Talk)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """As a kill does: open connections break too."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self.connections:
            cut(connection)
        self.connections.clear()

    def paths(self, method: str) -> list[str]:
        return [each.path for each in self.seen if each.method == method]

    def answer(self, seen: Seen) -> Answer:
        """Does what was asked, at most once per idempotency key."""
        with self._lock:
            key = seen.headers.get("idempotency-key")
            if key is not None and key in self._answers:
                return self._answers[key]
            answer = self._act(seen)
            if key is not None:
                self._answers[key] = answer
            return answer

    def _act(self, seen: Seen) -> Answer:
        if (seen.method, seen.path) in self.fixed:
            return self.fixed[seen.method, seen.path]
        if seen.method != "POST":
            return self._read(seen)
        match seen.path.removeprefix("/v1/").split("/"):
            case ["jobs"]:
                return 201, self.add_job(json.loads(seen.body))
            case ["jobs", "batch" | "bulk" as how]:
                code, add = (201, self.add_job) if how == "batch" else (200, self._item)
                return code, {"items": [add(each) for each in json.loads(seen.body)["jobs"]]}
            case ["uploads"]:
                digest = f"sha256:{hashlib.sha256(seen.body).hexdigest()}"
                self.uploads[digest] = seen.body
                return 201, {"digest": digest, "size_bytes": len(seen.body)}
            case ["jobs", job_id, "cancel"]:
                return 200, self._move(job_id, "cancelled")
            case ["jobs", job_id, "retry"]:
                return 201, self.add_job({**self.jobs[job_id]["spec"]}, retry_of=job_id)
            case _:
                return _problem(404, "not_found", f"nothing at {seen.path}")

    def _read(self, seen: Seen) -> Answer:
        query = seen.query
        match seen.path.removeprefix("/v1/").split("/"):
            case ["uploads", digest]:
                return (200 if digest in self.uploads else 404), None
            case ["jobs"]:
                return 200, _page(list(reversed(self.jobs.values())), query)
            case ["jobs", job_id] if job_id in self.jobs:
                ahead = self.phases.get(job_id)
                return 200, self._move(job_id, ahead.popleft()) if ahead else self.jobs[job_id]
            case ["jobs", job_id, "attempts"]:
                return 200, _page(self.attempts.get(job_id, []), query)
            case ["jobs", _, "metrics"]:
                return 200, _page(self.metrics, query)
            case ["jobs", job_id, "logs"]:
                return 200, self._log(job_id, query)
            case _:
                return _problem(404, "not_found", f"nothing at {seen.path}")

    def _log(self, job_id: str, query: Query) -> dict[str, Any]:
        attempt_id, rank, offset = query["attempt"][0], int(query["rank"][0]), int(query["offset"][0])
        whole = self.logs.get((attempt_id, rank), "")
        done = self.jobs[job_id]["state"] in {"succeeded", "failed", "cancelled"}
        return chunk(
            attempt_id, rank, offset, whole[offset : offset + 10], complete=done and offset + 10 >= len(whole)
        )

    def add_job(self, spec: dict[str, Any], **given: object) -> dict[str, Any]:
        job = job_document(f"job_{len(self.jobs) + 1}", spec=spec, **given)
        self.jobs[job["id"]] = job
        return job

    def _item(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Of the many reasons to refuse a job, knows one."""
        if "entrypoint" not in spec:
            field = {"field": "entrypoint", "message": "is missing"}
            return {"code": "invalid", "detail": "entrypoint: is missing", "fields": [field]}
        job = self.add_job(spec)
        return {name: job[name] for name in ("id", "name", "state")}

    def _move(self, job_id: str, state: str) -> dict[str, Any]:
        job = self.jobs[job_id]
        rises = job["version"] + (job["state"] != state)
        self.jobs[job_id] = {**job, "state": state, "phase": state, "version": rises}
        return self.jobs[job_id]


def job_document(job_id: str, *, spec: dict[str, Any], **given: object) -> dict[str, Any]:
    return {
        "id": job_id,
        "name": spec.get("name", "job"),
        "project": spec.get("project", "default"),
        "queue": spec.get("queue", "default"),
        "kind": spec.get("kind", "command"),
        "state": "queued",
        "phase": "queued",
        "priority": 0,
        "tasks": spec.get("tasks", 1),
        "attempts": 0,
        "submitted_at": NOW,
        "since": NOW,
        "version": 1,
        "spec": spec,
        "schema_version": 1,
        **given,
    }


def attempt_document(attempt_id: str, *, number: int = 1, ranks: int = 1, **given: object) -> dict[str, Any]:
    return {
        "id": attempt_id,
        "job_id": "job_1",
        "number": number,
        "cluster_id": "cluster_1",
        "cluster": "local",
        "state": "running",
        "placed_at": NOW,
        "seats": [
            {"rank": rank, "node_id": f"n{rank}", "node": f"node-{rank}", "resources": {}}
            for rank in range(ranks)
        ],
        **given,
    }


def chunk(attempt_id: str, rank: int, offset: int, data: str, *, complete: bool = False) -> dict[str, Any]:
    return {
        "attempt_id": attempt_id,
        "rank": rank,
        "offset": offset,
        "next_offset": offset + len(data),
        "data": data,
        "complete": complete,
    }


def _page(items: list[dict[str, Any]], query: Query) -> dict[str, Any]:
    """Three at a time, so that a test of pages stays small."""
    first = int(query.get("after", ["0"])[0])
    last = first + 3
    return {"items": items[first:last], "next": str(last) if last < len(items) else None}


def _problem(code: int, word: str, detail: str) -> Answer:
    return code, {"type": f"/problems/{word}", "title": word, "status": code, "detail": detail, "code": word}


class _Talk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Plane

    def setup(self) -> None:
        super().setup()
        self.owner.connections.append(self.connection)

    def do_GET(self) -> None:
        seen = self._seen()
        if seen.path.endswith("/stream"):
            self._stream()
        else:
            self._reply(seen)

    def do_HEAD(self) -> None:
        self._reply(self._seen())

    def do_POST(self) -> None:
        self._reply(self._seen())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the standard library's name
        """Says nothing."""

    def _seen(self) -> Seen:
        parts = urlsplit(self.path)
        seen = Seen(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        self.owner.seen.append(seen)
        return seen

    def _reply(self, seen: Seen) -> None:
        vice = self.owner.vices.popleft() if self.owner.vices else None
        if vice is Vice.AWAY:
            self._send(*_problem(503, "unavailable", "the database is away"))
        elif vice is Vice.BUSY:
            self._send(*_problem(429, "throttled", "too many requests"))
        elif vice is Vice.BROKEN_PROXY:
            self._send_bytes(502, b"<html>bad gateway</html>")
        elif vice is Vice.LOST_ANSWER:
            self.owner.answer(seen)
            self._break()
        else:
            self._send(*self.owner.answer(seen))

    def _stream(self) -> None:
        if not self.owner.streams and self.owner.refused_streams is not None:
            self._send(*self.owner.refused_streams)
            return
        stream = self.owner.streams.popleft() if self.owner.streams else Stream(messages=[])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event_id, data in stream.messages:
            head = f"id: {event_id}\n" if event_id else ""
            self._write_piece(f"{head}data: {data}\n\n".encode())
        if stream.breaks:
            self._break()
        else:
            self._write_piece(b"")

    def _write_piece(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _send(self, code: int, document: dict[str, Any] | None) -> None:
        self._send_bytes(code, b"" if document is None else json.dumps(document).encode())

    def _send_bytes(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _break(self) -> None:
        self.close_connection = True
        cut(self.connection)


def cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running_plane() -> Iterator[Plane]:
    plane = Plane()
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()
