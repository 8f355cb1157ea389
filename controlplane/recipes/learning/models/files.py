"""Model files: weights, and what it takes to build the network that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import tensors
from .tasks import TASKS, TaskName


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    task: TaskName
    size: Mapping[str, Any]
    network: nn.Module


def packed(model: Model) -> bytes:
    return packed_weights(model.task, model.size, model.network.state_dict())


def packed_weights(task: TaskName, size: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bytes:
    """The same bytes for the same weights."""
    on_cpu = {name: value.detach().cpu() for name, value in weights.items()}
    return tensors.saved({"task": str(task), "size": dict(size), "weights": on_cpu})


def read(uri: str) -> Model:
    """On the CPU, ready to answer."""
    said = tensors.load(uri, torch.device("cpu"))
    task, size = TaskName(said["task"]), said["size"]
    network = TASKS[task].network(size)
    network.load_state_dict(said["weights"])
    return Model(task=task, size=size, network=network.eval())
