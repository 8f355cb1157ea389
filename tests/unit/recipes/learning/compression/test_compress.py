"""A compressed model is measured beside the original, and published only if it is good enough."""

import json
from pathlib import Path

import pytest
import torch

from controlplane.recipes.learning import storage
from controlplane.recipes.learning.compression import __main__ as program
from controlplane.recipes.learning.compression import methods, weights
from controlplane.recipes.learning.compression.pruning import zeros
from controlplane.recipes.learning.compression.settings import Method, Settings
from controlplane.recipes.learning.compression.teaching import BATCH_EXAMPLES, Lesson, teach
from controlplane.recipes.learning.models import files
from controlplane.recipes.learning.models.files import Model
from controlplane.recipes.learning.models.tasks import TASKS, TaskName

SIZE = {"first": 6, "second": 8, "hidden": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Trained for about a second."""
    torch.set_num_threads(1)
    task = TASKS[TaskName.DIGITS]
    training, _ = task.load(0)
    torch.manual_seed(0)
    network = task.network(SIZE)
    lesson = Lesson(task=task, examples=training, epochs=5, learning_rate=0.01, seed=0)
    teach(network, lesson, lambda output, _, target: task.loss(output, target))
    folder = tmp_path_factory.mktemp("model")
    storage.write(f"{folder}/model.pt", files.packed(Model(task=TaskName.DIGITS, size=SIZE, network=network)))
    return str(folder)


def compressed(output: Path, settings: Settings) -> program.Report:
    return program.compress(settings, str(output))


def test_static_int8_takes_a_third_of_the_bytes_and_hardly_any_accuracy(model: str, tmp_path: Path) -> None:
    report = compressed(tmp_path, Settings(model=model, method=Method.INT8_STATIC, floor=0.8))
    assert report.before.accuracy > 0.85
    assert abs(report.after.accuracy - report.before.accuracy) < 0.03
    assert report.after.latency_microseconds > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pt", "report.json"]


def test_half_of_the_weights_are_zero_and_pack_better(model: str, tmp_path: Path) -> None:
    report = compressed(tmp_path, Settings(model=model, method=Method.MAGNITUDE, sparsity=0.5))
    assert report.zeros == pytest.approx(0.5, abs=0.01)
    assert report.after.packed_bytes < 0.8 * report.before.packed_bytes


def test_a_lesson_of_one_step_prunes_all_that_was_asked_for(model: str) -> None:
    examples = TASKS[TaskName.DIGITS].load(0)[0].first(BATCH_EXAMPLES)
    settings = Settings(model=model, method=Method.MAGNITUDE, sparsity=0.5, epochs=1)
    pruned = methods.compressed(files.read(settings.model_file), settings, examples)
    found = zeros([values for _, values in weights.layers(pruned.network)])
    assert found == pytest.approx(0.5, abs=0.01)


def test_fewer_channels_make_a_smaller_network_that_can_be_read_back(model: str, tmp_path: Path) -> None:
    report = compressed(tmp_path, Settings(model=model, method=Method.CHANNELS, sparsity=0.5))
    assert report.after.size_bytes < 0.6 * report.before.size_bytes
    assert files.read(f"{tmp_path}/model.pt").size == {"first": 3, "second": 4, "hidden": 8, "dropout": 0.2}


@pytest.mark.parametrize("method", [Method.INT8_DYNAMIC, Method.FIXED_POINT, Method.EQUALIZE])
def test_methods_that_hardly_hurt_keep_nine_tenths_of_the_accuracy(
    model: str, tmp_path: Path, method: Method
) -> None:
    report = compressed(tmp_path, Settings(model=model, method=method))
    assert report.after.accuracy > 0.9 * report.before.accuracy


def test_what_is_ruined_is_reported_and_not_published(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", model, "--output", str(tmp_path), "--method", "clip", "--eps", "0.001"]
    assert program.main([*arguments, "--floor", "0.8"]) == 1
    assert "is below the floor of 0.8000: nothing is published" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    said = json.loads((tmp_path / "report.json").read_text())
    assert (said["published"], said["floor"]) == (False, 0.8)
    assert said["after"]["accuracy"] < 0.8


def test_a_method_of_the_digits_network_is_refused_for_another(tmp_path: Path) -> None:
    network = TASKS[TaskName.TEXT].network({})
    content = files.packed(Model(task=TaskName.TEXT, size={}, network=network))
    storage.write(f"{tmp_path}/model.pt", content)
    with pytest.raises(ValueError, match="channels knows the network of digits, not of text"):
        compressed(tmp_path / "out", Settings(model=str(tmp_path), method=Method.CHANNELS))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--method scale", "model must name what to compress"),
        ("--model m --sparsity 1", "sparsity must be at least 0 and below 1, not 1"),
        ("--model m --bits 1", "bits must be at least 2 and at most 16, not 1"),
        ("--model m --floor 95", "floor must be at least 0 and at most 1, not 95"),
        ("--model m --floor nan", "floor must be at least 0 and at most 1, not nan"),
        ("--model m --alpha -1", "alpha must be at least 0, not -1"),
        ("--model m --method distil --epochs 1 --alpha 2", "alpha of distil must be at most 1, not 2"),
        ("--model m --eps -0.1", "eps must be at least 0, not -0.1"),
        ("--model m --temperature 0", "temperature must be above 0, not 0"),
        ("--model m --method magnitude --epochs -1", "epochs must be at least 0, not -1"),
        ("--model m --learning-rate 0", "learning_rate must be above 0, not 0"),
        ("--model m --seed -1", "seed must be at least 0, not -1"),
        ("--model m --method distil", "distil needs at least 1 of epochs, not 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    arguments: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program.main(arguments.split())
    assert told in capsys.readouterr().err
