"""First light: jobs through SDK, API, SQL, plan, Ray and back, on a real Ray cluster with two nodes."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import pytest

from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client, Invalid, JobSpec, Resources
from controlplane.storage.base import Credentials, Place
from controlplane.storage.s3 import S3Store
from controlplane.storage.s3_server import S3Server
from controlplane.storage.testing import pattern
from tests.server import RunningServer, eventually, running_server

GANG_SECONDS = 90.0


@pytest.fixture(scope="module")
def server(ray_cluster: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("home")) as running:
        attach(running, ray_cluster)
        yield running


def attach(server: RunningServer, endpoint: Endpoint, *, url: str | None = None) -> None:
    with server.client() as client:
        client.clusters.add(
            "lab",
            adapter="ray",
            url=url or endpoint.url,
            token=endpoint.token,
            gpu_resource=endpoint.gpu_resource,
        )
        eventually(
            lambda: client.clusters.get("lab").state == "ready", 30.0, f"not ready:\n{server.log('loops')}"
        )


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


def gang(name: str, **fields: object) -> JobSpec:
    """Two tasks, one per node: each node of the cluster has GPUs for exactly one of them."""
    return JobSpec.model_validate(
        {
            "name": name,
            "entrypoint": "python main.py",
            "tasks": 2,
            "resources": {"gpus": 2.0},
            "grace_seconds": 10.0,
        }
        | fields
    )


def folder(path: Path, code: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "main.py").write_text(dedent(code))
    return path


REPORTING = """
    import json, os
    rank = int(os.environ["RANK"])
    print("hello from rank", rank, "of", os.environ["WORLD_SIZE"], os.environ["GREETING"])
    with open(os.environ["CROSSDOCK_RECORDS"], "a") as records:
        for step in range(3):
            records.write(json.dumps({"kind": "metric", "step": step, "values": {"loss": 1.0 / (step + 1)}}) + "\\n")
"""


def test_a_gang_runs_on_two_nodes_and_its_logs_and_metrics_come_back(client: Client, tmp_path: Path) -> None:
    spec = gang("gang", environment={"GREETING": "ahoy"})
    job = client.jobs.submit(spec, working_dir=folder(tmp_path / "code", REPORTING))
    job.wait(timeout_seconds=GANG_SECONDS, check=True)
    assert sorted(job.logs()) == [f"hello from rank {rank} of 2 ahoy" for rank in (0, 1)]
    (attempt,) = job.attempts()
    assert (attempt.outcome, attempt.exit_code) == ("succeeded", 0)
    assert len({seat.node_id for seat in attempt.seats}) == 2
    points = [(point.rank, point.step, point.values["loss"]) for point in job.metrics()]
    assert points == [(rank, step, 1.0 / (step + 1)) for rank in (0, 1) for step in range(3)]


def test_a_failing_task_fails_the_job_with_its_exit_code_after_the_retries(client: Client) -> None:
    spec = JobSpec.model_validate(
        {
            "name": "fails",
            "entrypoint": "echo try $CROSSDOCK_ATTEMPT_NUMBER; exit 7",
            "retry": {"max_attempts": 2, "backoff_seconds": 0.1},
        }
    )
    job = client.jobs.submit(spec).wait(timeout_seconds=GANG_SECONDS)
    assert (job.state, job.document.reason) == ("failed", "exited with code 7")
    assert [(attempt.number, attempt.outcome, attempt.exit_code) for attempt in job.attempts()] == [
        (1, "failed", 7),
        (2, "failed", 7),
    ]
    assert list(job.logs(attempt=1)) == ["try 1"]


CHECKPOINTING = """
    import json, os, signal, sys, time
    from pathlib import Path
    rank, step = os.environ["RANK"], 0

    def save(*_):
        Path(os.environ["CROSSDOCK_CHECKPOINT_URI"].removeprefix("file://"), f"rank-{rank}").write_text(str(step))
        sys.exit(143)

    signal.signal(signal.SIGTERM, save)
    print("ready", flush=True)
    for step in range(100_000):
        Path(os.environ["STEPS"], f".{rank}").write_text(str(step))
        Path(os.environ["STEPS"], f".{rank}").replace(Path(os.environ["STEPS"], rank))
        time.sleep(0.01)
