"""Servers that take up a checkpoint go on as those did that wrote it, synchronous or not."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from controlplane.recipes.learning.models.tasks import TASKS, TaskName
from controlplane.recipes.learning.training.checkpoints import Checkpoint, Keeper
from controlplane.recipes.learning.training.learner import accumulate
from controlplane.recipes.learning.training.parameter_server.actors import Server
from controlplane.recipes.learning.training.parameter_server.clock import Clock
from controlplane.recipes.learning.training.parameter_server.shard import Named, Push, Shard, assigned
from controlplane.recipes.learning.training.settings import OptimizerName, Settings

TASK = TASKS[TaskName.DIGITS]
SIZE = {"first": 2, "second": 2, "hidden": 4}
RANKS, STEPS, MEETING = 2, 6, 2
BATCH = 8


def settings(optimizer: OptimizerName, staleness: int) -> Settings:
    return Settings(size=SIZE, optimizer=optimizer, staleness=staleness, servers=2, learning_rate=0.02)


def servers(chosen: Settings, *, seed: int = 0, step: int = 0) -> list[Server]:
    torch.manual_seed(seed)
    weights = {name: value.detach() for name, value in TASK.network(SIZE).named_parameters()}
    names = assigned({name: value.numel() for name, value in weights.items()}, chosen.servers)
    return [
        Server(
            Shard({name: weights[name] for name in held}, settings=chosen, ranks=RANKS, steps=STEPS),
            Clock(ranks=RANKS, staleness=chosen.staleness, step=step),
        )
        for held in names
    ]


def take_step(among: Sequence[Server], rank: int, step: int) -> None:
    """As a rank does, with a share of its own."""
    network = TASK.network(SIZE)
    network.load_state_dict(pulled(among, rank))
    torch.manual_seed(100 * step + rank)
    pixels, labels = torch.rand((BATCH, 1, 8, 8)), torch.randint(10, (BATCH,))
    accumulate(network, TASK, (pixels,), labels, parts=1, weight=1 / (RANKS * BATCH))
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    for server in among:
        server.push(rank, Push(gradients=gradients, loss=0.0))


def pulled(among: Sequence[Server], rank: int) -> Named:
    weights: Named = {}
    for server in among:
        held = server.pull(rank, {})
        assert held is not None
        weights |= held
    return weights


def advance(among: Sequence[Server], begin: int, until: int, *, together: bool) -> None:
    """All meet at `until`, where they get step by step, or one rank after the other."""
    turns = [(step, rank) for step in range(begin, until) for rank in range(RANKS)]
    for step, rank in turns if together else sorted(turns, key=lambda turn: turn[1]):
        take_step(among, rank, step)


def advance_from(among: Sequence[Server], step: int, *, together: bool) -> None:
    for begin in range(step, STEPS, MEETING):
        advance(among, begin, begin + MEETING, together=together)


def weights_of(among: Sequence[Server]) -> Named:
    return {name: value for server in among for name, value in server.state()["parameters"].items()}


@pytest.mark.parametrize("staleness", [0, MEETING])
@pytest.mark.parametrize("optimizer", [OptimizerName.ADAM, OptimizerName.MOMENTUM])
def test_servers_that_take_up_a_checkpoint_end_in_the_same_weights(
    optimizer: OptimizerName, staleness: int, tmp_path: Path
) -> None:
    chosen, together = settings(optimizer, staleness), staleness == 0
    straight = servers(chosen)
    advance_from(straight, 0, together=together)

    stopped = servers(chosen)
    advance(stopped, 0, MEETING, together=together)
    keeper = Keeper(folder=f"file://{tmp_path}/first", must_match=chosen.lasting() | {"ranks": RANKS})
    told = keeper.write(
        Checkpoint(
            step=MEETING,
            epoch_loss=0.0,
            patience={},
            strategy={"shards": [server.state() for server in stopped]},
        )
    )

    found = keeper.read(told["uri"], torch.device("cpu"))
    resumed = servers(chosen, seed=9, step=found.step)
    for server, state in zip(resumed, found.strategy["shards"], strict=True):
        server._shard.load(state)
    advance_from(resumed, found.step, together=together)

    expected = weights_of(straight)
    assert not torch.equal(expected["0.weight"], weights_of(stopped)["0.weight"])
    for name, value in weights_of(resumed).items():
        assert torch.equal(value, expected[name]), name
