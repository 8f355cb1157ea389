"""Settings: which models are held beside each other, and on which examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import flags
from ..models.tasks import TaskName


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    models: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "URIs of model files (.pt or .onnx) by name, as JSON; the last one's figures are reported"
        },
    )
    task: TaskName = TaskName.DIGITS
    output: str = flags.said("", "URI of the folder for the result; CROSSDOCK_OUTPUTS_URI where it is empty")
    data: str = flags.said("", "URI of prepared examples; without it the task's own are used")
    seed: int = flags.said(0, least=0)

    def __post_init__(self) -> None:
        flags.require_ranges(self)
        if not self.models:
            raise ValueError("models must name at least one")
        if strange := [uri for uri in self.models.values() if not str(uri).endswith((".pt", ".onnx"))]:
            raise ValueError(f"{strange[0]} is neither a .pt nor an .onnx file")
