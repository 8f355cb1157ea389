"""Teaching: a few epochs on one machine, to let a compressed network recover or a student learn."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from ..data.batches import batch_of_step, steps_per_epoch
from ..data.examples import Examples
from ..models.tasks import Task

BATCH_EXAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    task: Task
    examples: Examples
    epochs: int
    learning_rate: float
    seed: int

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.examples), BATCH_EXAMPLES) * self.epochs


def teach(
    network: nn.Module,
    lesson: Lesson,
    loss: Callable[[Tensor, tuple[Tensor, ...], Tensor], Tensor],
    after_step: Callable[[int], None] = lambda _: None,
) -> None:
    """`loss` of output, inputs and target, summed over a batch; `after_step` is told how many are done."""
    torch.manual_seed(lesson.seed)
    optimizer = Adam(network.parameters(), lr=lesson.learning_rate)
    network.train()
    for step in range(lesson.steps):
        indices = batch_of_step(
            step, examples=len(lesson.examples), batch_examples=BATCH_EXAMPLES, seed=lesson.seed
        )
        inputs, target = lesson.task.tensors(lesson.examples.take(indices), torch.device("cpu"))
        for group in optimizer.param_groups:
            group["lr"] = lesson.learning_rate * (1 - step / lesson.steps)
        optimizer.zero_grad()
        (loss(network(*inputs), inputs, target) / len(indices)).backward()
        optimizer.step()
        after_step(step + 1)
    network.eval()
