"""The control plane's end of docs/machine-protocol.md, as small as it can be, over real HTTP. Holds one claim."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from controlplane.secrets.certificates import claim_authority

BOOT_TOKEN: Final = "boot-token"
RAY_TOKEN: Final = "ray-token-of-this-claim"
TLS_PORT: Final = 8443
GCS_PORT: Final = 6379
CheckIn = Mapping[str, Any]  # as it came in


class Desk:
    """Machines check in here. `is_cut`: nobody gets an answer. `is_holding`: everybody waits for a head."""

    def __init__(self, *, is_holding: bool = False) -> None:
        self.is_holding = is_holding
        self.again_after_seconds = 0.5
        self.dead_man_seconds = 600.0
        self.is_over = False
        self.is_cut = False
        self.refused = 0
        self.said: list[CheckIn] = []
        self.authority = claim_authority(
            "claim-1.crossdock.internal", now=datetime.now(UTC), validity=timedelta(days=1)
        )
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._endpoint())
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def latest(self) -> dict[str, CheckIn]:
        """By machine."""
        with self._lock:
            return {said["machine"]: said for said in self.said}

    @property
    def head(self) -> CheckIn | None:
        """What the first that checked in said last."""
        latest = self.latest()
        return next(iter(latest.values()), None)

    def _answer(self, said: CheckIn) -> dict[str, Any]:
        with self._lock:
            self.said.append(said)
        head = self.head
        assert head is not None
        is_head, is_up = said["machine"] == head["machine"], head["phase"] == "up"
        role = "wait" if self.is_holding else "head" if is_head else "node" if is_up else "wait"
        tls = {
            "certificate_pem": self.authority.certificate_pem,
            "key_pem": self.authority.key_pem,
        }
        return {
            "role": role,
            "head_host": head["host"] if role == "node" else None,
            "ray_token": None if role == "wait" else RAY_TOKEN,
            "tls": tls if role == "head" else None,
            "tls_port": TLS_PORT,
            "gcs_port": GCS_PORT,
            "labels": {"zone": "z1"},
            "again_after_seconds": self.again_after_seconds,
            "dead_man_seconds": self.dead_man_seconds,
        }

    def _endpoint(desk) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the endpoint's
        class Endpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if desk.is_cut:
                    return None
                if self.headers["Authorization"] != f"Bearer {BOOT_TOKEN}":
                    desk.refused += 1
                    return self._send(403, {})
                if self.path != "/v1/machines/check-in":
                    return self._send(404, {})
                return self._send(410, {}) if desk.is_over else self._send(200, desk._answer(said))

            def _send(self, code: int, answer: dict[str, Any]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        return Endpoint
