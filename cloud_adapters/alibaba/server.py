"""A server that answers like ECS, for tests: the real SDK speaks to it, and it checks every signature.

    account = ServedAccount(now=clock)
    account.stock["ecs.gn7i-c8g1.2xlarge", "cn-beijing-h"] = 3
    with EcsServer(account, secrets={"key-id": Secret(text="key-secret")}) as server:
        settings = {"endpoint": server.endpoint, "region": "cn-beijing", ...}
        server.faults.append(Fault(action="RunInstances", loses_answer=True))

It also plays STS, the addresses of VPC and the kubeconfigs of ACK, as far as the adapter asks for them.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from cloud_adapters.alibaba.server_account import Refused, ServedAccount
from cloud_adapters.alibaba.server_answers import answer
from cloud_adapters.alibaba.server_signature import Call, Secret, check

__all__ = ["Call", "EcsServer", "Fault", "Secret", "ServedAccount"]

TICK_SECONDS: Final = 0.05


@dataclass(slots=True, kw_only=True)
class Fault:
    """What befalls the next calls of one action."""

    action: str
    skips: int = 0
    """So many calls go well before."""

    count: int = 1
    http_code: int = 400
    code: str = ""
    """Refuses the call. Throttling.User, InternalError with 500, and so on."""

    text: str = "as the test wants it"
    retry_after_milliseconds: int | None = None
    does_deed: bool = False
    """The error answer comes after the deed."""

    loses_answer: bool = False
    """The deed is done, and the connection is cut instead of an answer."""

    loses_request: bool = False
    """The connection is cut, and nothing is done."""

    is_garbled: bool = False
    """A page of HTML, as from a gateway between."""


class EcsServer:
    """Listens on loopback while it is entered. Safe for threads: one call at a time touches the account."""

    def __init__(self, account: ServedAccount, *, secrets: Mapping[str, Secret]) -> None:
        self.account = account
        self.secrets = dict(secrets)
        self.faults: list[Fault] = []
        self.forbidden: set[str] = set()
        """Actions that the keys have no right to."""

        self.calls: list[Call] = []
        """Those with a good signature, in order."""

        self._nonces: set[str] = set()
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._http = _Listener(self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": TICK_SECONDS}, daemon=True
        )

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def settle(self) -> None:
        """Also called several times a second, so that machines boot and end when nobody calls."""
        with self._lock:
            self.account.settle()

    def serve(self, call: Call) -> tuple[int, dict[str, str], bytes] | None:
        """(code, headers, body), or None for a connection that is to be cut."""
        with self._lock:
            request_id = f"request-{next(self._numbers)}"
            try:
                self.account.settle()
                check(call, self.secrets, self._nonces)
                self.calls.append(call)
                return self._served(call, request_id)
            except Refused as refused:
                return _error(refused, request_id)

    def actions(self) -> list[str]:
        """Of `calls`."""
        return [call.action for call in self.calls]

    def _served(self, call: Call, request_id: str) -> tuple[int, dict[str, str], bytes] | None:
        if call.action in self.forbidden:
            raise Refused(403, "Forbidden.RAM", "User not authorized to operate on the specified resource.")
        fault = self._fault(call.action)
        if fault is None:
            return _json(200, self._done(call, request_id))
        if fault.loses_answer or fault.does_deed:
            self._done(call, request_id)
        if fault.loses_answer or fault.loses_request:
            return None
        if fault.is_garbled:
            return fault.http_code, {"Content-Type": "text/html"}, b"<html>bad gateway</html>"
        code, headers, body = _error(Refused(fault.http_code, fault.code, fault.text), request_id)
        if fault.retry_after_milliseconds is not None:
            headers["x-acs-retry-after"] = str(fault.retry_after_milliseconds)
        return code, headers, body

    def _done(self, call: Call, request_id: str) -> dict[str, Any]:
        parameters = {**call.parameters, **({"path": call.path} if call.path != "/" else {})}
        return {**answer(self.account, call.action, parameters), "RequestId": request_id}

    def _fault(self, action: str) -> Fault | None:
        for fault in self.faults:
            if fault.action == action and fault.skips > 0:
                fault.skips -= 1
            elif fault.action == action and fault.count > 0:
                fault.count -= 1
                return fault
        return None


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    disable_nagle_algorithm = True

    def __init__(self, owner: EcsServer) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.owner = owner

    def service_actions(self) -> None:
        self.owner.settle()


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Listener

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is the base class's
        """Says nothing: a test's output is its own."""

    def _serve(self) -> None:
        address = urlsplit(self.path)
        call = Call(
            method=self.command,
            path=address.path,
            parameters=dict(parse_qsl(address.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        served = self.server.owner.serve(call)
        if served is None:
            self.close_connection = True
            return
        code, headers, body = served
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _error(refused: Refused, request_id: str) -> tuple[int, dict[str, str], bytes]:
    said = {
        "RequestId": request_id,
        "Code": refused.code,
        "Message": refused.text,
        "HostId": "ecs",
        "Recommend": "",
    }
    return _json(refused.http_code, said)


def _json(code: int, said: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return code, {"Content-Type": "application/json;charset=utf-8"}, json.dumps(said).encode()
