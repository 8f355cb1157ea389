"""Gang: ranks that are processes of their own, started by the platform with RANK and WORLD_SIZE."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import torch
from torch import distributed

from .. import storage
from ..surroundings import read_gang
from .examples import load
from .outlets import ProcessOutlet
from .rank import Assignment, Rank
from .ranks import Ranks
from .settings import Settings

MEETING_SECONDS: Final = 300.0


def train(settings: Settings, environment: Mapping[str, str] = os.environ) -> bool:
    """Trains as one rank. Whether training came to its end."""
    here = read_gang(environment)
    # Before the ranks meet: a signal that comes meanwhile is heard.
    outlet = ProcessOutlet(here.records, place=f"process {os.getpid()}")
    training, held_out = load(settings)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    _meet(here.ranks, device)
    try:
        assignment = Assignment(
            settings=settings,
            training=training,
            held_out=held_out,
            checkpoints=storage.below(here.checkpoint_uri, here.attempt),
            outputs_uri=here.outputs_uri,
            resume_from=here.resume_from,
        )
        ranks = Ranks(number=here.rank, count=here.ranks, device=device)
        return Rank(assignment, ranks, outlet).train()
    finally:
        distributed.destroy_process_group()


def _meet(ranks: int, device: torch.device) -> None:
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=MEETING_SECONDS)
    if ranks == 1:
        alone = distributed.HashStore()  # type: ignore[attr-defined] # it is exported, but untold
        distributed.init_process_group(backend, store=alone, rank=0, world_size=1, timeout=timeout)
    else:
        distributed.init_process_group(backend, timeout=timeout)  # as MASTER_ADDR and its kind say
