"""SDK and command line against the real API."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.domain.ids import AttemptId
from controlplane.sdk import Client, Conflict, Forbidden, Invalid, JobSpec, NotFound, Unauthenticated
from tests.e2e.dashboard_stage import Stage, plant, running_stage, write_log
from tests.forked import ran
from tests.server import COMMAND, COMMAND_SECONDS


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def jobs(stage: Stage) -> dict[str, str]:
    return plant(stage)


@pytest.fixture
def client(stage: Stage) -> Iterator[Client]:
    with stage.server.client() as opened:
        yield opened


def test_a_job_with_a_folder_is_submitted_found_cancelled_and_retried(client: Client, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('hello')\n")
    spec = {"name": "with-folder", "entrypoint": "python train.py", "labels": {"sort": "folder"}}
    job = client.jobs.submit(spec, working_dir=tmp_path)
    assert job.document.spec == {**spec, "working_dir": client.uploads.put(tmp_path)}
    assert [each.id for each in client.jobs.list(label=("sort", "folder"), state="queued")] == [job.id]
    assert job.cancel().state == "cancelled"
    assert (job.retry().document.retry_of, job.explain().code) == (job.id, "cancelled")
    with pytest.raises(Conflict):
        job.cancel()


def test_a_batch_stands_and_falls_together(client: Client) -> None:
    first, second = client.jobs.submit_many(
        [
            JobSpec(name="batch-a", entrypoint="true"),
            JobSpec(name="batch-b", entrypoint="true", depends_on=["batch-a"]),
        ]
    )
    assert (second.state, second.document.depends_on) == ("held", [first.id])
    circle = [
        {"name": name, "entrypoint": "true", "depends_on": [other]}
        for name, other in (("x", "y"), ("y", "x"))
    ]
    with pytest.raises(Invalid, match=r"x -> y -> x|y -> x -> y"):
        client.jobs.submit_many(circle)
    assert list(client.jobs.list(name="x")) == []


def test_pages_of_every_list_are_walked_to_their_end(client: Client) -> None:
    specs = [JobSpec(name="many", entrypoint="true") for _ in range(250)]
    wanted = {job.id for job in client.jobs.submit_many(specs)}
    listed = [job.id for job in client.jobs.list(name="many")]
    assert (len(listed), set(listed)) == (250, wanted)


def test_what_a_job_did_is_read_back(client: Client, jobs: dict[str, str]) -> None:
    job = client.jobs.get(jobs["digits"])
    assert [(each.number, each.outcome, each.exit_code) for each in job.attempts()] == [
        (1, "failed", 137),
        (2, None, None),
    ]
    assert (job.attempts()[1].progress, job.attempts()[1].progress_message) == (0.58, "epoch 7 of 12")
    points = list(job.metrics())
    assert (len(points), points[-1].step, job.metric_tail().read() == points) == (260, 239, True)
    assert list(job.logs(attempt=1, rank=0)) == ["epoch 1", "epoch 2", "out of memory"]
    assert len([line for line in job.logs() if line.startswith("step")]) == 120
    with pytest.raises(NotFound):
        list(job.logs(attempt=9, follow=True))


def test_following_logs_outlives_a_kill_of_the_server_without_hole_or_duplicate(
    stage: Stage, client: Client, jobs: dict[str, str]
) -> None:
    attempt = AttemptId(f"attempt_{jobs['digits']}_2")
    lines = client.jobs.get(jobs["digits"]).logs(follow=True, rank=1)
    before = [next(lines) for _ in range(60)]
    stage.server.kill("api")
    stage.store.write(lambda tx: write_log(tx, attempt, 1, "während\nafter\n"))
    stage.server.start("api")
    assert [*before[-1:], next(lines), next(lines)] == [before[-1], "während", "after"]
    stage.store.write(lambda tx: write_log(tx, attempt, 1, "later\n"))
    assert next(lines) == "later"


def test_events_are_followed_from_a_cursor(client: Client) -> None:
    job = client.jobs.submit(JobSpec(name="eventful", entrypoint="true"))
    told = list(client.events(job=job.id))
    assert [event.kind for event in told] == ["job.queued"]
    followed = client.events(after=told[-1].cursor, follow=True, job=job.id)
    job.cancel()
    assert next(followed).kind == "job.cancelled"


def test_a_projects_token_sees_its_project_alone(stage: Stage, client: Client, jobs: dict[str, str]) -> None:
    client.projects.create("vision")
    client.queues.create("nightly", project="vision")
    assert [queue.name for queue in client.queues.list(project="vision")] == ["default", "nightly"]
    token = client.tokens.create("ci", role="submitter", project="vision")
    with Client(stage.url, token.secret) as other:
        assert (other.me().role, other.me().project) == ("submitter", "vision")
        assert (
            other.jobs.submit(JobSpec(name="v", entrypoint="true", project="vision", queue="nightly")).state
            == "queued"
        )
        with pytest.raises(NotFound):
            other.jobs.get(jobs["digits"])
        with pytest.raises(Forbidden):
            other.clusters.cordon("rack-a")
    assert client.tokens.revoke(token.id).revoked_at is not None
    with Client(stage.url, "cd_" + "x" * 43) as stranger, pytest.raises(Unauthenticated):
        stranger.me()


def test_clusters_are_registered_and_taken_out_of_use(client: Client, jobs: dict[str, str]) -> None:
    added = client.clusters.add("rack-z", adapter="ray", url="https://ray.rack-z.example", token="s3cret")
    assert (added.state, added.url) == ("pending", "https://ray.rack-z.example")
    assert client.clusters.cordon("rack-z").cordoned_at is not None
    assert client.clusters.uncordon("rack-z").cordoned_at is None
    assert client.clusters.get("rack-a").booked["gpus"] == 2.0
    assert [node.name for node in client.clusters.nodes("rack-a")] == ["rack-a-1", "rack-a-2"]
    with pytest.raises(Invalid, match="adapter: no such capacity plugin"):
        client.clusters.add("x", adapter="nowhere")


def test_the_command_finds_the_server_that_was_set_up_here(stage: Stage, jobs: dict[str, str]) -> None:
    code, out = _crossdock(stage, "jobs", "list", "--name", "digits", "--json")
    assert (code, json.loads(out)["id"]) == (0, jobs["digits"])
    code, out = _crossdock(stage, "jobs", "explain", jobs["too-big"])
    assert (code, out.splitlines()[0]) == (
        0,
        "queued (no_room): needs 1 x {gpu 2}, 1 gpu is free on the best node",
    )
    code, out = _crossdock(stage, "jobs", "wait", jobs["hostile"])
    assert code == 1
    code, out = _crossdock(stage, "whoami")
    assert (code, out) == (0, "token    first-admin\nrole     admin\nproject  all\n")


def _crossdock(stage: Stage, *words: str) -> tuple[int, str]:
    environment = {"CROSSDOCK_HOME": str(stage.server.settings.home), "PATH": "/usr/bin:/bin"}
    result = ran(COMMAND, words, environment=environment, within_seconds=COMMAND_SECONDS)
    assert result.returncode in {0, 1}, result.stderr
    return result.returncode, result.stdout
