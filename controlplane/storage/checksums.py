"""Checksums: CRC-64 in the two forms that clouds speak, and how those of parts make that of the whole.

OSS reports CRC-64/XZ (it calls the polynomial ECMA-182), S3 reports CRC-64/NVME. Both are reflected, start at all ones
and end inverted, so one combination serves both: it advances the first value by the second's length in zero bits and
adds the second (Mark Adler's construction in zlib's `crc32_combine`).
"""

import base64
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from typing import Final, Protocol

import crcmod

BITS: Final = 64
ALL_ONES: Final = (1 << BITS) - 1


class Crc64(StrEnum):
    ECMA = "crc64ecma"
    """What OSS keeps of every object."""

    NVME = "crc64nvme"
    """What S3 keeps of an object that was stored with it."""


_POLYNOMIALS: Final = {Crc64.ECMA: 0x142F0E1EBA9EA3693, Crc64.NVME: 0x1AD93D23594C93659}


class Digest(Protocol):
    """As in `hashlib`, but the value is a number."""

    @property
    def value(self) -> int: ...

    def update(self, data: bytes | bytearray | memoryview) -> None: ...


class _RunningCrc:
    __slots__ = ("_crc",)

    def __init__(self, form: Crc64) -> None:
        self._crc = crcmod.Crc(_POLYNOMIALS[form], initCrc=0, rev=True, xorOut=ALL_ONES)

    @property
    def value(self) -> int:
        return int(self._crc.crcValue)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._crc.update(data)


def start(form: Crc64) -> Digest:
    return _RunningCrc(form)


def of(form: Crc64, data: bytes) -> int:
    running = start(form)
    running.update(data)
    return running.value


def combine(form: Crc64, parts: Iterable[tuple[int, int]]) -> int:
    """The checksum of the whole from (checksum, size in bytes) of its parts in order."""
    whole = 0
    for crc, size_bytes in parts:
        whole = _advance(form, whole, size_bytes) ^ crc
    return whole


def as_base64(crc: int) -> str:
    """The form of `x-amz-checksum-crc64nvme`: eight bytes, most significant first."""
    return base64.b64encode(crc.to_bytes(BITS // 8, "big")).decode()


def from_base64(text: str) -> int:
    """Raises `ValueError`."""
    return int.from_bytes(base64.b64decode(text, validate=True), "big")


def _advance(form: Crc64, crc: int, size_bytes: int) -> int:
    """What `crc` becomes when as many zero bytes follow; doubling, so the cost grows with log2(size)."""
    power = 3  # the operator for 2**3 zero bits is the one for a byte
    while size_bytes:
        if size_bytes & 1:
            crc = _times(_operator(form, power), crc)
        size_bytes >>= 1
        power += 1
    return crc


@cache
def _operator(form: Crc64, power: int) -> Sequence[int]:
    """The matrix over GF(2) that appends 2**power zero bits; entry i is what it makes of bit i."""
    if power == 0:
        return (_reflected(_POLYNOMIALS[form] & ALL_ONES), *(1 << bit for bit in range(BITS - 1)))
    half = _operator(form, power - 1)
    return tuple(_times(half, column) for column in half)


def _times(matrix: Sequence[int], vector: int) -> int:
    product = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            product ^= column
        vector >>= 1
    return product


def _reflected(polynomial: int) -> int:
    return int(f"{polynomial:0{BITS}b}"[::-1], 2)
