"""The meeting: each rank tells the first where it will listen, and hears where all the others do."""

import json
import socket
import time
from contextlib import closing
from typing import Final

MEETING_SECONDS: Final = 300.0
PAUSE_SECONDS: Final = 0.2
LONGEST_LINE: Final = 4096


class NobodyCame(RuntimeError):
    """Not all ranks were there in time."""


def addresses(*, rank: int, ranks: int, host: str, port: int, seconds: float = MEETING_SECONDS) -> list[str]:
    """`host:port` of every rank, by rank. The first rank listens at `host`:`port`. Raises `NobodyCame`.

    The ports are free when they are told; TensorFlow takes them soon after.
    """
    until = time.monotonic() + seconds
    return _heard(ranks, host, port, until) if rank == 0 else _told(rank, host, port, until)


def _heard(ranks: int, host: str, port: int, until: float) -> list[str]:
    told = {0: f"{host}:{_free_port()}"}
    lines: dict[int, socket.socket] = {}
    with closing(socket.create_server((host, port), backlog=ranks)) as server:
        while len(told) < ranks:
            server.settimeout(max(0.001, until - time.monotonic()))
            try:
                line, (their_host, _) = server.accept()
            except TimeoutError:
                missing = sorted(set(range(ranks)) - set(told))
                raise NobodyCame(f"ranks {missing} of {ranks} did not come to {host}:{port}") from None
            said = json.loads(_line(line))
            told[said["rank"]] = f"{their_host}:{said['port']}"
            lines[said["rank"]] = line
    every = [told[each] for each in range(ranks)]
    for line in lines.values():
        with closing(line):
            line.sendall(json.dumps(every).encode() + b"\n")
    return every


def _told(rank: int, host: str, port: int, until: float) -> list[str]:
    with closing(_line_to(host, port, until)) as line:
        line.sendall(json.dumps({"rank": rank, "port": _free_port()}).encode() + b"\n")
        every: list[str] = json.loads(_line(line))
    return every


def _line_to(host: str, port: int, until: float) -> socket.socket:
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(0.001, until - time.monotonic()))
        except OSError as error:
            if time.monotonic() > until:
                raise NobodyCame(f"rank 0 does not listen at {host}:{port}: {error}") from error
            time.sleep(PAUSE_SECONDS)


def _line(line: socket.socket) -> bytes:
    with line.makefile("rb") as stream:
        return stream.readline(LONGEST_LINE)


def _free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("", 0))
        port: int = taken.getsockname()[1]
    return port
