"""Settings: how to train, as the command line says it."""

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from .. import flags
from ..data import images
from ..models.tasks import TaskName
from .schedules import Schedule

MOST_SEED: Final = 2**24 - 1
"""The generator's seed of a step has 64 bits, the upper 24 of which are the training's."""

STOPPED: Final = 128 + signal.SIGTERM
"""How a training ends that was stopped before its end, and saved."""


class OptimizerName(StrEnum):
    SGD = "sgd"
    """theta = theta - lr grad."""

    MOMENTUM = "momentum"
    """v = beta v + (1 - beta) grad, theta = theta - lr v."""

    HEAVY_BALL = "heavy_ball"
    """v = beta v + grad, theta = theta - lr v."""

    ADAM = "adam"


class StrategyName(StrEnum):
    """How the ranks divide a step."""

    DATA_PARALLEL = "data_parallel"
    """Each has the model and a share of the batch; gradients are averaged in each step."""

    AVERAGING = "averaging"
    """Each learns alone from its shares; parameters are averaged every few steps."""

    FULLY_SHARDED = "fully_sharded"
    """As data parallel, but each keeps only a part of parameters, gradients and optimiser state."""

    TENSOR_PARALLEL = "tensor_parallel"
    """Each has a part of every layer, and the whole batch. Transformer only."""

    PIPELINE = "pipeline"
    """Each has some layers; parts of the batch flow through them. Transformer only."""

    PARAMETER_SERVER = "parameter_server"
    """Parameters live in actors of their own; ranks pull them and push gradients."""


class Launch(StrEnum):
    """What the platform starts, in the words of its jobs."""

    DRIVER = "driver"
    """One process, which starts the ranks on the booked seats with Ray Train."""

    TASKS = "tasks"
    """Every rank, as a process of its own."""


class Precision(StrEnum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    """Forward and backward in bfloat16 where that is safe; weights, sums and steps in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    task: TaskName = TaskName.DIGITS
    size: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "fields of the model's size that differ, as JSON"}
    )
    data: str = flags.said("", "URI of prepared examples; without it the task's own are used")
    strategy: StrategyName = StrategyName.DATA_PARALLEL
    epochs: int = flags.said(8, least=1)
    batch_examples: int = flags.said(64, "examples per optimiser step, over all ranks", least=1)
    micro_batches: int = flags.said(2, "parts in which each rank works through its share of a step", least=1)
    precision: Precision = Precision.FLOAT32
    optimizer: OptimizerName = OptimizerName.ADAM
    learning_rate: float = flags.said(0.004, "the highest rate, reached after the warm-up", above=0)
    momentum: float = flags.said(0.9, "beta of momentum and heavy_ball", least=0, below=1)
    schedule: Schedule = Schedule.COSINE
    warmup_steps: int = flags.said(10, least=0)
    patience_epochs: int = flags.said(
        0, "stop after so many epochs without a better held-out loss; 0 never does", least=0
    )
    checkpoint_steps: int = flags.said(
        0, "also save every so many steps; 0 saves at the end of each epoch only", least=0
    )
    average_steps: int = flags.said(8, "steps between two averages of parameters (averaging)", least=1)
    staleness: int = flags.said(
        0, "steps by which a rank may lead the slowest; 0 is synchronous (parameter_server)", least=0
    )
    servers: int = flags.said(1, "actors among which parameters are divided (parameter_server)", least=1)
    shift_pixels: int = flags.said(
        0, "move images by up to so many pixels (digits)", least=0, below=images.SIDE
    )
    noise: float = flags.said(0.0, "standard deviation of noise on pixels (digits)", least=0)
    seed: int = flags.said(0, least=0, most=MOST_SEED)
    launch: Launch = Launch.DRIVER
    workers: int = flags.said(2, "ranks, each with one CPU, where no seats were booked", least=1)
    least_workers: int = flags.said(
        0, "train elastically, with so many ranks at least; 0 keeps the number fixed", least=0
    )

    def __post_init__(self) -> None:
        flags.require_ranges(self)
        is_language = self.strategy in {StrategyName.TENSOR_PARALLEL, StrategyName.PIPELINE}
        if is_language and self.task is not TaskName.TEXT:
            raise ValueError(f"{self.strategy} divides the transformer of the task text, not {self.task}")
        if (self.shift_pixels or self.noise) and self.task is not TaskName.DIGITS:
            raise ValueError(f"shift_pixels and noise are of images, which the task {self.task} has not")
        if self.least_workers and self.strategy not in ELASTIC:
            raise ValueError(f"{self.strategy} has a fixed number of ranks; leave least_workers at 0")
        if self.strategy is StrategyName.PARAMETER_SERVER and self.launch is Launch.TASKS:
            raise ValueError("a parameter server is Ray actors; start it with launch driver")
        if self.strategy is StrategyName.PIPELINE and self.batch_examples % self.micro_batches:
            raise ValueError(
                f"{self.micro_batches} micro-batches must divide a batch of {self.batch_examples} examples"
            )

    def lasting(self) -> dict[str, Any]:
        """What a checkpoint must agree on, as plain values that are read back without running code."""
        kept = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in PASSING}
        plain: dict[str, Any] = json.loads(json.dumps(kept))
        return plain


ELASTIC: Final = frozenset({StrategyName.DATA_PARALLEL, StrategyName.FULLY_SHARDED})
"""Their checkpoints and steps do not depend on the number of ranks."""

PASSING: Final = frozenset({"launch", "workers", "least_workers", "checkpoint_steps", "data"})
"""May differ between attempts without changing what is learned; the data's content is compared for itself."""


def parse(arguments: Sequence[str] | None) -> Settings:
    return flags.parse(Settings, arguments, prog="python -m learning.training", description="Train a model.")
