"""Settings: which model answers which examples."""

from dataclasses import dataclass

from .. import flags, storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = flags.said("", "URI of an ONNX file, or of the folder that has it as model.onnx")
    data: str = flags.said("", "URI of prepared examples")
    split: str = "test"
    output: str = flags.said("", "URI of the folder for answers; CROSSDOCK_OUTPUTS_URI where it is empty")
    workers: int = flags.said(2, "shards at once, each with one CPU, where no seats were booked", least=1)

    def __post_init__(self) -> None:
        for name in ("model", "data"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        flags.require_ranges(self)

    @property
    def model_file(self) -> str:
        return self.model if self.model.endswith(".onnx") else storage.below(self.model, "model.onnx")
