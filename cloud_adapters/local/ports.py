"""Ports of an embedded cluster: one block per cluster, below the range that the system hands out by itself.

A fixed port inside that range is sooner or later taken by somebody's outgoing connection; Ray's agent then goes on
without its HTTP server, and logs cannot be read.
"""

import secrets
import socket
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

PORTS_PER_NODE: Final = 128
LOWEST: Final = 12_000
USUAL_EPHEMERAL: Final = 32_768
ATTEMPTS: Final = 200


class NoFreePorts(Exception):
    """No block of ports is free below the ephemeral range."""


class Service(IntEnum):
    """What listens where in a node's ports, counted from its first one."""

    GCS = 0
    DASHBOARD = 1
    DASHBOARD_METRICS = 2
    AGENT_HTTP = 3
    AGENT_GRPC = 4
    METRICS = 5
    RUNTIME_ENV_AGENT = 6
    NODE_MANAGER = 7
    OBJECT_MANAGER = 8
    RESERVATION = 9
    """Held by the keeper in the head's ports, so that two clusters never choose the same block at once."""

    TASKS = 10
    """From here on: the processes that execute tasks."""


def port_of(base: int, slot: int, service: Service) -> int:
    return base + slot * PORTS_PER_NODE + service


def last_port_of(base: int, slot: int) -> int:
    return base + (slot + 1) * PORTS_PER_NODE - 1


def reserve(nodes: int, preferred: int | None) -> tuple[int, socket.socket]:
    """Finds a free block for a head and its nodes; it stays ours while the returned socket lives.

    The preferred block (the last one) comes first: an address that does not change is easier on everybody.
    """
    size = (nodes + 1) * PORTS_PER_NODE
    top = _ephemeral_start()
    blocks = range(LOWEST, top - size + 1, PORTS_PER_NODE)
    tried = [secrets.choice(blocks) for _ in range(ATTEMPTS if blocks else 0)]
    for base in ([preferred] if preferred and preferred + size <= top else []) + tried:
        if held := _hold(base, size):
            return base, held
    raise NoFreePorts(f"no {size} free ports in a row between {LOWEST} and {top}")


def _hold(base: int, size: int) -> socket.socket | None:
    reservation = port_of(base, 0, Service.RESERVATION)
    held = _listen(reservation)
    if held is None:
        return None
    if all(_is_free(port) for port in range(base, base + size) if port != reservation):
        return held
    held.close()
    return None


def _is_free(port: int) -> bool:
    with _socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _listen(port: int) -> socket.socket | None:
    held = _socket()
    try:
        held.bind(("127.0.0.1", port))
        held.listen(1)
    except OSError:
        held.close()
        return None
    return held


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Connections that are only waiting to be forgotten do not count as taken.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def _ephemeral_start() -> int:
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return USUAL_EPHEMERAL
