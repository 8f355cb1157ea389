"""Targets: what an agent may be asked to connect to, as its operator wrote it down."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Self

MOST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One host or one network, and a range of ports of it."""

    host: str
    """Lower case, without brackets; of a network its text."""

    network: IPv4Network | IPv6Network | None
    first: int
    last: int

    @classmethod
    def parsed(cls, text: str) -> Self:
        """`HOST:PORT`, `HOST:FIRST-LAST`, or either with `NETWORK/BITS` for the host. Raises `ValueError`."""
        host, _, ports = text.rpartition(":")
        first, _, last = ports.partition("-")
        last = last or first
        host = host.removeprefix("[").removesuffix("]").lower()
        if not host or not (first.isdecimal() and last.isdecimal()):
            raise ValueError("is not host:port, nor host:first-last, nor network/bits with ports")
        if not 1 <= int(first) <= int(last) <= MOST_PORT:
            raise ValueError(f"its ports are not a range within 1 to {MOST_PORT}")
        network = ip_network(host) if "/" in host else None
        return cls(host=host, network=network, first=int(first), last=int(last))

    def covers(self, host: str, port: int) -> bool:
        """A network is one of machines: what a machine keeps to itself, or to its cloud, is named or not reached."""
        if not self.first <= port <= self.last:
            return False
        if self.network is None:
            return host == self.host
        try:
            address = ip_address(host)
        except ValueError:
            return False
        is_private_to_it = address.is_loopback or address.is_link_local or address.is_multicast
        return address in self.network and not is_private_to_it


def place_of(target: str) -> tuple[str, int]:
    """Host and port of what is asked for. Raises `ValueError`."""
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{target!r} is not host:port")
    return host.removeprefix("[").removesuffix("]").lower(), int(port)


def is_covered(targets: Sequence[Target], host: str, port: int) -> bool:
    return any(each.covers(host, port) for each in targets)
