"""Settings: how to train, as the command line says it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .. import flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    epochs: int = flags.said(8, least=1)
    batch_examples: int = flags.said(64, "examples per optimiser step, over all ranks", least=1)
    learning_rate: float = flags.said(0.05, above=0)
    momentum: float = flags.said(0.9, "beta in v = beta v + grad, theta = theta - lr v", least=0, below=1)
    checkpoint_steps: int = flags.said(
        0, "also save every so many steps; 0 saves at the end of each epoch only", least=0
    )
    seed: int = flags.said(0, least=0)

    def __post_init__(self) -> None:
        flags.require_ranges(self)

    def lasting(self) -> dict[str, Any]:
        """What a checkpoint must agree on."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_steps"}


def parse(arguments: Sequence[str] | None) -> Settings:
    return flags.parse(
        Settings,
        arguments,
        prog="python -m learning.mirrored",
        description="Train the digits with TensorFlow.",
    )
