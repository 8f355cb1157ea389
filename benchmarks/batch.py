"""What the batch inference recipe spends on a shard, beside plain Ray Data on the same shards and nodes.

Both answer all shards in turns, below one driver on an embedded cluster. What is timed begins when a quarter of the
answers is written and ends with the last one: no start-up.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Figure, Reference, at_most_times, main
from tests.plain_ray import PlainRay
from tests.ray_cluster import running_cluster

END_SECONDS: Final = 900.0

Answered = Mapping[str, Sequence[Sequence[float]]]
"""When each shard's answer was written, in seconds, in each round, by who answered (`recipe`, `plain`)."""


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as name:
        folder = Path(name)
        with (
            running_cluster(folder / "ray", nodes=1, cpus_per_node=4) as cluster,
            PlainRay.connected(cluster.gcs_address, cluster.boot()) as plain,
        ):
            return [figure(answered(folder, plain.environment))]


def figure(told: Answered) -> Figure:
    return Figure(
        name="a shard, 2 at once",
        value=median(map(milliseconds, told["recipe"])),
        unit="ms",
        reference=Reference(name="plain Ray Data", value=median(map(milliseconds, told["plain"]))),
        aims=(at_most_times(1.25),),
    )


def milliseconds(written: Sequence[float]) -> float:
    """Between two answers, once a quarter of them is there."""
    steady = sorted(written)[len(written) // 4 :]
    return 1000 * (steady[-1] - steady[0]) / (len(steady) - 1)


def answered(folder: Path, environment: Mapping[str, str]) -> Answered:
    command = [sys.executable, "-m", "benchmarks.batch_turns", str(folder)]
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log) as driver,
    ):
        try:
            code = driver.wait(END_SECONDS)
        finally:
            driver.kill()
    if code != 0:
        raise ChildProcessError(f"the driver ended with {code}:\n{(folder / 'log').read_text()}")
    told: Answered = json.loads((folder / "answered.json").read_text())
    return told


if __name__ == "__main__":
    sys.exit(main("The batch inference recipe beside plain Ray Data, in turns.", measure))
