"""Starts one rank: `python -m learning.mirrored`."""

import os
import signal
import sys
from typing import Final

from ..surroundings import GangSurroundings, read_gang
from ..training.outlets import ProcessOutlet
from .meeting import addresses
from .settings import parse

STOPPED: Final = 128 + signal.SIGTERM
"""How a training ends that was stopped before its end, and saved."""


def main() -> int:
    settings, here = parse(None), read_gang(os.environ)
    # Before the ranks meet: a signal that comes meanwhile is heard.
    outlet = ProcessOutlet(here.records, place=f"process {os.getpid()}")
    met = _met(here)
    from .training import Training, strategy_of  # seconds to import

    strategy = strategy_of(here, met)
    outlet.hear()  # TensorFlow has taken SIGTERM for itself
    return 0 if Training(settings, here, strategy, outlet).train() else STOPPED


def _met(here: GangSurroundings) -> list[str]:
    if here.ranks == 1:
        return []
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return addresses(rank=here.rank, ranks=here.ranks, host=host, port=port)


if __name__ == "__main__":
    sys.exit(main())
