"""Compresses a model, writes what it cost, and publishes the result if it is good enough."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .. import flags, storage
from ..data import shards
from ..data.examples import Examples, joined
from ..export.onnx_files import exported
from ..models import files
from ..models.files import Model
from ..models.tasks import TASKS
from . import weights
from .measuring import BelowFloor, Measured, measure, require_floor
from .methods import compressed
from .onnx_integers import int8_dynamic, int8_static
from .pruning import zeros
from .settings import Method, Settings

CALIBRATION_EXAMPLES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    method: str
    settings: dict[str, Any]
    before: Measured
    after: Measured
    zeros: float
    """The share of weights that are zero afterwards; of the network, not of an int8 graph."""

    floor: float
    published: bool


def main(arguments: Sequence[str] | None = None) -> int:
    settings = flags.parse(
        Settings, arguments, prog="python -m learning.compression", description="Compress a model."
    )
    torch.set_num_threads(1)
    output = settings.output or os.environ.get("CROSSDOCK_OUTPUTS_URI") or "compressed"
    report = compress(settings, output)
    print(told(report))
    try:
        require_floor(report.after.accuracy, settings.floor)
    except BelowFloor as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


def compress(settings: Settings, output: str) -> Report:
    """Writes `model.onnx` and, where a network is left, `model.pt`; below the floor the report alone."""
    model = files.read(settings.model_file)
    task = TASKS[model.task]
    training, held_out = _examples(settings, model)
    result = compressed(model, settings, training)
    graph = _graph(result, settings, training)
    before = measure(exported(model.network, task, held_out), task, held_out)
    after = measure(graph, task, held_out)
    report = Report(
        method=settings.method,
        settings=asdict(settings),
        before=before,
        after=after,
        zeros=zeros([values for _, values in weights.layers(result.network)]),
        floor=settings.floor,
        published=after.accuracy >= settings.floor,
    )
    storage.write(storage.below(output, "report.json"), json.dumps(asdict(report), indent=2).encode())
    if report.published:
        storage.write(storage.below(output, "model.onnx"), graph)
        storage.write(storage.below(output, "model.pt"), files.packed(result))
    return report


def told(report: Report) -> str:
    before, after = report.before, report.after
    return (
        f"{report.method}: size {before.size_bytes} -> {after.size_bytes} bytes"
        f" (packed {before.packed_bytes} -> {after.packed_bytes}),"
        f" latency {before.latency_microseconds:g} -> {after.latency_microseconds:g} us,"
        f" accuracy {before.accuracy:.4f} -> {after.accuracy:.4f}, zeros {report.zeros:.3f}"
    )


def _examples(settings: Settings, model: Model) -> tuple[Examples, Examples]:
    if not settings.data:
        return TASKS[model.task].load(settings.seed)
    return joined(shards.read(settings.data, "train")), joined(shards.read(settings.data, "test"))


def _graph(model: Model, settings: Settings, training: Examples) -> bytes:
    task = TASKS[model.task]
    plain = exported(model.network, task, training)
    if settings.becomes_calibrated_int8:
        return int8_static(plain, training.first(CALIBRATION_EXAMPLES), task.inputs)
    return int8_dynamic(plain) if settings.method is Method.INT8_DYNAMIC else plain


if __name__ == "__main__":
    sys.exit(main())
