"""Training with a parameter server: starts servers and ranks, and lets them advance epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import ray
import torch
from ray.actor import ActorHandle

from ...board import Board, Record
from ...models.tasks import TASKS
from ...surroundings import Seat
from ..checkpoints import Checkpoint, Keeper
from ..rank import Assignment, publish
from ..stopping import Patience
from .actors import PullingRank, Server, Traffic, per_epoch
from .clock import Clock
from .shard import Named, Shard, assigned

LOOK_EVERY_SECONDS: Final = 0.2
NODE_LABEL: Final = "ray.io/node-id"

ray_calls: Final[Any] = ray
"""Untyped, as its types know neither threads of actors nor lists of calls."""


def train(assignment: Assignment, board: ActorHandle[Board], seats: Sequence[Seat]) -> bool:
    """True when training came to its end, False when it was stopped."""
    return _Training(assignment, board, seats).train()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stand:
    step: int
    traffic: tuple[Traffic, ...] = ()


class _Training:
    def __init__(self, assignment: Assignment, board: ActorHandle[Board], seats: Sequence[Seat]) -> None:
        settings = assignment.settings
        self._assignment, self._settings, self._board = assignment, settings, board
        self._per_epoch = per_epoch(assignment)
        self._steps = self._per_epoch * settings.epochs
        self._patience = Patience(epochs=settings.patience_epochs)
        self._keeper = Keeper(
            folder=assignment.checkpoints,
            must_match=settings.lasting() | {"data": assignment.training.sha256(), "ranks": len(seats)},
        )
        shards, self._step = self._begin(len(seats))
        self._servers = [self._server(shard, len(seats)) for shard in shards]
        self._ranks = [self._rank(number, seats) for number in range(len(seats))]

    def train(self) -> bool:
        for number, place in enumerate(ray_calls.get([rank.where.remote() for rank in self._ranks])):
            self._tell(f"rank {number} of {len(self._ranks)} trains on {place} from step {self._step}")
        stand = _Stand(step=self._step)
        while self._step < self._steps and not self._patience.is_over:
            until = self._next_end()
            stand = self._advance(until)
            self._step = stand.step
            state = ray_calls.get([server.state.remote() for server in self._servers])
            if self._step % self._per_epoch == 0:
                self._end_epoch(_weights(state))
            self._save(state)
            if self._step < until:
                self._tell(f"all ranks stopped after step {self._step} of {self._steps}")
                return False
        self._finish(stand)
        return True

    def _begin(self, ranks: int) -> tuple[list[Shard], int]:
        settings = self._settings
        torch.manual_seed(settings.seed)
        network = TASKS[settings.task].network(settings.size)
        weights = {name: value.detach() for name, value in network.named_parameters()}
        names = assigned({name: value.numel() for name, value in weights.items()}, settings.servers)
        shards = [
            Shard({name: weights[name] for name in held}, settings=settings, ranks=ranks, steps=self._steps)
            for held in names
        ]
        if self._assignment.resume_from is None:
            return shards, 0
        found = self._keeper.read(self._assignment.resume_from, torch.device("cpu"))
        self._patience = Patience.from_state(found.patience)
        for shard, state in zip(shards, found.strategy["shards"], strict=True):
            shard.load(state)
        return shards, found.step

    def _server(self, shard: Shard, ranks: int) -> ActorHandle[Server]:
        clock = Clock(ranks=ranks, staleness=self._settings.staleness, step=self._step)
        # A rank that waits in `pull` holds a thread; two more are for the driver.
        actor = ray_calls.remote(num_cpus=0, max_concurrency=ranks + 2)(Server)
        server: ActorHandle[Server] = actor.remote(shard, clock)
        return server

    def _rank(self, number: int, seats: Sequence[Seat]) -> ActorHandle[PullingRank]:
        seat = seats[number]
        wanted = dict(seat.resources)
        options: dict[str, Any] = {"num_cpus": wanted.pop("CPU", 0), "num_gpus": wanted.pop("GPU", 0)}
        memory = wanted.pop("memory", None)
        where = {NODE_LABEL: seat.node_id} if seat.node_id else None
        actor = ray_calls.remote(resources=wanted, memory=memory, label_selector=where, **options)(
            PullingRank
        )
        rank: ActorHandle[PullingRank] = actor.remote(
            self._assignment, self._servers, self._board, number, len(seats)
        )
        return rank

    def _next_end(self) -> int:
        """The step where all ranks meet: the end of the epoch, or the next checkpoint."""
        ends = [self._step + self._per_epoch - self._step % self._per_epoch]
        if every := self._settings.checkpoint_steps:
            ends.append(self._step + every - self._step % every)
        return min(ends)

    def _advance(self, until: int) -> _Stand:
        pending = [rank.advance.remote(self._step, until) for rank in self._ranks]
        waiting = list(pending)
        while waiting:
            _, waiting = ray_calls.wait(waiting, num_returns=len(waiting), timeout=LOOK_EVERY_SECONDS)
            if ray_calls.get(self._board.begin_step.remote()):
                # The first server decides for all: a rank asks it before it asks the others.
                ray_calls.get(self._servers[0].end.remote())
        results: list[tuple[int, Traffic]] = ray_calls.get(pending)
        steps = {step for step, _ in results}
        if len(steps) != 1:
            raise RuntimeError(f"ranks ended after different steps: {sorted(steps)}")
        return _Stand(step=steps.pop(), traffic=tuple(traffic for _, traffic in results))

    def _end_epoch(self, weights: Named) -> None:
        loss, accuracy = self._judge(weights)
        self._patience = self._patience.after(loss)
        epoch = self._step // self._per_epoch
        values = {"epoch": epoch, "held_out_loss": loss, "accuracy": accuracy}
        self._post({"kind": "metric", "step": self._step, "values": values})
        self._tell(f"epoch {epoch}/{self._settings.epochs} held-out loss {loss:.3f} accuracy {accuracy:.3f}")

    def _judge(self, weights: Named) -> tuple[float, float]:
        held_out = self._assignment.held_out
        loss, right = ray_calls.get(self._ranks[0].judge.remote(weights, held_out))
        return loss / len(held_out), right / len(held_out)

    def _save(self, shards: list[dict[str, Any]]) -> None:
        checkpoint = Checkpoint(
            step=self._step, epoch_loss=0.0, patience=self._patience.state(), strategy={"shards": shards}
        )
        self._post(self._keeper.write(checkpoint))

    def _finish(self, stand: _Stand) -> None:
        state = ray_calls.get([server.state.remote() for server in self._servers])
        weights = _weights(state)
        loss, accuracy = self._judge(weights)
        leads = ray_calls.get([server.widest_lead.remote() for server in self._servers])
        facts = {
            "accuracy": accuracy,
            "held_out_loss": loss,
            "held_out": len(self._assignment.held_out),
            "epochs": self._step // self._per_epoch,
            "steps": self._step,
            "world_size": len(self._ranks),
            "widest_lead": max(leads),
            "bytes_pulled": sum(each.pulled for each in stand.traffic),
            "bytes_pushed": sum(each.pushed for each in stand.traffic),
        }
        publish(self._assignment.outputs_uri, self._settings, weights, facts)
        self._tell(f"final accuracy {accuracy:.3f}")

    def _tell(self, message: str) -> None:
        self._post({"kind": "progress", "fraction": self._step / self._steps, "message": message})

    def _post(self, record: Record) -> None:
        ray_calls.get(self._board.post.remote(record))


def _weights(state: list[dict[str, Any]]) -> Named:
    return {name: value for shard in state for name, value in shard["parameters"].items()}
