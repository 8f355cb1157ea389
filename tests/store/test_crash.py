"""What was acknowledged outlives a kill in the middle of writing."""

import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from tests.databases import Opener

REPOSITORY = Path(__file__).parents[2]
ENOUGH = 60

WRITER = """
import sys, threading
from controlplane.store import Store
from tests import factories

store = Store.open(sys.argv[1])
lock = threading.Lock()

def write_all(thread):
    for number in range(10_000):
        project = factories.project(thread * 100_000 + number + 2)
        store.write(lambda tx: (tx.projects.add(project), tx.events.add(factories.event(subject=project.id))))
        with lock:
            print(project.id, flush=True)

for thread in range(4):
    threading.Thread(target=write_all, args=(thread,)).start()
"""


@pytest.mark.parametrize("round_", range(3))
def test_acknowledged_writes_are_there_after_a_kill(sqlite_url: str, open_store: Opener, round_: int) -> None:
    with Popen([sys.executable, "-c", WRITER, sqlite_url], cwd=REPOSITORY, stdout=PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            acknowledged = [writer.stdout.readline() for _ in range(ENOUGH * (1 + round_))]
        finally:
            writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().splitlines(keepends=True)
    known = {line.strip() for line in acknowledged if line.endswith("\n")}

    store = open_store(sqlite_url)
    with store.read() as tx:
        kept = {project.id for project in tx.projects.list(None, 100_000)}
        rows, _ = tx.events.after(None, 100_000)
    assert len(known) >= ENOUGH
    assert known <= kept
    assert sorted(event.subject for _, event in rows) == sorted(kept)
    store.write(lambda tx: tx.projects.list(None, 1))
