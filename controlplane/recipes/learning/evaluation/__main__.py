"""Measures models beside each other, and says so in a table, a picture, a report and a record."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from .. import flags, storage
from ..compression.measuring import Measured, measure
from ..data import shards
from ..data.examples import Examples, joined
from ..export.onnx_files import exported
from ..models import files
from ..models.tasks import TASKS
from .pictures import picture, table
from .settings import Settings

ROUNDS = 3
"""Latencies are taken so often in turn, and the least counts: what else the machine does comes and goes."""


def main(arguments: Sequence[str] | None = None) -> None:
    settings = flags.parse(
        Settings,
        arguments,
        prog="python -m learning.evaluation",
        description="Hold models beside each other.",
    )
    torch.set_num_threads(1)
    output = settings.output or os.environ.get("CROSSDOCK_OUTPUTS_URI") or "evaluated"
    measured = evaluate(settings)
    said = {name: asdict(each) for name, each in measured.items()}
    storage.write(storage.below(output, "report.json"), json.dumps(said, indent=2).encode())
    storage.write(storage.below(output, "table.md"), table(measured).encode())
    storage.write(storage.below(output, "picture.svg"), picture(measured).encode())
    print(table(measured))
    print(f"picture: {storage.below(output, 'picture.svg')}")
    _record(measured)


def evaluate(settings: Settings) -> Mapping[str, Measured]:
    examples, task = _examples(settings), TASKS[settings.task]
    graphs = {name: _graph(str(uri), settings, examples) for name, uri in settings.models.items()}
    rounds = [{name: measure(graph, task, examples) for name, graph in graphs.items()} for _ in range(ROUNDS)]
    return {
        name: min((each[name] for each in rounds), key=lambda found: found.latency_microseconds)
        for name in graphs
    }


def _graph(uri: str, settings: Settings, examples: Examples) -> bytes:
    if uri.endswith(".onnx"):
        return storage.read(uri)
    return exported(files.read(uri).network, TASKS[settings.task], examples)


def _examples(settings: Settings) -> Examples:
    if settings.data:
        return joined(shards.read(settings.data, "test"))
    return TASKS[settings.task].load(settings.seed)[1]


def _record(measured: Mapping[str, Measured]) -> None:
    """Of the last model, for whoever publishes it."""
    *_, last = measured.values()
    records = os.environ.get("CROSSDOCK_RECORDS")
    if records:
        record = {"kind": "metric", "step": 1, "values": asdict(last)}
        with Path(records).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
