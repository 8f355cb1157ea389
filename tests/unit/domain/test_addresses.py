"""Addresses in all their spellings."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.addresses import address_of, is_loopback, is_metadata, is_own_machine

METADATA = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.169.254.",
    "2852039166",
    "0xa9fea9fe",
    "0XA9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "[::ffff:169.254.169.254]",
    "::ffff:a9fe:a9fe",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "::a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::a9fe:a9fe%eth0",
    "fd00:ec2::254",
    "FD00:EC2:0::254",
    "100.100.100.200",
    "1684301000",
    "0x646464c8.",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
)
OWN = (
    "127.0.0.1",
    "127.9.9.9",
    "localhost",
    "LOCALHOST.",
    "ray.localhost",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "127.1",
    "0.0.0.0",  # noqa: S104 # nothing is bound
    "0",
    "::",
)
OTHERS = (
    "10.0.0.1",
    "ray.example",
    "169.253.1.1",
    "metadata.example",
    "localhost.example",
    "1.2.3.4.5",
    "256.1",
    "fd00::1",
)

SPELLINGS = ("{}", "0x{:x}", "0X{:X}", "0{:o}")


@pytest.mark.parametrize("host", METADATA)
def test_a_metadata_address_is_one_however_it_is_spelled(host: str) -> None:
    assert is_metadata(host)
    assert not is_own_machine(host)


@pytest.mark.parametrize("host", OWN)
def test_this_machine_is_itself_however_it_is_spelled(host: str) -> None:
    assert is_own_machine(host)
    assert not is_metadata(host)


@pytest.mark.parametrize("host", OTHERS)
def test_other_hosts_are_neither(host: str) -> None:
    assert not is_metadata(host)
    assert not is_own_machine(host)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "localhost."])
def test_plain_http_is_only_for_loopback_as_everybody_writes_it(host: str) -> None:
    assert not is_loopback(host)


@given(st.lists(st.one_of(st.integers(0, 300), st.integers(0, 2**33)), min_size=1, max_size=5), st.data())
def test_numbers_are_read_as_the_systems_own_resolver_reads_them(
    numbers: list[int], data: st.DataObject
) -> None:
    host = ".".join(data.draw(st.sampled_from(SPELLINGS)).format(number) for number in numbers)
    try:
        expected = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        expected = "None"
    assert str(address_of(host)) == expected
