"""Two queues on a real Ray cluster: one borrows, the owner takes back, and what was pushed aside resumes."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client, Job, JobSpec
from tests.server import RunningServer, eventually, running_server

SECONDS = 120.0
LAST_STEP = 40

COUNTING = f"""
    import os, signal, sys, time
    from pathlib import Path
    mine = Path(os.environ["CROSSDOCK_CHECKPOINT_URI"].removeprefix("file://"), os.environ["RANK"])
    step = int(mine.read_text()) if mine.exists() else 0
    print("begins at", step, flush=True)

    def save(*_):
        mine.write_text(str(step))
        print("saved", step, flush=True)
        sys.exit(143)

    signal.signal(signal.SIGTERM, save)
    go = Path(os.environ["GO"])
    while step < {LAST_STEP}:
        step += 1
        time.sleep(0.02 if go.exists() or step < 10 else 0.5)
    print("done at", step, flush=True)
"""


@pytest.fixture(scope="module")
def server(ray_cluster: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with running_server(home, min_runtime_seconds=0.5) as running, running.client() as client:
        client.clusters.add(
            "lab",
            adapter="ray",
            url=ray_cluster.url,
            token=ray_cluster.token,
            gpu_resource=ray_cluster.gpu_resource,
        )
        eventually(lambda: client.clusters.get("lab").state == "ready", 30.0, "the cluster must become ready")
        client.quotas.set(cohort="pool")
        for name in ("blue", "green"):
            client.queues.create(name)
            limits = [{"resource": "gpus", "nominal": 2}]
            client.quotas.set(queue=name, parent="pool", limits=limits)
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


def submit(client: Client, queue: str, *, tasks: int, folder: Path, code: str, **fields: object) -> Job:
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(dedent(code))
    spec = {
        "name": f"in-{queue}",
        "queue": queue,
        "entrypoint": "python main.py",
        "tasks": tasks,
        "resources": {"gpus": 2.0},
        "grace_seconds": 20.0,
    }
    return client.jobs.submit(JobSpec.model_validate(spec | fields), working_dir=folder)


def test_the_owner_takes_back_what_was_lent_and_the_borrower_resumes(client: Client, tmp_path: Path) -> None:
    saved, go = tmp_path / "saved", tmp_path / "go"
    saved.mkdir()
    borrower = submit(
        client,
        "blue",
        tasks=2,
        folder=tmp_path / "borrower",
        code=COUNTING,
        checkpoint_uri=saved.as_uri(),
        environment={"GO": str(go)},
    )
    eventually(lambda: len(list(borrower.logs())) == 2, SECONDS, "both ranks must begin")
    borrowed = {each.name: each for each in client.quotas.list()}["default/blue"].limits[0]
    assert (borrowed.used, borrowed.nominal) == (4.0, 2.0)
    assert any("borrows 2" in line for line in client.quotas.explain("blue").lines)

    waits = tmp_path / "owner done"
    owner = submit(
        client,
        "green",
        tasks=1,
        folder=tmp_path / "owner",
        code="""
            import os, time
            from pathlib import Path
            print("mine", flush=True)
            while not Path(os.environ["WAITS"]).exists():
                time.sleep(0.05)
        """,
        environment={"WAITS": str(waits)},
    )
    eventually(
        lambda: owner.explain().code in ("waiting_for_seats", "placed", "starting", "running"),
        SECONDS,
        "the owner must be promised seats",
    )
    eventually(lambda: list(owner.logs()) == ["mine"], SECONDS, "the owner must run")
    first = borrower.attempts()[0]
    assert first.outcome == "preempted"
    assert "takes back its own quota" in (first.reason or "")
    assert sorted(each.name for each in saved.iterdir()) == ["0", "1"]  # every rank has saved
    (attempt,) = owner.attempts()
    assert {seat.node_id for seat in attempt.seats} <= {seat.node_id for seat in first.seats}
    assert borrower.explain().code in ("no_quota", "no_room", "backing_off")

    go.touch()
    waits.touch()
    owner.wait(timeout_seconds=SECONDS, check=True)
    borrower.wait(timeout_seconds=SECONDS, check=True)
    second = borrower.attempts()[-1]
    assert (second.number, second.outcome) == (2, "succeeded")
    begun = sorted(line for line in borrower.logs(attempt=2) if line.startswith("begins"))
    assert all(int(line.split()[-1]) > 0 for line in begun)
    assert sum(line == f"done at {LAST_STEP}" for line in borrower.logs(attempt=2)) == 2
