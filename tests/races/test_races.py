"""Races inside transactions: sixteen threads on one database, and the history judged by the invariants."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.domain import invariants
from controlplane.domain.attempts import Outcome
from controlplane.domain.jobs import JobState
from controlplane.operations import clusters
from controlplane.operations.context import Context
from controlplane.operations.ids import RandomIds
from controlplane.operations.setting_up import set_up
from controlplane.secrets.sealer import Sealer
from controlplane.settings import Settings
from controlplane.storage.file import FileStore
from controlplane.store import Store
from controlplane.wire.admin import ClusterCreate
from tests.races.crew import ADMIN, JOBS, Crew

SECONDS = 90.0


@pytest.fixture
def crew(tmp_path: Path, database_url: str) -> Iterator[Crew]:
    here = {"CROSSDOCK_HOME": str(tmp_path), "CROSSDOCK_DATABASE_URL": database_url}
    store = Store.open(database_url)
    context = Context(
        store=store,
        objects=FileStore(tmp_path / "objects"),
        ids=RandomIds(),
        sealer=Sealer(b"k" * 32),
        settings=replace(Settings.read(here), local_cluster=False, poll_seconds=0.2),
    )
    set_up(context)
    clusters.register(context, ADMIN, ClusterCreate(name="lab", adapter="ray", url="http://127.0.0.1:1"))
    yield Crew(context)
    store.close()


@pytest.mark.timeout(240)
def test_sixteen_threads_break_no_promise(crew: Crew) -> None:
    crew.work(timeout_seconds=SECONDS)

    breaches = []
    with crew.context.store.read() as tx:
        job_ids = tx.audits.job_ids(None, 10_000)
        dossiers = [found for job_id in job_ids if (found := tx.audits.dossier(job_id)) is not None]
        breaches += [breach for dossier in dossiers for breach in invariants.of_job(dossier)]
        breaches += invariants.of_floor(tx.audits.floor())
        leases = tx.leases.every()
        breaches += invariants.of_leases(leases)
        feed = [event for _, event in tx.events.after(None, 100_000)[0]]
    assert breaches == []
    _each_request_was_done_once(crew)
    assert Counter(crew.executor.starts).most_common(1)[0][1] == 1
    assert len(leases) > 3, "leadership must have changed hands"
    assert crew.followed == feed
    states = Counter(dossier.job.state for dossier in dossiers)
    assert states[JobState.SUCCEEDED] > JOBS / 2
    assert states.keys() <= {JobState.SUCCEEDED, JobState.CANCELLED}
    outcomes = {attempt.outcome for dossier in dossiers for attempt in dossier.attempts}
    assert outcomes <= {Outcome.SUCCEEDED, Outcome.CANCELLED}


def _each_request_was_done_once(crew: Crew) -> None:
    answers: dict[int, set[str]] = {}
    for request, job_id in crew.accepted:
        answers.setdefault(request, set()).add(job_id)
    assert len(crew.accepted) == 2 * JOBS
    assert {request for request, ids in answers.items() if len(ids) != 1} == set()
    assert sorted(crew.all_jobs()) == sorted(job_id for ids in answers.values() for job_id in ids)
