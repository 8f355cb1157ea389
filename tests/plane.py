"""A control plane as the job protocol knows it, with vices: it stores, forgets to answer, fails, and goes away."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LOSE_ANSWER = 0
"""A vice beside the HTTP codes: the batch is stored, and the connection dies before the answer."""

REFUSE = 422
"""The one code that makes a hole legal: the sender drops what was refused."""

Record = dict[str, Any]  # JSON, as it came


class Plane:
    """What one attempt has told, checked for holes and for retold facts that differ."""

    def __init__(self, *, lease_seconds: float = 2.0, grace_seconds: float = 1.0) -> None:
        self.lease_seconds = lease_seconds
        self.grace_seconds = grace_seconds
        self.vices: list[int] = []
        """Taken one per request, first to last."""

        self.stop = False
        self.faults: list[str] = []
        self.retold = 0
        self.answered_at: dict[int, float] = {}
        self.on_request: Callable[[Record], int | None] = lambda _body: None
        """May look at a batch first, and refuse it with a code."""

        self._records: dict[int, list[Record]] = {}
        self._refused: set[tuple[int, int]] = set()
        self._logs: dict[int, bytearray] = {}
        self._changed = threading.Condition()
        self._server: ThreadingHTTPServer | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/base"

    def up(self) -> Self:
        plane = self

        class Endpoint(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                plane._serve(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Endpoint)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def down(self) -> None:
        """Refuses connections from here on; kept ones get no more answers."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()

    def records(self, kind: str, rank: int = 0) -> list[Record]:
        """Without `seq` and `at`, which every record has."""
        with self._changed:
            records = [record for record in self._records.get(rank, []) if record["kind"] == kind]
        return [
            {name: record[name] for name in record if name not in {"seq", "at", "kind"}} for record in records
        ]

    def exit(self, rank: int = 0) -> Record:
        (record,) = self.records("exit", rank)
        return record

    def log(self, rank: int = 0) -> bytes:
        with self._changed:
            return bytes(self._logs.get(rank, b""))

    def until(self, holds: Callable[[], object], seconds: float = 20) -> None:
        """Looks again after every request."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not holds():
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds} s; log so far: {self._logs}, records: {self._records}"
                self._changed.wait(min(left, 0.2))

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        if self._server is None:  # a kept connection outlives the server's socket
            request.close_connection = True
            return
        if (
            request.path != "/base/v1/attempts/a1/records"
            or request.headers["Authorization"] != "Bearer t0ken"
        ):
            self.faults.append(f"{request.path} with {request.headers['Authorization']}")
        with self._changed:
            code = self._judge(body)
            answer = self._store(body) if code in {200, LOSE_ANSWER} else {}
            if code == REFUSE:
                self._refused |= {(body["rank"], record["seq"]) for record in body["records"]}
            self._changed.notify_all()
        if code == LOSE_ANSWER:
            request.close_connection = True
            return
        payload = json.dumps(answer).encode()
        request.send_response(code)
        request.send_header("Content-Length", str(len(payload)))
        request.end_headers()
        request.wfile.write(payload)

    def _judge(self, body: Record) -> int:
        if (code := self.on_request(body)) is not None:
            return code
        return self.vices.pop(0) if self.vices else 200

    def _store(self, body: Record) -> Record:
        rank = body["rank"]
        records = self._records.setdefault(rank, [])
        log = self._logs.setdefault(rank, bytearray())
        for record in body["records"]:
            self._store_record(rank, records, record)
        if body["log"] is not None:
            self._store_log(log, body["log"]["offset"], base64.b64decode(body["log"]["data"]))
        self.answered_at[rank] = time.monotonic()
        return {
            "acked_seq": records[-1]["seq"] if records else 0,
            "log_offset": len(log),
            "lease_seconds": self.lease_seconds,
            "stop": self.stop,
            "grace_seconds": self.grace_seconds,
        }

    def _store_record(self, rank: int, records: list[Record], record: Record) -> None:
        seq, known = record["seq"], {stored["seq"]: stored for stored in records}
        if seq in known:
            self.retold += 1
            if known[seq] != record:
                self.faults.append(f"record {seq} was retold differently")
            return
        missing = set(range(max(known, default=0) + 1, seq)) - {s for r, s in self._refused if r == rank}
        if missing:
            self.faults.append(f"a hole before record {seq}: {missing}")
        records.append(record)

    def _store_log(self, log: bytearray, offset: int, data: bytes) -> None:
        if offset > len(log):
            self.faults.append(f"a hole in the log before byte {offset}")
        known = log[offset : offset + len(data)]
        if data[: len(known)] != known:
            self.faults.append(f"the log at byte {offset} was retold differently")
        log += data[len(known) :]