"""


def test_a_stop_reaches_every_rank_and_each_saves_the_step_in_flight(client: Client, tmp_path: Path) -> None:
    steps, saved = tmp_path / "steps", tmp_path / "saved"
    steps.mkdir()
    saved.mkdir()
    spec = gang("stops", checkpoint_uri=saved.as_uri(), environment={"STEPS": str(steps)})
    job = client.jobs.submit(spec, working_dir=folder(tmp_path / "code", CHECKPOINTING))
    eventually(lambda: len(list(steps.glob("[01]"))) == 2, GANG_SECONDS, "both ranks must count steps")
    job.cancel()
    job.wait(timeout_seconds=GANG_SECONDS)
    (attempt,) = job.attempts()
    assert (job.state, attempt.outcome) == ("cancelled", "cancelled")
    for rank in ("0", "1"):
        at_stop, last = int((saved / f"rank-{rank}").read_text()), int((steps / rank).read_text())
        assert at_stop - last in (0, 1)


def test_a_job_that_waits_says_for_what_and_goes_on_when_it_can(client: Client) -> None:
    first = client.jobs.submit(JobSpec(name="holds", entrypoint="sleep 600", resources=Resources(gpus=2.0)))
    second = client.jobs.submit(JobSpec(name="holds", entrypoint="sleep 600", resources=Resources(gpus=2.0)))
    third = client.jobs.submit(
        JobSpec(name="waits", entrypoint="echo my turn", resources=Resources(gpus=2.0))
    )
    eventually(lambda: third.explain().code == "no_room", 10.0, "it must say that there is no room")
    assert third.explain().sentence == "needs 1 x (1 cpu, 2 gpu); 0 of 1 fit now, on cluster 'lab'"
    first.cancel()
    third.wait(timeout_seconds=GANG_SECONDS, check=True)
    second.cancel()
    assert second.wait(timeout_seconds=GANG_SECONDS).state == "cancelled"


def test_a_gang_that_no_cluster_could_ever_hold_is_refused(client: Client) -> None:
    with pytest.raises(Invalid, match="lab"):
        client.jobs.submit(JobSpec(name="huge", entrypoint="true", tasks=5, resources=Resources(gpus=1.0)))


READING = """
    import hashlib, os
    from pathlib import Path
    uri = os.environ["CROSSDOCK_INPUT_CORPUS"]
    folder = Path(uri.removeprefix("file://"))
    digest = hashlib.sha256()
    for each in sorted(folder.rglob("*")):
        if each.is_file():
            digest.update(each.relative_to(folder).as_posix().encode() + each.read_bytes())
    print(uri, digest.hexdigest())
"""


def test_an_input_is_brought_near_once_and_read_there_by_all_ranks_of_two_jobs(
    client: Client, tmp_path: Path
) -> None:
    far_folder, near = tmp_path / "far", tmp_path / "near"
    far_folder.mkdir()
    near.mkdir()
    keys = Credentials(access_key_id="AKFAR", secret="far-secret")
    corpus = {"a": b"first", "b/c": pattern(3_000_000)}
    code = folder(tmp_path / "code", READING)
    with S3Server(far_folder, credentials=keys, buckets=["far"]) as far:
        place = Place(bucket="far", region="us-east-1", endpoint=far.url, credentials=keys)
        with closing(S3Store(place)) as store:
            for name, data in corpus.items():
                store.put(f"corpus/{name}", io.BytesIO(data))
        client.stores.add(
            "far", "s3://far", endpoint=far.url, access_key_id=keys.access_key_id, secret=keys.secret
        )
        client.stores.add("near", near.as_uri(), near=["lab"])
        said = []
        for name in ("first", "second"):
            job = client.jobs.submit(gang(name, inputs={"corpus": "s3://far/corpus/"}), working_dir=code)
            job.wait(timeout_seconds=GANG_SECONDS, check=True)
            said += list(job.logs())
        copies = list(client.data.list())
        for store_name in ("far", "near"):
            client.stores.remove(store_name)
    (copy,) = copies
    assert (copy.state, copy.source, copy.size_bytes) == ("done", "s3://far/corpus/", 3_000_005)
    assert copy.target.startswith(f"{near.as_uri()}/crossdock-inputs/")
    whole = hashlib.sha256(b"".join(name.encode() + data for name, data in sorted(corpus.items())))
    assert said == [f"{copy.target} {whole.hexdigest()}"] * 4
