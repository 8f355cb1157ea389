"""Memory: what api and loops weigh together, idle and with 10,000 queued jobs.

Counted as PSS: private pages whole, shared pages by the number of processes that share them. Beside it: two bare
processes with FastAPI, uvicorn and SQLAlchemy, before and after they took in the same 10,000 specs.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.figures import Figure, Reference, at_most, main
from benchmarks.servers import true_server, uvicorn

JOBS = 10_000
BATCH = 1_000
REQUESTS = 20
SPEC = {"name": "waiting", "entrypoint": "python train.py", "resources": {"cpus": 2, "gpus": 1}}
MEGABYTE = 1_000_000
LOOK_SECONDS = 0.5
QUIET_TICKS = 2
"""Of 10 ms processor time per look: what an idle server may use."""

QUIET_LOOKS = 4
SETTLE_SECONDS = 40.0

Weights = tuple[float, float]
"""Megabytes idle, and with everything in it."""


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as folder:
        bare_idle, bare_full = bare_weights(Path(folder))
        idle, full = our_weights(Path(folder) / "home")
    bare = Reference(name="two bare processes", value=bare_idle)
    growth = Reference(name="their growth by as many rows", value=bare_full - bare_idle)
    return [
        Figure(name="api and loops, idle", value=idle, unit="MB", reference=bare, aims=(at_most(220),)),
        Figure(
            name=f"growth by {JOBS:,} queued jobs",
            value=full - idle,
            unit="MB",
            reference=growth,
            aims=(at_most(60),),
        ),
    ]


def our_weights(home: Path) -> Weights:
    with true_server(home) as server, server.client() as client:
        pids = server.pids
        for _ in range(REQUESTS):
            client.me()
            list(client.jobs.list())
            list(client.clusters.list())
        idle = settled_megabytes(pids)
        for _ in range(JOBS // BATCH):
            client.jobs.submit_many([SPEC] * BATCH)
        return idle, settled_megabytes(pids)


def bare_weights(folder: Path) -> Weights:
    with bare_process(folder / "one.db") as one, bare_process(folder / "other.db") as other:
        pids = [one[0], other[0]]
        for _, http in (one, other):
            for _ in range(REQUESTS):
                http.get("/rows").raise_for_status()
        idle = settled_megabytes(pids)
        for _, http in (one, other):
            for start in range(0, JOBS, BATCH):
                rows = [{"id": str(start + number), "body": json.dumps(SPEC)} for number in range(BATCH)]
                http.post("/rows", json=rows).raise_for_status()
        return idle, settled_megabytes(pids)


@contextmanager
def bare_process(database: Path) -> Iterator[tuple[int, httpx.Client]]:
    with (
        uvicorn("benchmarks.bare_app:app", environment={"BARE_DATABASE": str(database)}) as (pid, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30.0) as http,
    ):
        yield pid, http


def settled_megabytes(pids: Sequence[int]) -> float:
    """The weight once the processes have nothing left to do."""
    ends_at, quiet, ticks = time.monotonic() + SETTLE_SECONDS, 0, processor_ticks(pids)
    while quiet < QUIET_LOOKS:
        if time.monotonic() > ends_at:
            raise TimeoutError(f"the processes were still busy after {SETTLE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
        before, ticks = ticks, processor_ticks(pids)
        quiet = quiet + 1 if ticks - before <= QUIET_TICKS * len(pids) else 0
    return sum(map(pss_bytes, pids)) / MEGABYTE


def pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"the kernel says nothing of the memory of {pid}")


def processor_ticks(pids: Sequence[int]) -> int:
    """User and system time, in hundredths of a second."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in pids)
    return sum(int(each[11]) + int(each[12]) for each in fields)


if __name__ == "__main__":
    sys.exit(main("PSS of api and loops, beside bare processes.", measure))
