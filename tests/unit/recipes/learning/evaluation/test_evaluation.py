"""Evaluation: models beside each other, as a table, a picture and a record of the last one."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from controlplane.recipes.learning.compression.measuring import Measured
from controlplane.recipes.learning.evaluation.__main__ import main
from controlplane.recipes.learning.evaluation.pictures import WIDTH, picture, table
from controlplane.recipes.learning.evaluation.settings import Settings
from controlplane.recipes.learning.models import files
from controlplane.recipes.learning.models.files import Model
from controlplane.recipes.learning.models.tasks import TASKS, TaskName

BIG = Measured(size_bytes=2_000, packed_bytes=1_000, latency_microseconds=80.0, accuracy=1.0)
SMALL = Measured(size_bytes=500, packed_bytes=400, latency_microseconds=40.0, accuracy=0.5)
SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    drawn = ET.fromstring(picture({"big": BIG, "<small>": SMALL}))  # noqa: S314 - our own
    bars = [float(each.attrib["width"]) for each in drawn.iter(f"{SVG}rect")][1:]
    assert bars == [WIDTH, WIDTH / 4, WIDTH, WIDTH / 2, WIDTH, WIDTH / 2]
    texts = [each.text for each in drawn.iter(f"{SVG}text")]
    assert texts[:2] == ["big", "<small>"]
    assert {"2.0", "0.5", "80", "40", "1.0000", "0.5000"} <= set(texts)


def test_the_table_has_a_line_for_each_model() -> None:
    assert table({"big": BIG}).splitlines()[2] == "| big | 2,000 | 1,000 | 80 | 1.0000 |"


def test_what_is_no_model_is_refused() -> None:
    for models in ({}, {"a": "file:///a.txt"}):
        with pytest.raises(
            ValueError, match=r"models must name at least one|is neither a \.pt nor an \.onnx file"
        ):
            Settings(models=models)


def test_models_are_measured_and_the_last_one_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"first": 2, "second": 2, "hidden": 4, "dropout": 0.0}
    network = TASKS[TaskName.DIGITS].network(size).eval()
    (tmp_path / "model.pt").write_bytes(files.packed(Model(task=TaskName.DIGITS, size=size, network=network)))
    monkeypatch.setenv("CROSSDOCK_RECORDS", str(tmp_path / "records"))
    models = json.dumps({"only": f"file://{tmp_path}/model.pt"})
    main(["--models", models, "--output", f"file://{tmp_path}/out"])
    report = json.loads((tmp_path / "out/report.json").read_text())["only"]
    record = json.loads((tmp_path / "records").read_text())
    assert (record["kind"], record["values"]) == ("metric", report)
    assert report["size_bytes"] > 0
    assert (tmp_path / "out/table.md").read_text().count("\n") == 3
    assert (tmp_path / "out/picture.svg").read_text().startswith("<svg")
