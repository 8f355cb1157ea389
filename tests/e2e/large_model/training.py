"""What the story trains: once at two clouds, and once undisturbed, as a reference."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.hypervisor.two_clouds import OSS_TOP, S3_TOP, TwoClouds
from tests.recipe_attempts import Attempt

RANKS: Final = 2
EPOCHS: Final = 12
"""More of them learn the examples by heart: what was held out gets worse again."""

SETTINGS: Final = (
    "--task=text",
    "--strategy=pipeline",
    '--size={"width":64,"blocks":4}',
    "--batch-examples=64",
    "--micro-batches=4",
    f"--epochs={EPOCHS}",
    "--checkpoint-steps=20",
)
RESULTS: Final = f"{OSS_TOP}/models/writer"
"""Where the model will be served."""


@contextmanager
def undisturbed(folder: Path) -> Iterator[Attempt]:
    """The same training in two processes of this host, beside everything else."""
    with Attempt.gang(folder / "undisturbed", RANKS, SETTINGS) as attempt:
        yield attempt


def spec(clouds: TwoClouds) -> dict[str, Any]:
    arguments = " ".join(f"'{each}'" for each in SETTINGS)
    return {
        "name": "writer",
        "kind": "training",
        "entrypoint": f"exec python -m learning.training --launch=tasks {arguments}",
        "tasks": RANKS,
        "resources": {"cpus": 0.5, "gpus": 1},
        "grace_seconds": 60.0,
        "checkpoint_uri": f"{S3_TOP}/writer",
        "outputs_uri": RESULTS,
        "environment": clouds.environment() | {"OMP_NUM_THREADS": "1"},
    }
