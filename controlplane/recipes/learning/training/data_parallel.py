"""Data parallel: every rank has the whole model and a share of each batch; gradients are averaged.

g = 1/N sum g_i over N ranks, exchanged while the backward pass still works on earlier layers (Li et al.
2020, PyTorch Distributed). With micro-batches a rank adds up its gradient first, and the ranks exchange once.
"""

from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .ranks import Ranks
from .settings import Settings
from .together import Division


def divide(network: nn.Module, *, settings: Settings, ranks: Ranks) -> Division:
    if ranks.count == 1:
        return Division(
            network=network,
            parallel=network,
            divides_parameters=False,
            shares_batch=True,
            precision=settings.precision,
        )
    parallel = DistributedDataParallel(network)

    def exchange(last: bool) -> AbstractContextManager[None]:  # noqa: FBT001 - as `accumulate` calls it
        return nullcontext() if last else parallel.no_sync()

    return Division(
        network=network,
        parallel=parallel,
        divides_parameters=False,
        shares_batch=True,
        precision=settings.precision,
        exchange=exchange,
    )
