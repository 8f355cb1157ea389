"""Pipelines for real: through SDK and API, as Ray jobs, past a kill of the loops, and from raw digits to a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.schedules import read
from controlplane.domain.clusters import Endpoint
from controlplane.sdk import Client
from controlplane.wire.pipelines import ExecutionDocument
from tests.e2e.test_first_light import attach
from tests.server import RunningServer, eventually, running_server

EXAMPLES = Path(__file__).parents[2] / "examples"
STEP_SECONDS = 90.0
DIGITS_SECONDS = 900.0
MAKE = 'mkdir -p "${CROSSDOCK_OUTPUTS_URI#file://}"; cd "${CROSSDOCK_OUTPUTS_URI#file://}"; '


def states(execution: ExecutionDocument) -> dict[str, str]:
    return {step.name: step.state for step in execution.steps}


def words(flag: Path) -> dict[str, Any]:  # JSON
    """`say` waits for somebody's nod."""
    waits = f"until [ -e {flag} ]; do sleep 0.1; done; "
    made = {"words": {"path": "words.txt"}}
    return {
        "name": "words",
        "steps": [
            {"name": "say", "job": {"entrypoint": f"{waits}{MAKE}echo hello > words.txt"}, "outputs": made},
            {
                "name": "shout",
                "job": {"entrypoint": f'{MAKE}tr a-z A-Z < "${{INPUT_SAID#file://}}" > words.txt'},
                "inputs": {"said": "steps.say.outputs.words"},
                "outputs": made,
            },
        ],
    }


@pytest.fixture
def server(ray_cluster: Endpoint, tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "home") as running:
        attach(running, ray_cluster)
        yield running


def test_an_execution_goes_on_where_the_killed_loops_left_it(server: RunningServer, tmp_path: Path) -> None:
    with server.client() as client:
        client.stores.add("artifacts", f"file://{tmp_path}/artifacts")
        execution = client.pipelines.submit(words(tmp_path / "nod"))
        eventually(
            lambda: client.pipelines.get(execution.id).steps[0].state == "running", STEP_SECONDS, "not begun"
        )
        server.kill("loops")
        (tmp_path / "nod").touch()
        server.start("loops")
        done = client.pipelines.wait(execution.id, timeout_seconds=STEP_SECONDS)
        assert (done.state, states(done)) == ("succeeded", {"say": "succeeded", "shout": "succeeded"}), (
            done.reason
        )
        said = done.steps[1].outputs[0].uri
        assert Path(said.removeprefix("file://")).read_text() == "HELLO\n"
        again = client.pipelines.submit(words(tmp_path / "nod"))
        cached = client.pipelines.wait(again.id, timeout_seconds=STEP_SECONDS)
        assert states(cached) == {"say": "cached", "shout": "cached"}
        assert [step.outputs for step in cached.steps] == [step.outputs for step in done.steps]


@pytest.mark.verify
@pytest.mark.timeout(DIGITS_SECONDS + 300)
def test_the_digits_pipeline_leads_from_images_to_a_small_model_that_serves(tmp_path: Path) -> None:
    """As a new user has it: what `server init` made, and the example as it is."""
    with running_server(tmp_path / "home", local_cluster=True) as server, server.client() as client:
        execution = client.pipelines.submit(read(EXAMPLES / "digits-pipeline.yaml"), base=EXAMPLES)
        done = client.pipelines.wait(execution.id, timeout_seconds=DIGITS_SECONDS)
        assert done.state == "succeeded", done.reason
        _judge(client, done)
        second = client.pipelines.submit(read(EXAMPLES / "digits-pipeline.yaml"), base=EXAMPLES)
        again = client.pipelines.wait(second.id, timeout_seconds=2 * STEP_SECONDS)
        assert [step.state for step in again.steps] == ["cached"] * 5 + ["succeeded"] * 2


def _judge(client: Client, done: ExecutionDocument) -> None:
    version = client.models.version("digits", "production")
    quantised, evaluated = done.steps[3], done.steps[4]
    assert version.lineage.job_id == quantised.job_id
    assert version.lineage.evaluation_job_id == evaluated.job_id
    assert version.artifacts[0].sha256 == quantised.outputs[0].sha256
    assert (version.metrics["accuracy"] or 0) >= 0.95
    assert (version.metrics["size_bytes"] or 0) < 20_000
    found = {each.name: Path(each.uri.removeprefix("file://")).read_text() for each in evaluated.outputs}
    assert found["table"].count("\n") == 5
    assert found["picture"].startswith("<svg")
