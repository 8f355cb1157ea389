"""Settings: how to train, as the command line says it."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Optimizer(StrEnum):
    SGD = "sgd"
    """Stochastic gradient descent; `momentum` 0 makes it plain."""

    ADAM = "adam"


class Schedule(StrEnum):
    """What the learning rate does after its warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    epochs: int = 8
    batch_images: int = 64
    """Images per optimiser step, over all ranks."""

    micro_batches: int = 2
    """Parts in which each rank accumulates the gradient of one step."""

    optimizer: Optimizer = Optimizer.ADAM
    learning_rate: float = 0.004
    momentum: float = 0.9
    """For SGD only; Adam keeps its usual moments."""

    schedule: Schedule = Schedule.COSINE
    warmup_steps: int = 10
    seed: int = 0


def parse(arguments: Sequence[str] | None) -> tuple[Settings, int]:
    """The settings, and the number of ranks to train with where no seats were booked."""
    parser = ArgumentParser(
        prog="python -m digits", description="Train a small network on handwritten digits."
    )
    defaults = Settings()
    parser.add_argument("--epochs", type=_positive, default=defaults.epochs)
    parser.add_argument(
        "--batch-images",
        type=_positive,
        default=defaults.batch_images,
        help="images per optimiser step, over all ranks (default: %(default)s)",
    )
    parser.add_argument(
        "--micro-batches",
        type=_positive,
        default=defaults.micro_batches,
        help="parts in which each rank accumulates a step's gradient (default: %(default)s)",
    )
    parser.add_argument("--optimizer", type=Optimizer, choices=tuple(Optimizer), default=defaults.optimizer)
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=defaults.learning_rate,
        help="the highest rate, reached after the warm-up (default: %(default)s)",
    )
    parser.add_argument(
        "--momentum", type=float, default=defaults.momentum, help="of SGD (default: %(default)s)"
    )
    parser.add_argument(
        "--schedule",
        type=Schedule,
        choices=tuple(Schedule),
        default=defaults.schedule,
        help="what the learning rate does after the warm-up (default: %(default)s)",
    )
    parser.add_argument("--warmup-steps", type=int, default=defaults.warmup_steps)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument(
        "--workers",
        type=_positive,
        default=2,
        help="ranks, each with one CPU, where no seats were booked (default: %(default)s)",
    )
    values = vars(parser.parse_args(arguments))
    workers: int = values.pop("workers")
    return Settings(**values), workers


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)
