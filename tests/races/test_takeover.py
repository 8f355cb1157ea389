"""An old leader that was stopped in the middle of a plan, and wakes up when somebody else leads."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.domain import invariants
from controlplane.domain.leases import LeaseState
from controlplane.runtime.bell import Bell
from controlplane.runtime.scheduling import SCHEDULER_LEASE, SchedulingLoop
from controlplane.store import Store, Tx
from schedulers.priority import Priority
from tests import factories
from tests.server import eventually

JOBS = 3


@contextmanager
def old_leader(url: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.races.leader", url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # a stopped one, too


def plant(store: Store) -> None:
    def unit(tx: Tx) -> None:
        tx.projects.add(factories.project())
        tx.queues.add(factories.queue())
        tx.clusters.add(factories.cluster())
        tx.nodes.put(factories.node())
        for number in range(1, JOBS + 1):
            job, ask = factories.job(number), factories.ask(number, id=f"job-{number}.0")
            tx.jobs.add(job, ask, spec="{}", schema_version=1, labels={})

    store.write(unit)


@pytest.mark.timeout(60)
def test_a_leader_that_was_stopped_past_its_lease_commits_nothing(database_url: str) -> None:
    store = Store.open(database_url)
    plant(store)
    new = SchedulingLoop(
        store=store, policy=Priority(), bell=Bell(store.change_marker), holder="new leader", leader_seconds=30
    )
    with old_leader(database_url) as old:
        assert old.stdout is not None
        assert old.stdin is not None
        assert old.stdout.readline() == f"planning {JOBS}\n"
        os.kill(old.pid, signal.SIGSTOP)

        def has_taken_over() -> bool:
            new.step()
            with store.read() as tx:
                return tx.leases.get(SCHEDULER_LEASE).holder == "new leader"  # type: ignore[union-attr]

        eventually(has_taken_over, 20.0, "the lease must run out")
        os.kill(old.pid, signal.SIGCONT)
        old.stdin.write("go on\n")
        old.stdin.flush()
        assert old.stdout.readline() == "refused: lease scheduler: no longer held with token 1\n"

    with store.read() as tx:
        dossiers = [tx.audits.dossier(job_id) for job_id in tx.audits.job_ids(None, 100)]
        leases = tx.leases.every()
        assert list(invariants.of_floor(tx.audits.floor())) == []
    assert [breach for each in dossiers if each for breach in invariants.of_job(each)] == []
    assert [len(each.attempts) for each in dossiers if each] == [1] * JOBS
    assert list(invariants.of_leases(leases)) == []
    assert [(each.holder, each.token, each.state) for each in leases] == [
        ("old leader", 1, LeaseState.EXPIRED),
        ("new leader", 2, LeaseState.HELD),
    ]
    store.close()
