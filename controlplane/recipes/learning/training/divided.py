"""Divided state: of networks whose parameters lie in parts on all ranks, told whole on the first.

Imported where it is needed: it brings seconds of imports.
"""

from collections.abc import Mapping
from typing import Any, Final

from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

WHOLE: Final = StateDictOptions(full_state_dict=True, cpu_offload=True)


def weights(module: nn.Module) -> dict[str, Any]:
    return get_model_state_dict(module, options=WHOLE)


def state(module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    moments = get_optimizer_state_dict(module, optimizer, options=WHOLE)
    return {"model": weights(module), "optimizer": moments}


def load(module: nn.Module, optimizer: Optimizer, said: Mapping[str, Any]) -> None:
    """Every rank is given the whole, and takes its part."""
    set_model_state_dict(module, dict(said["model"]), options=WHOLE)
    set_optimizer_state_dict(module, optimizer, dict(said["optimizer"]), options=WHOLE)
