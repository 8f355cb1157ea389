"""Tensor parallel: every rank has a part of each layer, and works on the whole batch.

Y = f(X A) B with A divided by columns and B by rows: each rank works through its columns alone, and one sum
over the ranks makes Y whole (Shoeybi et al. 2019, Megatron-LM). Attention is divided by heads. Embeddings,
norms and scores are small, and the same on every rank.
"""

from typing import Final

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from ..models.language import LanguageSize, Transformer
from .ranks import Ranks
from .settings import Settings
from .together import Division

BY_COLUMNS: Final = ("attention.query", "attention.key", "attention.value", "up")
BY_ROWS: Final = ("attention.out", "down")


def divide(network: nn.Module, *, settings: Settings, ranks: Ranks) -> Division:
    """Raises ValueError unless the ranks can have equally many heads."""
    if not isinstance(network, Transformer):
        raise TypeError(
            f"tensor parallelism knows the layers of a transformer, not of {type(network).__name__}"
        )
    heads = LanguageSize(**settings.size).heads
    if heads % ranks.count:
        raise ValueError(f"{heads} heads cannot be divided among {ranks.count} ranks")
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    for block in network.blocks.values():
        columns = {name: ColwiseParallel() for name in BY_COLUMNS}
        parallelize_module(block, mesh, columns | {name: RowwiseParallel() for name in BY_ROWS})
    return Division(
        network=network,
        parallel=network,
        divides_parameters=True,
        shares_batch=False,
        precision=settings.precision,
    )
