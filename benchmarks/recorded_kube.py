"""A recorded API server: the pages and the watches of one large cluster, prepared once and served as bytes.

It runs in a process of its own, so what is measured is the reader alone.
"""

import json
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]

PAGE: Final = 500
UID: Final = "00000000-0000-0000-0000-00000000cafe"
ODD_MILLI: Final = 54
"""What the last change adds to the first node: no other pod holds anything but hundreds."""

PADDING: Final = [
    {"manager": "kubelet", "operation": "Update", "fieldsV1": {f"f:{n}": {} for n in range(60)}}
]
"""Real objects carry as much again of what nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    nodes: int
    pods: int
    changes: int
    """Of pods, sent down the watch when `/go` is asked for; the last one adds `ODD_MILLI` to the first node."""


def node(number: int) -> Json:
    return {
        "metadata": {
            "name": f"node-{number:05}",
            "uid": f"n{number}",
            "resourceVersion": "1",
            "labels": {f"label-{n}": f"value-{n}" for n in range(15)}
            | {"nvidia.com/gpu.product": "NVIDIA-H200"},
            "managedFields": PADDING,
        },
        "spec": {"taints": []},
        "status": {
            "allocatable": {"cpu": "128", "memory": "1056568036Ki", "nvidia.com/gpu": "8", "pods": "110"},
            "addresses": [{"type": "InternalIP", "address": f"10.0.{number // 250}.{number % 250}"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(number: int, recording: Recording, *, cpu: int = 500, name: str = "") -> Json:
    container = {
        "name": "main",
        "image": "registry.example.org/team/image:1",
        "env": [{"name": f"VARIABLE_{n}", "value": "some value of it"} for n in range(10)],
        "resources": {"requests": {"cpu": f"{cpu}m", "memory": "2Gi"}},
    }
    return {
        "metadata": {
            "name": name or f"pod-{number:06}",
            "namespace": "team",
            "uid": name or f"p{number}",
            "resourceVersion": "1",
            "labels": {f"label-{n}": f"value-{n}" for n in range(5)},
            "managedFields": PADDING,
        },
        "spec": {"nodeName": f"node-{number % recording.nodes:05}", "containers": [container] * 2},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def pages(things: Sequence[Json]) -> list[bytes]:
    parts = [things[start : start + PAGE] for start in range(0, len(things), PAGE)]
    return [
        json.dumps(
            {
                "metadata": {
                    "resourceVersion": "1",
                    "continue": str(number + 1) if number + 1 < len(parts) else "",
                },
                "items": part,
            }
        ).encode()
        for number, part in enumerate(parts)
    ]


def changes(recording: Recording) -> bytes:
    lines = [
        {"type": "MODIFIED", "object": pod(7 * number % recording.pods, recording, cpu=600)}
        for number in range(recording.changes - 1)
    ]
    lines.append({"type": "ADDED", "object": pod(0, recording, cpu=ODD_MILLI // 2, name="last")})
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


@contextmanager
def served(recording: Recording) -> Iterator[str]:
    """The URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(recording, theirs), daemon=True)
    process.start()
    theirs.close()  # one that ends at once then ends the wait too
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(recording: Recording, pipe: Any) -> None:  # noqa: ANN401 # of a start method
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    server.daemon_threads = True
    _Answering.pages = {
        "/api/v1/nodes": pages([node(number) for number in range(recording.nodes)]),
        "/api/v1/pods": pages([pod(number, recording) for number in range(recording.pods)]),
    }
    _Answering.changes = changes(recording)
    pipe.send(server.server_port)
    server.serve_forever()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages: dict[str, list[bytes]] = {}  # noqa: RUF012 # set once, before the server answers
    changes = b""
    go = threading.Event()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/go":
            self.go.set()
            self._answer(b"{}")
        elif query.get("watch"):
            self._watch(parts.path)
        elif parts.path in self.pages:
            self._answer(self.pages[parts.path][int(query.get("continue", 0))])
        else:
            self._answer(json.dumps({"metadata": {"uid": UID}}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        told = {"allowed": True, "resourceRules": [rule], "incomplete": False}
        self._answer(json.dumps({"status": told}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, path: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.go.wait()
        if path == "/api/v1/pods":
            for start in range(0, len(self.changes), 2**16):
                part = self.changes[start : start + 2**16]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        threading.Event().wait()  # until the server ends

    def log_message(self, *_: object) -> None:
        pass
