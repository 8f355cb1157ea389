"""Settings: which model to compress, how, and how good it has to stay."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from .. import flags, storage
from ..models.tasks import TaskName


class Method(StrEnum):
    NONE = "none"
    """Exports the model as it is, to compare with."""

    SCALE = "scale"
    """W_new = alpha W."""

    EQUALIZE = "equalize"
    """Scales neighbouring dense layers against each other, so that one scale fits each. Digits only."""

    CLIP = "clip"
    """Clip(W, eps)."""

    THRESHOLD = "threshold"
    """x where |x| >= eps, else 0."""

    MAGNITUDE = "magnitude"
    """The `sparsity` smallest of each layer become 0: at once, or by the plan while `epochs` go by."""

    CHANNELS = "channels"
    """The `sparsity` weakest channels and hidden units go. Digits only."""

    FIXED_POINT = "fixed_point"
    """round(W 2^bits) 2^-bits."""

    INTEGER = "integer"
    """Integers of `bits` bits with a scale for each channel."""

    INT8_DYNAMIC = "int8_dynamic"
    INT8_STATIC = "int8_static"
    AWARE = "aware"
    """Trains `epochs` with weights rounded to `bits` bits. At 8 bits the result then becomes int8. Digits only."""

    DISTIL = "distil"
    """A network of `student` size learns from this one. Digits only."""


DIGITS_ONLY: Final = frozenset({Method.EQUALIZE, Method.CHANNELS, Method.AWARE, Method.DISTIL})
FEWEST_BITS: Final = 2
MOST_BITS: Final = 16
INT8_BITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = flags.said("", "URI of the model file, or of the folder that has it as model.pt")
    output: str = flags.said("", "URI of the folder for the result; CROSSDOCK_OUTPUTS_URI where it is empty")
    data: str = flags.said("", "URI of prepared examples; without it the task's own are used")
    method: Method = Method.INT8_STATIC
    floor: float = flags.said(0.0, "accuracy below which nothing is published", least=0, most=1)
    alpha: float = flags.said(0.9, "factor (scale); share of the teacher in the loss (distil)", least=0)
    eps: float = flags.said(0.05, "limit (clip, threshold)", least=0)
    sparsity: float = flags.said(0.5, "share that goes (magnitude, channels)", least=0, below=1)
    bits: int = flags.said(
        8,
        "after the point (fixed_point), or of an integer (integer, aware)",
        least=FEWEST_BITS,
        most=MOST_BITS,
    )
    temperature: float = flags.said(4.0, "of both answers (distil)", above=0)
    student: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "fields of the student's size that differ, as JSON"}
    )
    epochs: int = flags.said(0, "of training after or while compressing", least=0)
    learning_rate: float = flags.said(0.002, above=0)
    seed: int = flags.said(0, least=0)

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model must name what to compress")
        flags.require_ranges(self)
        if self.method is Method.DISTIL and self.alpha > 1:
            raise ValueError(f"alpha of {self.method} must be at most 1, not {self.alpha:g}")
        if self.method in {Method.AWARE, Method.DISTIL} and self.epochs < 1:
            raise ValueError(f"{self.method} needs at least 1 of epochs, not {self.epochs}")

    @property
    def model_file(self) -> str:
        return self.model if self.model.endswith(".pt") else storage.below(self.model, "model.pt")

    @property
    def becomes_calibrated_int8(self) -> bool:
        return self.method is Method.INT8_STATIC or (self.method is Method.AWARE and self.bits == INT8_BITS)

    def refuse_task(self, task: TaskName) -> None:
        """Raises ValueError where the method does not know the network of the task."""
        if self.method in DIGITS_ONLY and task is not TaskName.DIGITS:
            raise ValueError(f"{self.method} knows the network of digits, not of {task}")
