"""Spot machines are taken back at one cloud, and the training goes on at the other from a checkpoint that followed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from controlplane.sdk import Client, Job, JobSpec
from tests.hypervisor.two_clouds import TwoClouds, two_clouds

pytestmark = [pytest.mark.verify, pytest.mark.timeout(2400)]

BOOT_SECONDS: Final = 900.0
TRAINING: Final = Path(__file__).with_name("digits_on_spot.py")
BAND: Final = 0.02
"""Two ranks add in another order than one does."""


def test_training_on_spot_machines_goes_on_at_the_other_cloud_and_ends_as_good(tmp_path: Path) -> None:
    with two_clouds(tmp_path) as stands, stands.site.server.client() as client:
        site, aws = stands.site, stands.site.accounts["aws"]
        job = submit(stands, client, tmp_path / "code")
        saved(stands, job)

        for zone in aws.zones:
            aws.sell_out(zone)
        machine = aws.machines()[0]
        aws.reclaim(machine)
        site.until(lambda: job.attempts()[0].outcome is not None, 120, "the notice must stop the attempt")
        aws.take(machine)
        site.until(lambda: finished(stands, job), BOOT_SECONDS, "the job must end at the other cloud")

        first, second = job.attempts()
        assert (first.outcome, second.outcome) == ("evicted", "succeeded"), list(job.logs(attempt=2))
        assert job.document.state == "succeeded"
        it_followed(client, job)
        assert accuracy_of(list(job.logs(attempt=2))) == pytest.approx(reference(tmp_path), abs=BAND)
        site.until(
            lambda: all(each.machines() == [] for each in site.accounts.values()),
            120,
            "idle machines must go",
        )


def submit(stands: TwoClouds, client: Client, folder: Path) -> Job:
    folder.mkdir()
    (folder / "main.py").write_text(TRAINING.read_text())
    spec = {
        "name": "digits-on-spot",
        "kind": "training",
        "entrypoint": "python main.py",
        "tasks": 2,
        "resources": {"cpus": 0.5, "gpus": 1},
        "grace_seconds": 60.0,
        "checkpoint_uri": "s3://runs/digits",
        "environment": stands.environment() | {"OMP_NUM_THREADS": "1"},
    }
    return client.jobs.submit(JobSpec.model_validate(spec), working_dir=folder)


def saved(stands: TwoClouds, job: Job) -> None:
    """Until the first checkpoint is safe."""

    def is_saved() -> bool:
        stands.lend_keys()
        assert not job.refresh().is_finished, list(job.logs())
        return job.checkpoints() != []

    stands.site.until(is_saved, BOOT_SECONDS, "the first attempt must save")


def finished(stands: TwoClouds, job: Job) -> bool:
    stands.lend_keys()
    return job.refresh().is_finished


def it_followed(client: Client, job: Job) -> None:
    """The last checkpoint that was saved on notice is the one that was copied, and resumed from."""
    last = [each for each in job.checkpoints() if each.uri.startswith("s3://")][-1]
    target = last.uri.replace("s3://runs/", "oss://runs-far/kept/")
    (copy,) = client.data.list()
    assert (copy.state, copy.source, copy.target, copy.rereads) == ("done", last.uri, target, True)
    assert [each.found for each in client.data.verify(copy.id)] == ["whole"]
    stopped = next(line for line in job.logs(attempt=1) if line.startswith("rank 0 stopped"))
    assert stopped == f"rank 0 stopped after step {last.step}"
    assert f"resumes at step {last.step} from {target}" in list(job.logs(attempt=2))
    assert job.checkpoints()[-1].uri.startswith("oss://runs-far/kept/digits/")


def accuracy_of(lines: list[str]) -> float:
    return next(float(line.split()[-1]) for line in lines if line.startswith("final accuracy"))


def reference(folder: Path) -> float:
    """The same training, undisturbed."""
    done = subprocess.run(
        [sys.executable, TRAINING],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return accuracy_of(done.stdout.splitlines())
