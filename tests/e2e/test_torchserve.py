"""TorchServe loads the archive that export writes, and answers as the graph does."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import onnxruntime
import pytest
import torch

from controlplane.recipes.learning.data import images
from controlplane.recipes.learning.export.archive import archived
from controlplane.recipes.learning.export.onnx_files import exported
from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.models.vision import VisionSize, network
from tests.parts import require_part
from tests.server import eventually, free_port

PROGRAM: Final = Path(__file__).parents[2] / ".venv-torchserve" / "bin" / "torchserve"
START_SECONDS: Final = 240.0
CALL_SECONDS: Final = 120.0
CONFIG: Final = """
inference_address=http://127.0.0.1:{}
management_address=http://127.0.0.1:{}
metrics_address=http://127.0.0.1:{}
grpc_inference_port={}
grpc_management_port={}
default_workers_per_model=1
disable_token_authorization=true
"""

pytestmark = [pytest.mark.verify, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def graph() -> bytes:
    torch.manual_seed(0)
    _, held_out = images.load()
    return exported(network(VisionSize()), TASKS[TaskName.DIGITS], held_out)


@pytest.fixture
def served(graph: bytes, tmp_path: Path) -> Iterator[str]:
    require_part("torchserve", PROGRAM.exists(), "`make verify` makes .venv-torchserve")
    require_part("torchserve", shutil.which("java") is not None, "it needs a Java runtime, 11 or newer")
    (tmp_path / "store").mkdir()
    archive = archived(graph, name="digits", inputs=TASKS[TaskName.DIGITS].inputs)
    (tmp_path / "store" / "digits.mar").write_bytes(archive)
    ports = [free_port() for _ in range(5)]
    (tmp_path / "config").write_text(CONFIG.format(*ports))
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    environment = {
        "PATH": path,
        "TEMP": str(tmp_path),
        "LOG_LOCATION": str(tmp_path),
        "METRICS_LOCATION": str(tmp_path),
    }
    options = (
        "--foreground",
        "--ncs",
        "--model-store=store",
        "--models=digits=digits.mar",
        "--ts-config=config",
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, *options], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_it_answers_as_the_graph_does(served: str, graph: bytes, tmp_path: Path) -> None:
    def is_up() -> bool:
        try:
            return bool(httpx.get(f"{served}/ping", timeout=CALL_SECONDS).json()["status"] == "Healthy")
        except httpx.TransportError:
            return False

    eventually(is_up, START_SECONDS, f"not healthy; see {tmp_path}/log")
    pixels = images.load()[1]["pixels"][:3]
    answer = httpx.post(
        f"{served}/predictions/digits", json={"pixels": pixels.tolist()}, timeout=CALL_SECONDS
    )
    assert answer.status_code == 200, (answer.text, (tmp_path / "log").read_text())
    (expected,) = onnxruntime.InferenceSession(graph).run(None, {"pixels": pixels})
    assert np.allclose(answer.json(), expected, atol=1e-6)
