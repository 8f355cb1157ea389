"""Addresses: which hosts are this machine itself, and which lead to a cloud's metadata service.

A host is judged by what resolvers make of it: `2852039166`, `0xa9.254.43518` and `::ffff:169.254.169.254` are one
address.
"""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

METADATA_ADDRESSES: Final = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
"""Those that are not link-local: Alibaba Cloud, Azure, Oracle, EC2 and Google over IPv6."""

METADATA_NAMES: Final = frozenset(
    {"instance-data", "instance-data.ec2.internal", "metadata", "metadata.goog", "metadata.google.internal"}
)
EMBEDDING: Final = (IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
"""IPv6 networks whose last four bytes are an IPv4 address: IPv4-compatible, and translated by a gateway."""

BYTES: Final = 4
BYTE: Final = 256
NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")


def is_loopback(host: str) -> bool:
    """Of a host alone, without port. A name that merely begins like a loopback address is none."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_own_machine(host: str) -> bool:
    """Loopback in any spelling, and the unspecified address, which leads there too."""
    address = address_of(host)
    if address is None:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def is_metadata(host: str) -> bool:
    """Whether it is a metadata service's address in any spelling, or a name that clouds give theirs."""
    address = address_of(host)
    if address is None:
        return host.rstrip(".").lower() in METADATA_NAMES
    return address.is_link_local or address in METADATA_ADDRESSES


def address_of(host: str) -> Address | None:
    """None for a name. An IPv4 address inside an IPv6 one is that IPv4 address."""
    bare = host.removeprefix("[").removesuffix("]").partition("%")[0].rstrip(".")
    try:
        address = ip_address(bare)
    except ValueError:
        return _numbers(bare)
    return _embedded(address) if isinstance(address, IPv6Address) else address


def _embedded(address: IPv6Address) -> Address:
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and int(address) > 1 and any(address in each for each in EMBEDDING):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def _numbers(host: str) -> IPv4Address | None:
    """One to four numbers, decimal, octal (`0..`) or hexadecimal (`0x..`); the last one fills the bytes that are left.

    As inet_aton(3), which the system's resolver asks first.
    """
    parts = host.split(".")
    if len(parts) > BYTES or not all(NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        *leading, last = (int(part, _base(part)) for part in parts)
    except ValueError:  # `09` is no octal number
        return None
    if any(each >= BYTE for each in leading) or last >= BYTE ** (BYTES - len(leading)):
        return None
    high = sum(each << 8 * (BYTES - 1 - place) for place, each in enumerate(leading))
    return IPv4Address(high + last)


def _base(part: str) -> int:
    if part[:2].lower() == "0x":
        return 16
    return 8 if len(part) > 1 and part.startswith("0") else 10
