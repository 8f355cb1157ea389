"""Faults of our object servers: which request goes wrong, how, and how often."""

import threading
from dataclasses import dataclass, field
from enum import StrEnum


class Vice(StrEnum):
    SLOW_DOWN = "slow_down"
    """503 before the deed."""

    DELAY = "delay"
    """The deed waits for a fifth of a second first."""

    FAIL = "fail"
    """500 before the deed."""

    LOSE_ANSWER = "lose_answer"
    """The deed is done, then the connection closes."""

    CUT_REQUEST = "cut_request"
    """The connection closes after `at_byte` bytes of the body arrived."""

    CUT_ANSWER = "cut_answer"
    """The connection closes after `at_byte` bytes of the answer's body."""

    FLIP_REQUEST = "flip_request"
    """A bit of the body flips on its way in."""

    FLIP_STORED = "flip_stored"
    """A bit flips on the disk, after every check."""

    FLIP_ANSWER = "flip_answer"
    """A bit of the answer's body flips on its way out."""


@dataclass(slots=True, kw_only=True)
class Fault:
    vice: Vice
    verb: str | None = None
    target: str = ""
    """A part of the path and query that the request must have; empty matches all."""

    skip: int = 0
    """So many matching requests go well first."""

    times: int = 1
    at_byte: int = 0

    def matches(self, verb: str, target: str) -> bool:
        return self.verb in {None, verb} and self.target in target


@dataclass(slots=True)
class Faults:
    """Shared by threads: each fault strikes as often as it says, whoever asks."""

    _pending: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()

    def strike(self, verb: str, target: str) -> Fault | None:
        """The fault of this request, if it has one."""
        with self._lock:
            for fault in self._pending:
                if not fault.matches(verb, target):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                if not fault.times:
                    self._pending.remove(fault)
                return fault
        return None
