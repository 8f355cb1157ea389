"""Makes a terminated test run end like an interrupted one: fixtures stop what they started."""

import signal
from types import FrameType
from typing import Never

import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> Never:
    raise KeyboardInterrupt
