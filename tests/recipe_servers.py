"""Asynchronous ranks and servers in one process: who comes next is drawn, as far as the bound lets them.

`python -m tests.recipe_servers RANKS [arguments of a training]` prints the held-out losses of five seeds.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import torch
from torch import nn

from controlplane.recipes.learning.data.batches import batch_of_step, share, steps_per_epoch
from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.models.tasks import TASKS
from controlplane.recipes.learning.training.judging import judge
from controlplane.recipes.learning.training.learner import accumulate
from controlplane.recipes.learning.training.parameter_server.actors import Server
from controlplane.recipes.learning.training.parameter_server.clock import Clock
from controlplane.recipes.learning.training.parameter_server.shard import Named, Push, Shard, assigned
from controlplane.recipes.learning.training.settings import Settings, parse
from tests.recipe_bands import SEEDS

CPU: Final = torch.device("cpu")

States = Sequence[dict[str, Any]]  # of servers, as a checkpoint holds them


@dataclass(slots=True, kw_only=True)
class Training:
    """Ranks that pull, learn and push in an order that `turns` draws. All of them meet at the end of each epoch."""

    settings: Settings
    ranks: int
    training: Examples
    held_out: Examples
    turns: Random
    step: int = 0
    _network: nn.Module = field(init=False)
    _servers: list[Server] = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.settings.seed)
        self._network = TASKS[self.settings.task].network(self.settings.size)
        weights = {name: value.detach() for name, value in self._network.named_parameters()}
        names = assigned({name: value.numel() for name, value in weights.items()}, self.settings.servers)
        self._servers = [
            Server(self._shard({name: weights[name] for name in held}), self._clock()) for held in names
        ]

    def train(self, *, stop_in_step: int | None = None) -> None:
        """To the end, or until all stand alike after a stop was asked for in that step."""
        while self.step < self._steps:
            end = self.step + self._per_epoch - self.step % self._per_epoch
            self.step = self._advance(end, stop_in_step)
            if self.step < end:
                return

    def states(self) -> States:
        return [server.state() for server in self._servers]

    def take_up(self, states: States, *, step: int) -> None:
        self.step = step
        self._servers = [Server(server._shard, self._clock()) for server in self._servers]
        for server, state in zip(self._servers, states, strict=True):
            server._shard.load(state)

    @property
    def held_out_loss(self) -> float:
        held = [each["parameters"].items() for each in self.states()]
        self._network.load_state_dict({name: value for items in held for name, value in items})
        return judge(self._network, TASKS[self.settings.task], self.held_out, CPU)[0] / len(self.held_out)

    def _advance(self, end: int, stop_in_step: int | None) -> int:
        done, learned = [self.step] * self.ranks, dict[int, Push]()
        everybody = range(self.ranks)
        while able := [rank for rank in everybody if rank in learned or self._may_begin(rank, done, end)]:
            rank = self.turns.choice(able)
            if rank not in learned:
                learned[rank] = self._learn(rank, done[rank])
                continue
            push = learned.pop(rank)
            for server in self._servers:
                server.push(rank, push)
            done[rank] += 1
            if stop_in_step is not None and max(done) > stop_in_step:
                self._servers[0].end()
        assert len(set(done)) == 1, done
        return done[0]

    def _may_begin(self, rank: int, done: Sequence[int], end: int) -> bool:
        first = self._servers[0]._clock
        return done[rank] < end and not first.is_over_for(rank) and first.may_begin(rank)

    def _learn(self, rank: int, step: int) -> Push:
        settings, task = self.settings, TASKS[self.settings.task]
        batch = batch_of_step(
            step, examples=len(self.training), batch_examples=settings.batch_examples, seed=settings.seed
        )
        network = self._network  # of all ranks, one after the other: it keeps nothing between two steps
        network.load_state_dict(self._pulled(rank))
        network.zero_grad()
        inputs, target = task.tensors(self.training.take(share(batch, rank=rank, ranks=self.ranks)), CPU)
        parts, precision = settings.micro_batches, settings.precision
        accumulate(network, task, inputs, target, parts=parts, weight=1 / len(batch), precision=precision)
        gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
        return Push(gradients=gradients, loss=0.0)

    def _pulled(self, rank: int) -> Named:
        weights: Named = {}
        for server in self._servers:
            held = server.pull(rank, {})
            assert held is not None
            weights |= held
        return weights

    def _shard(self, weights: Named) -> Shard:
        return Shard(weights, settings=self.settings, ranks=self.ranks, steps=self._steps)

    def _clock(self) -> Clock:
        return Clock(ranks=self.ranks, staleness=self.settings.staleness, step=self.step)

    @property
    def _per_epoch(self) -> int:
        return steps_per_epoch(len(self.training), self.settings.batch_examples)

    @property
    def _steps(self) -> int:
        return self._per_epoch * self.settings.epochs


def main(ranks: int, arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    settings, losses = parse(arguments), []
    for seed in range(SEEDS):
        chosen = replace(settings, seed=seed)
        training, held_out = TASKS[chosen.task].load(seed)
        each = Training(
            settings=chosen, ranks=ranks, training=training, held_out=held_out, turns=Random(seed)
        )
        each.train()
        losses.append(each.held_out_loss)
    sys.stdout.write(json.dumps(losses))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
