"""What leaves answers as the original does, and a package runs only as its signer left it."""

import copy
import io
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.export import entry, onnx_files, runner
from controlplane.recipes.learning.export.archive import archived
from controlplane.recipes.learning.export.package import packed, signing_key
from controlplane.recipes.learning.models.tasks import TASKS, TaskName

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
REPORT = {"after": {"accuracy": 0.9}, "method": "none"}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.nn.Module, Examples]:
    torch.manual_seed(0)
    _, held_out = TASKS[TaskName.DIGITS].load(0)
    return TASKS[TaskName.DIGITS].network({"first": 2, "second": 2, "hidden": 4}).eval(), held_out


@pytest.fixture
def package(digits: tuple[torch.nn.Module, Examples], tmp_path: Path) -> Path:
    network, held_out = digits
    onnx = onnx_files.exported(network, TASKS[TaskName.DIGITS], held_out)
    content = packed(onnx, task=TaskName.DIGITS, example=held_out, report=REPORT, key=KEY)
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path / "edge")
    (tmp_path / "key.pem").write_bytes(
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return tmp_path / "edge"


@pytest.mark.parametrize("name", TaskName)
def test_the_exported_graph_answers_as_the_network(name: TaskName) -> None:
    task = TASKS[name]
    torch.manual_seed(0)
    network = task.network({})
    _, held_out = task.load(0)
    graph = onnx_files.exported(network, task, held_out)
    others = held_out.take(np.arange(70, 75))  # another number of examples than it was exported with
    assert onnx_files.difference(network, graph, task, others) <= onnx_files.TOLERANCE


def test_a_network_that_answers_what_is_no_number_is_not_exported(
    digits: tuple[torch.nn.Module, Examples],
) -> None:
    trained, held_out = digits
    diverged = copy.deepcopy(trained)
    with torch.no_grad():
        next(diverged.parameters()).flatten()[0] = float("nan")
    with pytest.raises(onnx_files.Differs, match="differs by nan"):
        onnx_files.exported(diverged, TASKS[TaskName.DIGITS], held_out)


def test_a_graph_of_another_network_is_told_apart(digits: tuple[torch.nn.Module, Examples]) -> None:
    network, held_out = digits
    task = TASKS[TaskName.DIGITS]
    graph = onnx_files.exported(network, task, held_out)
    torch.manual_seed(1)
    other = task.network({"first": 2, "second": 2, "hidden": 4}).eval()
    assert onnx_files.difference(other, graph, task, held_out) > onnx_files.TOLERANCE


def test_the_runner_of_a_package_answers_as_the_network(
    package: Path, digits: tuple[torch.nn.Module, Examples]
) -> None:
    network, held_out = digits
    pixels = held_out.first(3)["pixels"]
    answer = runner.run(package, package.parent / "key.pem", {"pixels": pixels.tolist()})
    with torch.no_grad():
        scores = network(torch.from_numpy(pixels))
    assert np.abs(np.array(answer["scores"]) - scores.numpy()).max() <= onnx_files.TOLERANCE
    assert answer["highest"] == scores.argmax(dim=1).tolist()


def test_the_handler_for_torchserve_answers_as_the_graph(
    digits: tuple[torch.nn.Module, Examples], tmp_path: Path
) -> None:
    network, held_out = digits
    task = TASKS[TaskName.DIGITS]
    graph = onnx_files.exported(network, task, held_out)
    content = archived(graph, name="digits", inputs=task.inputs)
    assert content == archived(graph, name="digits", inputs=task.inputs)
    zipfile.ZipFile(io.BytesIO(content)).extractall(tmp_path)
    manifest = json.loads((tmp_path / "MAR-INF" / "MANIFEST.json").read_text())
    assert {manifest["model"][each] for each in ("serializedFile", "handler")} == {"model.onnx", "entry.py"}
    served = entry.Entry()
    served.initialize(SimpleNamespace(system_properties={"model_dir": str(tmp_path)}))
    pixels = held_out.first(3)["pixels"]
    body = {"pixels": pixels.tolist()}
    first, second = served.handle([{"body": body}, {"data": json.dumps(body).encode()}], None)
    with torch.no_grad():
        scores = network(torch.from_numpy(pixels)).numpy()
    assert first == second
    assert np.abs(np.array(first) - scores).max() <= onnx_files.TOLERANCE


def test_the_same_content_makes_the_same_package(digits: tuple[torch.nn.Module, Examples]) -> None:
    _, held_out = digits
    first, second = (
        packed(b"graph", task=TaskName.DIGITS, example=held_out, report=REPORT, key=KEY) for _ in range(2)
    )
    assert first == second


def test_a_changed_model_is_refused(package: Path) -> None:
    (package / "model.onnx").write_bytes(b"another")
    with pytest.raises(runner.Refused, match=r"model\.onnx has sha256"):
        runner.checked(package, package.parent / "key.pem")


def test_a_changed_manifest_is_refused(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    (package / "manifest.json").write_text(json.dumps(manifest | {"measured": {"accuracy": 1.0}}))
    with pytest.raises(runner.Refused, match="was not signed with this key"):
        runner.checked(package, package.parent / "key.pem")


def test_a_package_of_another_signer_is_refused(package: Path) -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    (package.parent / "key.pem").write_bytes(
        other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(runner.Refused, match="was not signed with this key"):
        runner.checked(package, package.parent / "key.pem")


def test_inputs_of_another_shape_are_refused(package: Path) -> None:
    with pytest.raises(ValueError, match=r"one of pixels has shape \[1, 8, 8\], not \[8, 8\]"):
        runner.run(package, None, {"pixels": [[[0.0] * 8] * 8]})
    with pytest.raises(ValueError, match="the model needs pixels"):
        runner.run(package, None, {})


def test_a_private_key_is_read_from_its_file() -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert signing_key(pem).sign(b"x") == KEY.sign(b"x")
