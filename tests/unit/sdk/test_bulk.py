"""Many jobs in one call, each answered by itself."""

from pathlib import Path

import pytest

from controlplane.sdk import Client, JobReceipt, JobRefusal, JobSpec, Resources
from controlplane.wire.base import FieldProblem
from tests.unit.sdk.plane import Plane, Vice

pytestmark = pytest.mark.sockets

SPEC = {"name": "train", "entrypoint": "python train.py"}


def test_each_spec_has_its_answer_in_its_place(client: Client, plane: Plane) -> None:
    made = JobSpec(name="made", entrypoint="true", resources=Resources(cpus=2))
    answers = client.jobs.submit_each([SPEC, {"name": "bad"}, made])
    assert answers == [
        JobReceipt(id="job_1", name="train", state="queued"),
        JobRefusal(
            code="invalid",
            detail="entrypoint: is missing",
            fields=[FieldProblem(field="entrypoint", message="is missing")],
        ),
        JobReceipt(id="job_2", name="made", state="queued"),
    ]
    assert plane.paths("POST") == ["/v1/jobs/bulk"]
    assert plane.jobs["job_2"]["spec"] == {"name": "made", "entrypoint": "true", "resources": {"cpus": 2.0}}


@pytest.mark.parametrize("vice", Vice)
def test_whatever_happens_to_the_answer_each_job_is_made_once(
    client: Client, plane: Plane, vice: Vice
) -> None:
    plane.vices.extend([vice, vice])
    answers = client.jobs.submit_each([SPEC, SPEC])
    assert [each.id for each in answers if isinstance(each, JobReceipt)] == list(plane.jobs)


def test_one_folder_goes_to_all_that_name_none(client: Client, plane: Plane, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    own = f"sha256:{'0' * 64}"
    client.jobs.submit_each(
        [SPEC, {**SPEC, "working_dir": own}, JobSpec.model_validate(SPEC)], working_dir=tmp_path
    )
    (digest,) = plane.uploads
    assert [job["spec"]["working_dir"] for job in plane.jobs.values()] == [digest, own, digest]
