"""Frames: what travels in a tunnel, one WebSocket message each. See docs/adr/0004-agents-dial-out.md."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

WINDOW_BYTES: Final = 256 * 1024
"""What may be under way on one stream, in each direction."""

MOST_PAYLOAD_BYTES: Final = 64 * 1024
MOST_STREAMS: Final = 512
_HEAD: Final = struct.Struct("!BI")
_NUMBER: Final = struct.Struct("!I")


class Broken(ConnectionError):
    """The other end of a tunnel does not keep to the protocol."""


class Kind(IntEnum):
    OPEN = 1
    """Near to far: connect to the target in the payload, `host:port`."""

    OPENED = 2
    DATA = 3
    CREDIT = 4
    """So many more bytes may be sent, as a 32-bit number."""

    CLOSE = 5
    """Both directions have ended; the payload says why, for people."""

    TOKEN = 6
    """Near to far, stream 0: connect with this token from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    kind: Kind
    stream: int
    payload: bytes = field(default=b"", repr=False)

    def encoded(self) -> bytes:
        return _HEAD.pack(self.kind, self.stream) + self.payload

    @classmethod
    def decoded(cls, data: bytes) -> Self:
        """Raises `Broken`."""
        try:
            kind, stream = _HEAD.unpack_from(data)
            frame = cls(kind=Kind(kind), stream=stream, payload=data[_HEAD.size :])
        except (struct.error, ValueError) as problem:
            raise Broken(f"no frame of a tunnel: {problem}") from problem
        if len(frame.payload) > MOST_PAYLOAD_BYTES:
            raise Broken(f"a frame of {len(frame.payload)} bytes, {MOST_PAYLOAD_BYTES} are allowed")
        return frame


def credit(size: int) -> bytes:
    return _NUMBER.pack(size)


def credited(payload: bytes) -> int:
    """Raises `Broken`."""
    if len(payload) != _NUMBER.size:
        raise Broken(f"a credit of {len(payload)} bytes")
    return int(_NUMBER.unpack(payload)[0])
