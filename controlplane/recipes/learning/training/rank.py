"""Ranks at work: one loop of steps, whatever divides them."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import storage
from ..board import Record
from ..data.augmentation import Augmentation
from ..data.batches import batch_of_step, steps_per_epoch
from ..data.examples import Examples
from ..models.files import packed_weights
from .checkpoints import Checkpoint, Keeper
from .outlets import Outlet
from .ranks import Ranks
from .settings import Settings
from .stopping import Patience
from .strategies import strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What every rank is given."""

    settings: Settings
    training: Examples
    held_out: Examples
    checkpoints: str
    """URI of this attempt's own folder."""

    outputs_uri: str
    resume_from: str | None

    def batch(self, step: int) -> Examples:
        """What all ranks together learn from in a step; moved and noisy before anybody takes a share of it."""
        settings = self.settings
        indices = batch_of_step(
            step, examples=len(self.training), batch_examples=settings.batch_examples, seed=settings.seed
        )
        batch = self.training.take(indices)
        augmentation = Augmentation(shift_pixels=settings.shift_pixels, noise=settings.noise)
        if not augmentation.does_something:
            return batch
        return augmentation(batch, np.random.default_rng([settings.seed, 5, step]))


class Rank:
    def __init__(self, assignment: Assignment, ranks: Ranks, outlet: Outlet) -> None:
        self._assignment, self._ranks, self._outlet = assignment, ranks, outlet
        self._settings = settings = assignment.settings
        self._per_epoch = steps_per_epoch(len(assignment.training), settings.batch_examples)
        self._steps = self._per_epoch * settings.epochs
        # More threads than a seat's one CPU would take from the neighbours, and reorder sums.
        torch.set_num_threads(1)
        self._strategy = strategy(settings, ranks=ranks, steps=self._steps)
        self._step, self._epoch_loss = 0, 0.0
        self._patience = Patience(epochs=settings.patience_epochs)
        self._keeper = Keeper(
            folder=assignment.checkpoints,
            must_match=settings.lasting() | {"data": assignment.training.sha256()},
        )
        self._take_up()

    def train(self) -> bool:
        """True when training came to its end, False when it was stopped."""
        number, count = self._ranks.number, self._ranks.count
        self._tell(f"rank {number} of {count} trains on {self._outlet.place} from step {self._step}")
        while self._step < self._steps and not self._patience.is_over:
            stopping = self._take_step()
            epoch, position = divmod(self._step, self._per_epoch)
            if position == 0:
                self._end_epoch(epoch)
            if position == 0 or stopping or self._is_due():
                self._save()
            if stopping and self._step < self._steps:
                self._tell(f"rank {number} stopped after step {self._step} of {self._steps}")
                return False
        self._finish()
        return True

    def _take_up(self) -> None:
        """Begins where the newest checkpoint of this attempt stands, else where the one that it was given does."""
        newest = self._ranks.agreed(self._keeper.newest()) or self._assignment.resume_from
        if newest is None:
            return
        found = self._keeper.read(newest, self._ranks.device)
        self._step, self._epoch_loss = found.step, found.epoch_loss
        self._patience = Patience.from_state(found.patience)
        self._strategy.load(found.strategy)

    def _take_step(self) -> bool:
        """Takes one step, and returns whether it was the last because the job is being stopped.

        Each rank's answer travels with the loss: ranks that left alone would let the others wait for their
        gradients.
        """
        began = time.monotonic()
        asked = self._outlet.begin_step()
        batch = self._assignment.batch(self._step)
        # Dropout differs between steps and ranks, and is the same again when a step is taken again.
        self._ranks.seed((self._settings.seed << 40) + (self._step << 12) + self._ranks.number)
        rate = self._strategy.learner.rate(self._step)
        ends_epoch = (self._step + 1) % self._per_epoch == 0
        mine = self._strategy.learn(batch, self._step, ends_epoch=ends_epoch)
        loss, stopping = self._ranks.sum(mine, float(asked))
        self._step += 1
        self._epoch_loss += loss
        seconds = time.monotonic() - began
        self._measure(loss=loss / len(batch), learning_rate=rate, samples_per_second=len(batch) / seconds)
        return stopping > 0

    def _is_due(self) -> bool:
        every = self._settings.checkpoint_steps
        return every > 0 and self._step % every == 0

    def _end_epoch(self, epoch: int) -> None:
        loss = self._epoch_loss / len(self._assignment.training)
        self._epoch_loss = 0.0
        held_out_loss, accuracy = self._judge()
        self._patience = self._patience.after(held_out_loss)
        self._measure(epoch=epoch, epoch_loss=loss, held_out_loss=held_out_loss, accuracy=accuracy)
        if self._ranks.is_first:
            self._tell(f"epoch {epoch}/{self._settings.epochs} loss {loss:.3f} accuracy {accuracy:.3f}")

    def _judge(self) -> tuple[float, float]:
        held_out = self._assignment.held_out
        loss, right = self._ranks.sum(*self._strategy.judge(held_out))
        return loss / len(held_out), right / len(held_out)

    def _save(self) -> None:
        """Writes a checkpoint, and says so only when it is safe."""
        state = self._strategy.state()
        if self._ranks.is_first:
            saved = self._keeper.write(
                Checkpoint(
                    step=self._step,
                    epoch_loss=self._epoch_loss,
                    patience=self._patience.state(),
                    strategy=state,
                )
            )
            self._outlet.post(saved)

    def _finish(self) -> None:
        loss, accuracy = self._judge()
        weights = self._strategy.weights()
        if not self._ranks.is_first:
            return
        facts = {
            "accuracy": accuracy,
            "held_out_loss": loss,
            "held_out": len(self._assignment.held_out),
            "epochs": self._step // self._per_epoch,
            "steps": self._step,
            "world_size": self._ranks.count,
        }
        publish(self._assignment.outputs_uri, self._settings, weights, facts)
        self._tell(f"final accuracy {accuracy:.3f}")

    def _measure(self, **values: float) -> None:
        if self._ranks.is_first:
            self._outlet.post({"kind": "metric", "step": self._step, "values": values})

    def _tell(self, message: str) -> None:
        record: Record = {"kind": "progress", "fraction": self._step / self._steps, "message": message}
        self._outlet.post(record)


def publish(
    outputs_uri: str, settings: Settings, weights: Mapping[str, Any], facts: Mapping[str, float]
) -> None:
    """The model and what it measured."""
    model = packed_weights(settings.task, settings.size, weights)
    storage.write(storage.below(outputs_uri, "model.pt"), model)
    storage.write(storage.below(outputs_uri, "metrics.json"), json.dumps(facts, indent=2).encode())
