"""Training recipes beside a plain script with DistributedDataParallel: the same model, batches, processes and nodes.

Both train in the same two processes, in turns. What is timed begins with the first step and ends with the last one
judged and saved: no start-up.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Figure, Reference, at_least_times, main
from benchmarks.training_turns import Rates
from tests.server import free_port

RANKS: Final = 2
SECONDS: Final = 900.0


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as folder:
        return list(figures(rates_of_gang(Path(folder, "gang"))))


def rates_of_gang(folder: Path) -> Rates:
    meeting = {
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    places = [meeting | {"RANK": str(rank)} for rank in range(RANKS)]
    folder.mkdir()
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w+"))
        processes = []
        for told in places:
            command = [sys.executable, "-m", "benchmarks.training_turns", str(folder)]
            process = subprocess.Popen(command, env=os.environ | told, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait(SECONDS) for process in processes]
        if any(codes):
            raise ChildProcessError(f"the ranks ended with {codes}:\n{(folder / 'log').read_text()}")
    rates: Rates = json.loads((folder / "rates.json").read_text())
    return rates


def figures(rates: Rates) -> Iterator[Figure]:
    for name, told in rates.items():
        yield Figure(
            name=f"{name}, gang of {RANKS}",
            value=median(told["recipe"]),
            unit="examples/s",
            reference=Reference(name="plain DDP", value=median(told["plain"])),
            aims=(at_least_times(0.95),),
        )


if __name__ == "__main__":
    sys.exit(main("Training recipes beside plain DistributedDataParallel, in turns.", measure))
