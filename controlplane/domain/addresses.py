"""Addresses: which hosts are this machine itself, where tokens may travel without TLS."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Of a host alone, without port. A name that merely begins like a loopback address is none."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
