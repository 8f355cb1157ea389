"""ToyCloud itself, on loopback: enough of a provider for tests. Time passes when a test says so.

with ToyCloud() as cloud:
    cloud.pass_seconds(60)
    cloud.lost_answers = 1     # the next order is done, and its answer lost
    cloud.is_silent = True     # connections are taken and closed
"""

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

# `Any`: JSON of many shapes.
Json = dict[str, Any]
Answer = tuple[int, Json]

GIBIBYTE: Final = 2**30
TYPES: Final[dict[str, Json]] = {
    "toy.large": {"cpus": 32, "gpus": 4, "memory_bytes": 256 * GIBIBYTE, "accelerator": "T1"},
    "toy.small": {"cpus": 4, "gpus": 0, "memory_bytes": 16 * GIBIBYTE, "accelerator": None},
}
ZONES: Final = ("north", "south")
BOOT_SECONDS: Final = 10
END_SECONDS: Final = 5


@dataclass(slots=True)
class Toy:
    name: str
    kind: str
    zone: str
    tags: dict[str, str]
    born_at: datetime
    ended_at: datetime | None = None

    def shown(self, now: datetime) -> Json:
        booted = now >= self.born_at + timedelta(seconds=BOOT_SECONDS)
        state = "ending" if self.ended_at is not None else "running" if booted else "booting"
        host = f"{self.name}.toy.invalid" if booted else None
        facts = {"name": self.name, "zone": self.zone, "tags": self.tags, "state": state, "host": host}
        return {**TYPES[self.kind], **facts, "ray_node_id": f"ray-{self.name}"}

    def exists(self, now: datetime) -> bool:
        return self.ended_at is None or now < self.ended_at + timedelta(seconds=END_SECONDS)


@dataclass(slots=True)
class ToyCloud:
    key: str = "toy-key"
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    sold_out: set[tuple[str, str]] = field(default_factory=set)
    lost_answers: int = 0
    is_silent: bool = False
    toys: list[Toy] = field(default_factory=list)
    _orders: dict[str, tuple[Json, list[Toy]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    def __post_init__(self) -> None:
        """One node of its own, which it lends and does not sell."""
        self.toys.append(Toy("toy-0", "toy.small", "north", {}, self.now - timedelta(days=1)))

    @property
    def url(self) -> str:
        if self._server is None:
            message = "ToyCloud is not running"
            raise RuntimeError(message)
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _door(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def answer(self, method: str, path: str, body: Json) -> Answer:
        with self._lock:
            parts = urlsplit(path)
            match method, parts.path.strip("/").split("/"):
                case "GET", ["session"]:
                    return 200, {"session": "toy-session"}
                case "GET", ["types"]:
                    return 200, {"items": self._catalogue()}
                case "GET", ["nodes"]:
                    return 200, {"items": [each for each in self._alive() if each["state"] == "running"]}
                case "GET", ["machines"]:
                    (cluster,) = parse_qs(parts.query)["cluster"]
                    return 200, {"items": [e for e in self._alive() if e["tags"].get("cluster") == cluster]}
                case "PUT", ["orders", order_id]:
                    return self._order(order_id, body)
                case "DELETE", ["machines", name]:
                    return self._end(name)
                case _:
                    return 404, {"error": "not_found", "detail": f"nothing at {parts.path}"}

    def _catalogue(self) -> list[Json]:
        return [
            {
                **facts,
                "type": kind,
                "zone": zone,
                "cents_per_hour": 100 * (1 + facts["gpus"]),
                "as_of": self.now.isoformat(),
            }
            for kind, facts in TYPES.items()
            for zone in ZONES
        ]

    def _alive(self) -> list[Json]:
        return [toy.shown(self.now) for toy in self.toys if toy.exists(self.now)]

    def _order(self, order_id: str, body: Json) -> Answer:
        known = self._orders.get(order_id)
        if known is not None:
            before, toys = known
            if before != body:
                return 409, {"error": "other_order", "detail": f"order {order_id} was another one"}
            return 200, {"items": [toy.shown(self.now) for toy in toys]}
        kind, zone = body["type"], body["zone"]
        if kind not in TYPES:
            return 422, {"error": "no_such_type", "detail": f"there is no type {kind}"}
        if (kind, zone) in self.sold_out:
            return 409, {"error": "sold_out", "detail": f"{kind} is sold out in {zone}"}
        first = len(self.toys)
        toys = [Toy(f"toy-{first + n}", kind, zone, body["tags"], self.now) for n in range(body["count"])]
        self.toys += toys
        self._orders[order_id] = (body, toys)
        return 200, {"items": [toy.shown(self.now) for toy in toys]}

    def _end(self, name: str) -> Answer:
        for toy in self.toys:
            if toy.name == name and toy.exists(self.now):
                toy.ended_at = toy.ended_at or self.now
                return 200, {}
        return 404, {"error": "not_found", "detail": f"there is no machine {name}"}


def _door(cloud: ToyCloud) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else {}
            if cloud.is_silent:
                self.close_connection = True
                return
            if self.headers["Authorization"] != f"Bearer {cloud.key}":
                self._send(401, {"error": "bad_key", "detail": "this key opens nothing"})
                return
            code, answer = cloud.answer(self.command, self.path, body)
            if self.command == "PUT" and cloud.lost_answers:
                cloud.lost_answers -= 1
                self.close_connection = True
                return
            self._send(code, answer)

        do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, code: int, answer: Json) -> None:
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Door
