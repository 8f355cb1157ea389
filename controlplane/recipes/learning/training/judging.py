"""Judging: what a network makes of examples that it does not learn from."""

import torch
from torch import nn

from ..data.examples import Examples
from ..models.tasks import Task


def judge(module: nn.Module, task: Task, examples: Examples, device: torch.device) -> tuple[float, float]:
    """Summed loss, and the number of right answers."""
    inputs, target = task.tensors(examples, device)
    module.eval()
    with torch.no_grad():
        output = module(*inputs).float()
    module.train()
    return float(task.loss(output, target)), float(task.right(output, target))
