"""A trained, quantised, signed model on a device: an environment that knows neither torch nor the control plane."""

import importlib.metadata
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from controlplane.recipes.learning.data import images
from tests.parts import require_part
from tests.recipe_attempts import RECIPES, inherited

NEEDED: Final = (
    "numpy",
    "onnxruntime",
    "flatbuffers",
    "packaging",
    "protobuf",
    "cryptography",
    "cffi",
    "pycparser",
)
STEP_SECONDS: Final = 240.0

pytestmark = [pytest.mark.verify, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_part("torch", find_spec("torch") is not None, "it is not installed")
    folder = tmp_path_factory.mktemp("edge")
    key = Ed25519PrivateKey.generate()
    (folder / "private.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    recipe(folder, "data", "--source=digits", f"--output={folder}/data")
    recipe(folder, "training", "--launch=tasks", "--epochs=4", f"--data={folder}/data")
    recipe(
        folder,
        "compression",
        f"--model={folder}/results/outputs",
        f"--data={folder}/data",
        f"--output={folder}/int8",
        "--method=int8_static",
        "--floor=0.9",
    )
    recipe(
        folder,
        "export",
        f"--model={folder}/int8",
        f"--signing-key={folder}/private.pem",
        f"--output={folder}/edge.zip",
    )
    return folder


def recipe(folder: Path, name: str, *arguments: str) -> None:
    environment = inherited() | {"PYTHONPATH": str(RECIPES)}
    subprocess.run(
        [sys.executable, "-m", f"learning.{name}", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        timeout=STEP_SECONDS,
    )


@pytest.fixture(scope="module")
def device(folder: Path) -> Path:
    """Python with what `requirements.txt` names and that needs, linked from here; and nothing else."""
    place = folder / "device"
    venv.create(place, symlinks=True)
    site = next((place / "lib").glob("python*/site-packages"))
    for entry in _files_of_needed():
        (site / entry.name).symlink_to(entry)
    zipfile.ZipFile(folder / "edge.zip").extractall(place / "edge")
    return place


def _files_of_needed() -> Iterator[Path]:
    """What the packages have at the top of site-packages."""
    for name in NEEDED:
        distribution = importlib.metadata.distribution(name)
        tops = {
            file.parts[0] for file in distribution.files or () if file.parts[0] not in {"..", "__pycache__"}
        }
        yield from sorted(Path(str(distribution.locate_file(top))) for top in tops)


def run(device: Path, inputs: object, *, key: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [device / "bin" / "python", "-I", device / "edge" / "run.py", "--public-key", key],
        input=json.dumps(inputs),
        capture_output=True,
        text=True,
        cwd=device,
        env={},
        timeout=STEP_SECONDS,
        check=False,
    )


def test_the_device_reads_digits_as_well_as_was_measured(folder: Path, device: Path) -> None:
    _, held_out = images.load()
    answered = run(device, {"pixels": held_out["pixels"].tolist()}, key=folder / "public.pem")
    assert answered.returncode == 0, answered.stderr
    right = np.array(json.loads(answered.stdout)["highest"]) == held_out["labels"]
    measured = json.loads((device / "edge" / "manifest.json").read_text())["measured"]["accuracy"]
    assert right.mean() > 0.9
    assert right.mean() == pytest.approx(measured, abs=0.05)  # on other examples


def test_the_device_knows_neither_torch_nor_the_control_plane(device: Path) -> None:
    code = "import importlib.util as u; print([u.find_spec(n) for n in ('torch', 'controlplane', 'ray')])"
    found = subprocess.run(
        [device / "bin" / "python", "-I", "-c", code], capture_output=True, text=True, check=True, env={}
    )
    assert found.stdout.strip() == "[None, None, None]"


def test_the_device_refuses_a_changed_model(folder: Path, device: Path) -> None:
    model = device / "edge" / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused = run(device, {"pixels": []}, key=folder / "public.pem")
    model.write_bytes(whole)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("refused: model.onnx has sha256")
