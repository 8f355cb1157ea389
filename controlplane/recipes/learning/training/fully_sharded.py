"""Fully sharded: data parallel, but each rank keeps 1/N of parameters, gradients and optimiser state.

A layer's parameters are gathered when it is about to work and dropped afterwards; gradients are reduced to
the rank that owns them (ZeRO stage 3: Rajbhandari et al. 2020; FSDP: Zhao et al. 2023).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from ..models.language import Transformer
from .ranks import Ranks
from .settings import Precision, Settings
from .together import Division


def divide(network: nn.Module, *, settings: Settings, ranks: Ranks) -> Division:
    """Layer by layer, so that only one is whole at a time."""
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    half = settings.precision is Precision.BFLOAT16
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32)
    layers = network.blocks.values() if isinstance(network, Transformer) else network.children()
    for layer in layers:
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    # Also what is left outside the layers: after judging, which has no backward pass, it would stay whole.
    sharded = fully_shard(network, mesh=mesh, mp_policy=policy, reshard_after_forward=True)

    @contextmanager
    def exchange(last: bool) -> Iterator[None]:  # noqa: FBT001 - as `accumulate` calls it
        sharded.set_requires_gradient_sync(last)
        yield

    return Division(
        network=network,
        parallel=network,
        divides_parameters=True,
        shares_batch=True,
        precision=Precision.FLOAT32,  # the shards themselves take care of less
        exchange=exchange,
    )
