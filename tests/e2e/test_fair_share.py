"""Two queues on a real Ray cluster: one borrows, the owner takes back, and what was pushed aside resumes or shrinks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client, Job, JobSpec
from tests.server import RunningServer, eventually, running_server

SECONDS = 120.0
MIN_RUNTIME_SECONDS = 0.5
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

ELASTIC = """
    import os, signal, sys, time
    from pathlib import Path
    mine = Path(os.environ["CROSSDOCK_CHECKPOINT_URI"].removeprefix("file://"), os.environ["RANK"])
    step = int(mine.read_text()) if mine.exists() else 0
    print(f"begins at {step} of {os.environ['WORLD_SIZE']}", flush=True)

    def save(*_):
        mine.write_text(str(step))
        sys.exit(143)

    signal.signal(signal.SIGTERM, save)
    while not Path(os.environ["GO"]).exists():
        step += 1
        time.sleep(0.02)
"""
HOLDING = """
    import os, time
    from pathlib import Path
    print("mine", flush=True)
    while not Path(os.environ["WAITS"]).exists():
        time.sleep(0.05)
"""
EPOCH_SECONDS = 300.0


@pytest.fixture(scope="module")
def server(ray_cluster: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("home")
    with running_server(home, min_runtime_seconds=MIN_RUNTIME_SECONDS) as running, running.client() as client:
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
        code=HOLDING,
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


def begun(job: Job, attempt: int) -> list[tuple[int, int]]:
    """(from which step, of how many tasks) each of its ranks began; nothing before there is such an attempt."""
    if len(job.attempts()) < attempt:
        return []
    words = [line.split() for line in job.logs(attempt=attempt) if line.startswith("begins")]
    return sorted((int(step), int(size)) for _, _, step, _, size in words)


def has_run(job: Job) -> bool:
    """For as long as nobody is preempted."""
    started = job.attempts()[-1].started_at
    return started is not None and datetime.now(UTC) > started + timedelta(seconds=MIN_RUNTIME_SECONDS)


def shrunk(client: Client, tmp_path: Path) -> tuple[Job, Job]:
    """An elastic job that had twice its queue's quota, and the owner of the rest, which has taken it back."""
    saved = tmp_path / "saved"
    saved.mkdir()
    elastic = submit(
        client,
        "blue",
        tasks=4,
        folder=tmp_path / "elastic",
        code=ELASTIC,
        min_tasks=1,
        resources={"gpus": 1.0},
        checkpoint_uri=saved.as_uri(),
        environment={"GO": str(tmp_path / "go")},
    )
    eventually(lambda: begun(elastic, 1) == [(0, 4)] * 4, SECONDS, "all four ranks must begin")
    assert elastic.explain().code == "running"
    eventually(lambda: has_run(elastic), SECONDS, "it must have run for so long that it may be preempted")
    owner = submit(
        client,
        "green",
        tasks=1,
        folder=tmp_path / "owner",
        code=HOLDING,
        environment={"WAITS": str(tmp_path / "owner done")},
    )
    told: set[str] = set()

    def runs() -> bool:
        told.add(owner.explain().code)
        return list(owner.logs()) == ["mine"]

    eventually(runs, SECONDS, f"the owner must run: {told}")
    assert told <= {"not_considered_yet", "waiting_for_seats", "placed", "starting", "running"}
    eventually(lambda: len(begun(elastic, 2)) == 2, SECONDS, "the two that are left must begin again")
    return elastic, owner


def test_an_elastic_borrower_gives_back_what_it_borrowed_and_goes_on_with_the_rest(
    client: Client, tmp_path: Path
) -> None:
    elastic, owner = shrunk(client, tmp_path)
    first, second = elastic.attempts()
    assert (first.outcome, len(first.seats), len(second.seats)) == ("preempted", 4, 2)
    assert "takes back its own quota" in (first.reason or "")
    assert sorted(each.name for each in (tmp_path / "saved").iterdir()) == ["0", "1", "2", "3"]
    assert all(step > 0 and size == 2 for step, size in begun(elastic, 2))
    assert elastic.explain().code == "running"
    (tmp_path / "go").touch()
    (tmp_path / "owner done").touch()
    for job in (elastic, owner):
        job.wait(timeout_seconds=SECONDS, check=True)


@pytest.mark.verify
@pytest.mark.timeout(900)
def test_an_elastic_borrower_grows_again_when_the_owner_has_ended(client: Client, tmp_path: Path) -> None:
    elastic, owner = shrunk(client, tmp_path)
    (tmp_path / "owner done").touch()
    owner.wait(timeout_seconds=SECONDS, check=True)
    before = begun(elastic, 2)

    eventually(
        lambda: len(begun(elastic, 3)) == 4,
        EPOCH_SECONDS + SECONDS,
        f"it must grow in a later epoch: {elastic.explain()}",
    )
    second, third = elastic.attempts()[1:]
    assert (second.outcome, second.reason) == ("resized", "resized: 2 to 4 tasks")
    assert len(third.seats) == 4
    assert {seat.node_id for seat in second.seats} <= {seat.node_id for seat in third.seats}
    resumed = begun(elastic, 3)
    assert all(size == 4 and step > 0 for step, size in resumed)
    assert max(resumed)[0] > max(before)[0]
    assert elastic.explain().code == "running"
    (tmp_path / "go").touch()
    elastic.wait(timeout_seconds=SECONDS, check=True)
    assert elastic.attempts()[-1].outcome == "succeeded"
