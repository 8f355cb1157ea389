"""Settings: which model answers which examples."""

from dataclasses import dataclass, field
from typing import Any

from .. import storage


def _said(default: Any, text: str) -> Any:  # noqa: ANN401 - whatever the field's type is
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = _said("", "URI of an ONNX file, or of the folder that has it as model.onnx")
    data: str = _said("", "URI of prepared examples")
    split: str = "test"
    output: str = _said("", "URI of the folder for answers; CROSSDOCK_OUTPUTS_URI where it is empty")
    workers: int = _said(2, "shards at once, each with one CPU, where no seats were booked")

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")

    @property
    def model_file(self) -> str:
        return self.model if self.model.endswith(".onnx") else storage.below(self.model, "model.onnx")
