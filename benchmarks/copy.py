"""Copying between clouds: the rate, and the memory that it takes whatever the size.

From our S3 server to our OSS server, each a process of its own on this machine. Beside it the two vendors' SDKs with
their own defaults: the same bytes down to a file with boto3, and up again with the OSS SDK's uploader.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.copy_once import ACCESS_KEY_ID, BUCKET, SECRET, fill
from benchmarks.figures import Figure, Reference, at_least_times, at_most, main
from controlplane.storage.serving import SECRET as SECRET_VARIABLE

SIZES_MEBIBYTES: Final = (256, 1024)
ROUNDS: Final = 3
MEBIBYTE: Final = 2**20


def measure() -> Sequence[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="crossdock-bench-") as folder,
        served("s3", "us-east-1", Path(folder) / "s3") as source,
        served("oss", "cn-hangzhou", Path(folder) / "oss") as target,
    ):
        return [figure for size in SIZES_MEBIBYTES for figure in _of_size(size, source, target)]


def _of_size(size: int, source: str, target: str) -> Iterator[Figure]:
    fill(source, size)
    ours, raw = [], []
    for _ in range(ROUNDS):  # by turns: a neighbour's load then hits both
        ours.append(_once("copier", source, target))
        raw.append(_once("raw", source, target))
    rate, raw_rate = (size / median(each["seconds"] for each in rounds) for rounds in (ours, raw))
    yield Figure(
        name=f"rate of {size} MiB",
        value=rate,
        unit="MiB/s",
        reference=Reference(name="raw SDKs, down and up", value=raw_rate),
        aims=(at_least_times(0.8),),
    )
    peak, raw_peak = (max(each["peak_bytes"] for each in rounds) / MEBIBYTE for rounds in (ours, raw))
    yield Figure(
        name=f"peak memory, {size} MiB",
        value=peak,
        unit="MiB",
        reference=Reference(name="raw SDKs", value=raw_peak),
        aims=(at_most(256),),
    )


def _once(how: str, source: str, target: str) -> dict[str, float]:
    """In a process of its own, so that its peak is its own."""
    command = [sys.executable, "-m", "benchmarks.copy_once", how, source, target]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    measured: dict[str, float] = json.loads(told.stdout)
    return measured


@contextmanager
def served(kind: str, region: str, folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", f"controlplane.storage.{kind}_server", str(folder)]
    words = ["--bucket", BUCKET, "--region", region, "--access-key-id", ACCESS_KEY_ID]
    environment = os.environ | {SECRET_VARIABLE: SECRET}
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main("Rate and peak memory of a copy from S3 to OSS, beside the vendors' SDKs.", measure))
