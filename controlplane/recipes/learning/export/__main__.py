"""Packs a published model for a device without a network."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import flags, storage
from ..models import files
from ..models.tasks import TASKS
from .package import packed, signing_key


def _said(text: str) -> Any:  # noqa: ANN401 - as the field's type
    return field(default="", metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = _said("URI of what compression published: model.onnx, model.pt and report.json")
    signing_key: str = _said("PEM file with an Ed25519 private key")
    output: str = _said("URI of the zip; edge.zip below CROSSDOCK_OUTPUTS_URI where it is empty")

    def __post_init__(self) -> None:
        for name in ("model", "signing_key"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")


def main() -> None:
    settings = flags.parse(
        Settings, None, prog="python -m learning.export", description="Pack a model for a device."
    )
    output = settings.output or storage.below(os.environ.get("CROSSDOCK_OUTPUTS_URI") or ".", "edge.zip")
    model = files.read(storage.below(settings.model, "model.pt"))
    example, _ = TASKS[model.task].load(0)
    package = packed(
        storage.read(storage.below(settings.model, "model.onnx")),
        task=model.task,
        example=example.first(1),
        report=json.loads(storage.read(storage.below(settings.model, "report.json"))),
        key=signing_key(Path(settings.signing_key).read_bytes()),
    )
    storage.write(output, package)
    print(f"{output}: {len(package)} bytes")


if __name__ == "__main__":
    main()
