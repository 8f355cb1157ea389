"""Attempts at recipes: started as the wrapper starts them, and what they left."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

from tests.parts import require_part
from tests.plain_ray import PlainRay

RECIPES: Final = Path(__file__).parents[1] / "controlplane" / "recipes"
SEAT: Final = {"CPU": 1.0, "logical_gpu": 1.0, "memory": 500e6}
TRAINING: Final = ("learning.training",)
END_SECONDS: Final = 400.0  # on two busy cores each process needs half a minute for its imports

FORGET_TRAIN: Final = """
import contextlib, ray
ray.init(logging_level="ERROR")
with contextlib.suppress(ValueError):
    ray.kill(ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator"))
"""
"""Ray Train leaves one actor in each cluster where it ever ran, which takes no resources and never ends."""


@contextmanager
def lent(plain_ray: PlainRay) -> Iterator[PlainRay]:
    """The cluster for trainings, which must give back all that they take."""
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    with plain_ray.returned():
        yield plain_ray
        told = inherited() | plain_ray.environment
        subprocess.run([sys.executable, "-c", FORGET_TRAIN], env=told, check=True, timeout=END_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of a recipe: a driver, or the ranks of a gang."""

    folder: Path
    ranks: tuple[subprocess.Popen[bytes], ...]

    @classmethod
    @contextmanager
    def driven(
        cls,
        ray: PlainRay,
        folder: Path,
        arguments: Sequence[str],
        *,
        is_booked: bool = True,
        resume_from: str | None = None,
    ) -> Iterator[Self]:
        """`python -m ARGUMENTS` with a seat on each node of the cluster, or `--workers` wherever Ray likes."""
        told = _told(folder, resume_from) | ray.environment
        if is_booked:
            nodes = ray.node_ids()
            told["CROSSDOCK_NODE_IDS"] = json.dumps(nodes)
            told["CROSSDOCK_SEATS"] = json.dumps([SEAT for _ in nodes])
        with cls._started(folder, [told], arguments) as attempt:
            yield attempt

    @classmethod
    @contextmanager
    def gang(
        cls,
        folder: Path,
        ranks: int,
        arguments: Sequence[str],
        *,
        resume_from: str | None = None,
        program: Sequence[str] = (*TRAINING, "--launch=tasks"),
        python: str = sys.executable,
    ) -> Iterator[Self]:
        """`ranks` processes that meet on loopback."""
        meeting = {
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        told = [_told(folder, resume_from) | meeting | {"RANK": str(rank)} for rank in range(ranks)]
        with cls._started(folder, told, [*program, *arguments], python=python) as attempt:
            yield attempt

    @classmethod
    @contextmanager
    def _started(
        cls,
        folder: Path,
        environments: Sequence[Mapping[str, str]],
        arguments: Sequence[str],
        *,
        python: str = sys.executable,
    ) -> Iterator[Self]:
        folder.mkdir()
        processes = []
        for rank, told in enumerate(environments):
            with (folder / f"log-{rank}").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [python, "-m", *arguments],
                        cwd=RECIPES,
                        env={**inherited(), **told, "CROSSDOCK_RECORDS": str(folder / f"records-{rank}")},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        try:
            yield cls(folder=folder, ranks=tuple(processes))
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def ended(self) -> int:
        """The exit code of all ranks; if they differ, the test has failed."""
        codes = {process.wait(timeout=END_SECONDS) for process in self.ranks}
        assert len(codes) == 1, (codes, self.log)
        return codes.pop()

    @property
    def is_over(self) -> bool:
        return all(process.poll() is not None for process in self.ranks)

    @property
    def log(self) -> str:
        return "".join((self.folder / f"log-{rank}").read_text() for rank in range(len(self.ranks)))

    @property
    def model(self) -> bytes:
        return (self.folder / "outputs" / "model.pt").read_bytes()

    @property
    def facts(self) -> dict[str, Any]:
        """What it measured of its model."""
        facts: dict[str, Any] = json.loads((self.folder / "outputs" / "metrics.json").read_text())
        return facts

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Of the driver, or of the first rank."""
        path = self.folder / "records-0"
        written = path.read_text() if path.exists() else ""
        # The last line may still be in the writing.
        whole = (json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n"))
        return [record for record in whole if record["kind"] == kind]

    def steps(self) -> list[int]:
        return [record["step"] for record in self.records("metric") if "loss" in record["values"]]

    def losses(self) -> list[float]:
        """By step."""
        values = [record["values"] for record in self.records("metric")]
        return [each["loss"] for each in values if "loss" in each]


def inherited() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("CROSSDOCK_", "RAY_"))}


def _told(folder: Path, resume_from: str | None) -> dict[str, str]:
    told = {
        "CROSSDOCK_JOB_ID": "learning",
        "CROSSDOCK_ATTEMPT_ID": folder.name,
        "CROSSDOCK_CHECKPOINT_URI": f"file://{folder.parent}/checkpoints",
        "CROSSDOCK_OUTPUTS_URI": str(folder / "outputs"),
        "CROSSDOCK_GRACE_SECONDS": "30",
    }
    return told | ({"CROSSDOCK_RESUME_FROM": resume_from} if resume_from else {})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
