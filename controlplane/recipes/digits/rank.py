"""Ranks: the members of the data-parallel group, one in each Ray Train worker."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.actor import ActorHandle
from ray.train import Checkpoint, get_context, report
from ray.train.torch import get_device, prepare_model
from torch import Tensor, distributed

from . import storage
from .board import Board, Record
from .images import Images, batch_of_step, share, steps_per_epoch
from .learner import Learner, network
from .settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What every rank is given."""

    settings: Settings
    training: Images
    held_out: Images
    board: ActorHandle[Board]
    checkpoints: str
    """URI of this attempt's own folder."""

    outputs_uri: str
    resume_from: str | None


def train(config: Mapping[str, Assignment]) -> bool:
    """Trains on every rank. True when it came to the end, False when it was stopped."""
    return Rank(config["assignment"]).train()


class Rank:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._number = get_context().get_world_rank()
        self._ranks = get_context().get_world_size()
        self._device = get_device()
        settings = assignment.settings
        self._per_epoch = steps_per_epoch(len(assignment.training), settings.batch_images)
        self._steps = self._per_epoch * settings.epochs
        # Ray Train also logs each report, past the level that it was given.
        logging.getLogger().setLevel(logging.WARNING)
        # More threads than a seat's one CPU would take from the neighbours, and reorder sums.
        torch.set_num_threads(1)
        torch.manual_seed(settings.seed)
        self._learner = Learner(network().to(self._device), settings=settings, steps=self._steps)
        if assignment.resume_from is not None:
            self._learner.load(storage.load(assignment.resume_from, self._device))
        self._parallel = prepare_model(self._learner.module)

    def train(self) -> bool:
        node = ray.get_runtime_context().get_node_id()
        self._tell(
            f"rank {self._number} of {self._ranks} trains on node {node} from step {self._learner.step}"
        )
        while self._learner.step < self._steps:
            stopping = self._step()
            epoch, position = divmod(self._learner.step, self._per_epoch)
            if position == 0:
                self._end_epoch(epoch)
            if position == 0 or stopping:
                self._save()
            if stopping and self._learner.step < self._steps:
                self._tell(f"rank {self._number} stopped after step {self._learner.step} of {self._steps}")
                return False
        self._finish()
        return True

    def _step(self) -> bool:
        """Takes one step, and returns whether it was the last because the job is being stopped.

        Rank 0 alone asks, and its answer travels with the loss: ranks that each asked for themselves could
        hear different answers, and those who go on would wait for the gradients of those who left.
        """
        began = time.monotonic()
        asked = self._number == 0 and bool(ray.get(self._assignment.board.begin_step.remote()))
        learner = self._learner
        batch = self._batch()
        mine = self._assignment.training.take(share(batch, rank=self._number, ranks=self._ranks))
        # Dropout differs between steps and ranks, and is the same again when a step is taken again.
        torch.manual_seed((self._assignment.settings.seed << 40) + (learner.step << 12) + self._number)
        rate = learner.learning_rate
        share_loss = learner.learn(self._parallel, *self._tensors(mine), weight=self._ranks / len(batch))
        loss, stopping = self._sum(share_loss, float(asked))
        learner.epoch_loss += loss
        seconds = time.monotonic() - began
        self._measure(loss=loss / len(batch), learning_rate=rate, samples_per_second=len(batch) / seconds)
        return stopping > 0

    def _batch(self) -> NDArray[np.int64]:
        settings = self._assignment.settings
        return batch_of_step(
            self._learner.step,
            images=len(self._assignment.training),
            batch_images=settings.batch_images,
            seed=settings.seed,
        )

    def _end_epoch(self, epoch: int) -> None:
        loss = self._learner.epoch_loss / len(self._assignment.training)
        self._learner.epoch_loss = 0.0
        accuracy = self._evaluate()
        if self._number == 0:
            self._measure(epoch=epoch, epoch_loss=loss, accuracy=accuracy)
            epochs = self._assignment.settings.epochs
            self._tell(f"epoch {epoch}/{epochs} loss {loss:.3f} accuracy {accuracy:.3f}")

    def _evaluate(self) -> float:
        """The share of the held-out images that is read rightly; the ranks divide them."""
        held_out, module = self._assignment.held_out, self._learner.module
        mine = held_out.take(share(np.arange(len(held_out)), rank=self._number, ranks=self._ranks))
        pixels, labels = self._tensors(mine)
        module.eval()
        with torch.no_grad():
            right = int((module(pixels).argmax(dim=1) == labels).sum())
        module.train()
        return self._sum(right)[0] / len(held_out)

    def _save(self) -> None:
        """Writes a checkpoint, and says so only when it is safe."""
        folder = f"step-{self._learner.step:06d}"
        with TemporaryDirectory() as scratch:
            if self._number == 0:
                torch.save(self._learner.state(), Path(scratch, "state.pt"))
            checkpoint = Checkpoint.from_directory(scratch) if self._number == 0 else None
            report({"step": self._learner.step}, checkpoint=checkpoint, checkpoint_dir_name=folder)
        if self._number == 0:
            uri = f"{self._assignment.checkpoints}/{folder}/state.pt"
            sha256 = storage.seal(uri)
            self._post({"kind": "checkpoint", "uri": uri, "step": self._learner.step, "sha256": sha256})

    def _finish(self) -> None:
        accuracy = self._evaluate()
        if self._number != 0:
            return
        facts = {
            "accuracy": accuracy,
            "held_out": len(self._assignment.held_out),
            "epochs": self._assignment.settings.epochs,
            "steps": self._steps,
            "world_size": self._ranks,
        }
        outputs = self._assignment.outputs_uri
        storage.write(f"{outputs}/model.pt", storage.saved(self._learner.module.state_dict()))
        storage.write(f"{outputs}/metrics.json", json.dumps(facts, indent=2).encode())
        self._tell(f"final accuracy {accuracy:.3f}")

    def _tensors(self, images: Images) -> tuple[Tensor, Tensor]:
        pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
        return pixels.to(self._device), labels.to(self._device)

    def _sum(self, *values: float) -> list[float]:
        """Each value added up over all ranks, which must all ask."""
        totals = torch.tensor(values, dtype=torch.float64, device=self._device)
        if self._ranks > 1:
            distributed.all_reduce(totals)
        return [float(total) for total in totals]

    def _measure(self, **values: float) -> None:
        if self._number == 0:
            self._post({"kind": "metric", "step": self._learner.step, "values": values})

    def _tell(self, message: str) -> None:
        fraction = self._learner.step / self._steps
        self._post({"kind": "progress", "fraction": fraction, "message": message})

    def _post(self, record: Record) -> None:
        ray.get(self._assignment.board.post.remote(record))
