"""Claims: a thousand of them bought and given back at once by one loops process over four clouds.

Beside its memory: the same process before the first claim. Beside its speed: as many rows changed, each in a commit of
its own with an event, by the bare driver.
"""

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Reference, at_least, at_most, main

CLAIMS: Final = 1_000
MEGABYTE: Final = 1_000_000
SLOWEST: Final = 900.0
TABLES: Final = (
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    "CREATE TABLE claims (id TEXT PRIMARY KEY, state TEXT, version INTEGER);"
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, kind TEXT, subject TEXT)"
)


def measure() -> Sequence[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as folder:
        ours = _ours(Path(folder), CLAIMS)
        bare = _bare(Path(folder) / "bare.db", int(ours["changes"]))
    changes = f"changes of {CLAIMS:,} claims"
    return [
        Figure(
            name=f"peak memory, {CLAIMS:,} claims in flight",
            value=ours["peak_bytes"] / MEGABYTE,
            unit="MB",
            reference=Reference(name="before the first", value=ours["idle_bytes"] / MEGABYTE),
            aims=(at_most(400),),
        ),
        Figure(
            name=f"{changes}, by processor time",
            value=ours["changes"] / ours["processor_seconds"],
            unit="1/s",
            reference=Reference(name="bare rows, one commit each", value=bare),
            aims=(at_least(100),),
        ),
        Figure(
            name="from the first request until all are ready (10 s of it booting)",
            value=ours["ready_seconds"],
            unit="s",
            reference=Reference(name="asking for them", value=ours["asked_seconds"]),
        ),
        Figure(
            name="from the first release until all are gone (7 s of it the cloud's)",
            value=ours["gone_seconds"],
            unit="s",
            reference=Reference(name="until all were ready", value=ours["ready_seconds"]),
        ),
    ]


def _ours(home: Path, count: int) -> dict[str, float]:
    """In a process of its own, so that its peak is its own."""
    command = [sys.executable, "-m", "benchmarks.claims_once", str(home), str(count)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=SLOWEST)
    found: dict[str, float] = json.loads(told.stdout)
    return found


def _bare(path: Path, changes: int) -> float:
    """By the second of processor time."""
    with closing(sqlite3.connect(path, isolation_level=None)) as bare:
        bare.executescript(TABLES)
        bare.executemany("INSERT INTO claims VALUES (?, 'new', 0)", [(str(each),) for each in range(CLAIMS)])
        began = time.process_time()
        for number in range(changes):
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("UPDATE claims SET version = version + 1 WHERE id = ?", (str(number % CLAIMS),))
            bare.execute("INSERT INTO events (kind, subject) VALUES ('claim.moved', ?)", (str(number),))
            bare.execute("COMMIT")
        return changes / (time.process_time() - began)


if __name__ == "__main__":
    sys.exit(main("A thousand claims in one loops process: memory, and turns.", measure))
