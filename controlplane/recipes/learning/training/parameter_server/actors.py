"""Actors: servers that hold shards, and ranks that pull from them and push to them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import ray
import torch
from ray.actor import ActorHandle
from torch import Tensor, nn

from ...board import Board, Record
from ...data.batches import share_of, steps_per_epoch
from ...data.examples import Examples
from ...models.recommender import Recommender
from ...models.tasks import TASKS
from ..judging import judge
from ..learner import accumulate
from ..rank import Assignment
from .clock import Clock
from .shard import Named, Push, Shard

CPU: Final = torch.device("cpu")

ray_calls: Final[Any] = ray
"""Untyped, as its types do not know lists of calls."""


class Server:
    """One shard, called by all ranks at once: each call is a thread, and one at a time is inside."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        self._shard, self._clock = shard, clock
        self._moved = threading.Condition()

    def pull(self, rank: int, rows: Mapping[str, Tensor]) -> Named | None:
        """Waits until the rank may begin its next step; None when there is none for it."""
        with self._moved:
            self._moved.wait_for(lambda: self._clock.is_over_for(rank) or self._clock.may_begin(rank))
            if self._clock.is_over_for(rank):
                return None
            self._clock.begin(rank)
            return self._shard.pull(rows)

    def push(self, rank: int, push: Push) -> float | None:
        with self._moved:
            loss = self._shard.push(rank, self._clock.finish(rank), push)
            self._moved.notify_all()
            return loss

    def end(self) -> None:
        with self._moved:
            self._clock.end()
            self._moved.notify_all()

    def widest_lead(self) -> int:
        return self._clock.widest_lead

    def state(self) -> dict[str, Any]:
        with self._moved:
            return self._shard.state()


Servers: TypeAlias = Sequence[ActorHandle[Server]]


@dataclass(slots=True)
class Traffic:
    """Bytes of tensors that one rank moved."""

    pulled: int = 0
    pushed: int = 0


class PullingRank:
    """Works through its shares; how fast the others are only matters at the bound."""

    def __init__(
        self, assignment: Assignment, servers: Servers, board: ActorHandle[Board], rank: int, ranks: int
    ) -> None:
        torch.set_num_threads(1)
        self._assignment, self._settings = assignment, assignment.settings
        self._servers, self._board = servers, board
        self._rank, self._ranks = rank, ranks
        self._task = TASKS[self._settings.task]
        self._network = self._task.network(self._settings.size)
        self._traffic = Traffic()

    def where(self) -> str:
        return f"node {ray.get_runtime_context().get_node_id()}"

    def advance(self, step: int, until: int) -> tuple[int, Traffic]:
        """The step where it stands afterwards, before `until` only if training is being ended."""
        while step < until:
            mine, batch_examples = self._share(step)
            inputs, target = self._task.tensors(mine, CPU)
            if not self._pull(_rows(self._network, inputs)):
                break
            # Not torch.manual_seed, see Ranks.seed.
            torch.default_generator.manual_seed((self._settings.seed << 40) + (step << 12) + self._rank)
            self._network.zero_grad()
            loss = accumulate(
                self._network,
                self._task,
                inputs,
                target,
                parts=self._settings.micro_batches,
                weight=1 / batch_examples,
                precision=self._settings.precision,
            )
            step += 1
            whole = self._push(loss)
            if whole is not None:
                self._measure(step, whole / batch_examples)
        return step, self._traffic

    def judge(self, weights: Named, examples: Examples) -> tuple[float, float]:
        self._network.load_state_dict(weights)
        return judge(self._network, self._task, examples, CPU)

    def _share(self, step: int) -> tuple[Examples, int]:
        batch = self._assignment.batch(step)
        return share_of(batch, rank=self._rank, ranks=self._ranks), len(batch)

    def _pull(self, rows: Mapping[str, Tensor]) -> bool:
        """False when training is being ended, which the first server decides for all."""
        weights: Named = {}
        for server in self._servers:
            pulled: Named | None = ray_calls.get(server.pull.remote(self._rank, rows))
            if pulled is None:
                return False
            weights |= pulled
        self._traffic.pulled += sum(_bytes(value) for value in weights.values())
        with torch.no_grad():
            for name, parameter in self._network.named_parameters():
                if name in rows:
                    parameter[rows[name]] = weights[name]
                else:
                    parameter.copy_(weights[name])
        return True

    def _push(self, loss: float) -> float | None:
        """To each server the gradients of what it holds; the first one also adds up losses."""
        gradients = {name: _gradient(parameter) for name, parameter in self._network.named_parameters()}
        self._traffic.pushed += sum(_bytes(value) for value in gradients.values())
        push = Push(gradients=gradients, loss=loss)
        losses: list[float | None] = ray_calls.get(
            [server.push.remote(self._rank, push) for server in self._servers]
        )
        return losses[0]

    def _measure(self, step: int, loss: float) -> None:
        record: Record = {"kind": "metric", "step": step, "values": {"loss": loss}}
        ray_calls.get(self._board.post.remote(record))


def _rows(network: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Of tables of which a share of a batch touches a few rows."""
    return network.rows(*inputs) if isinstance(network, Recommender) else {}


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    return parameter.grad.coalesce() if parameter.grad.is_sparse else parameter.grad


def _bytes(value: Tensor) -> int:
    if value.is_sparse:
        return _bytes(value.indices()) + _bytes(value.values())
    return value.numel() * value.element_size()


def per_epoch(assignment: Assignment) -> int:
    return steps_per_epoch(len(assignment.training), assignment.settings.batch_examples)
