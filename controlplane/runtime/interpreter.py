"""Interpreter: how a process of ours shares itself among its threads, and how often it looks for garbage."""

import gc
import sys
from typing import Final

SWITCH_SECONDS: Final = 0.0005
"""How long a thread may compute while another wants to. Who writes lets go of the interpreter at every step of the
database, and keeps the file locked until it gets it back."""

GARBAGE_AT: Final = (20_000, 20, 100)
"""Objects, and rounds of collection, before the next generation is searched: rows become many small objects that end
without cycles, and with Python's own figures every tenth of the processor time went into looking for some."""


def set_the_pace() -> None:
    """Sets this whole interpreter up: what a process does that is a server and nothing else."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GARBAGE_AT)
