"""Packs a published model for a device without a network, or for another server."""

import json
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from .. import flags, storage
from ..models import files
from ..models.tasks import TASKS, TaskName
from .archive import archived
from .package import packed, signing_key

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Form(StrEnum):
    """What is packed."""

    EDGE = "edge"
    """Model, runner and signed manifest, for a device without a network."""

    TORCHSERVE = "torchserve"
    """A model archive for TorchServe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = flags.said("", "URI of what compression published: model.onnx, model.pt and report.json")
    form: Form = Form.EDGE
    name: str = flags.said("", "what TorchServe calls the model; its task where it is empty")
    signing_key: str = flags.said("", "PEM file with an Ed25519 private key (edge)")
    output: str = flags.said(
        "", "URI of the file; edge.zip or NAME.mar below CROSSDOCK_OUTPUTS_URI where it is empty"
    )

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model must be given")
        if self.form is Form.EDGE and not self.signing_key:
            raise ValueError("signing_key must be given: a device runs only what is signed")
        if self.name and not NAME.fullmatch(self.name):
            raise ValueError(f"name must match {NAME.pattern}, not {self.name!r}")


def main() -> None:
    settings = flags.parse(Settings, None, prog="python -m learning.export", description="Pack a model.")
    model = files.read(storage.below(settings.model, "model.pt"))
    onnx = storage.read(storage.below(settings.model, "model.onnx"))
    name = settings.name or str(model.task)
    if settings.form is Form.TORCHSERVE:
        file, package = f"{name}.mar", archived(onnx, name=name, inputs=TASKS[model.task].inputs)
    else:
        file, package = "edge.zip", _signed(settings, model.task, onnx)
    output = settings.output or storage.below(os.environ.get("CROSSDOCK_OUTPUTS_URI") or ".", file)
    storage.write(output, package)
    print(f"{output}: {len(package)} bytes")


def _signed(settings: Settings, task: TaskName, onnx: bytes) -> bytes:
    example, _ = TASKS[task].load(0)
    return packed(
        onnx,
        task=task,
        example=example.first(1),
        report=json.loads(storage.read(storage.below(settings.model, "report.json"))),
        key=signing_key(Path(settings.signing_key).read_bytes()),
    )


if __name__ == "__main__":
    main()
