"""Starts one rank: `python -m learning.mirrored`."""

import json
import os
import signal
import sys
import threading
from typing import Any, Final

from ..surroundings import GangSurroundings, read_gang
from .meeting import addresses
from .settings import parse

STOPPED: Final = 128 + signal.SIGTERM
"""How a training ends that was stopped before its end, and saved."""


def main() -> int:
    settings, here = parse(None), read_gang(os.environ)
    stopping = threading.Event()
    _hear(stopping)  # before the ranks meet: a signal may come meanwhile
    met = _met(here)
    from .training import Told, Training, strategy_of  # seconds to import

    def post(record: dict[str, Any]) -> None:
        if here.records is not None:
            with here.records.open("a", encoding="utf-8") as records:
                records.write(json.dumps(record) + "\n")

    strategy = strategy_of(here, met)
    _hear(stopping)  # again: TensorFlow has taken SIGTERM for itself
    told = Told(is_stopped=stopping.is_set, post=post)
    return 0 if Training(settings, here, strategy, told).train() else STOPPED


def _hear(stopping: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())


def _met(here: GangSurroundings) -> list[str]:
    if here.ranks == 1:
        return []
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return addresses(rank=here.rank, ranks=here.ranks, host=host, port=port)


if __name__ == "__main__":
    sys.exit(main())
