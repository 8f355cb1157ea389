"""Training: every rank takes its share of each batch, and gradients are summed over all of them in each step.

The strategy's all-reduce is a ring (Patarasuk, Yuan 2009). What a step learns from is a function of (seed, step), and
the loss is a mean over the whole batch, so that any number of ranks takes the same steps up to rounding.
"""

import json
import os
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from .. import storage
from ..data import images
from ..data.batches import batch_of_step, share, steps_per_epoch
from ..data.examples import Examples
from ..surroundings import GangSurroundings
from ..training.outlets import Outlet
from . import checkpoints
from .network import Network
from .settings import Settings

EXPORT: Final = "tensorflow/1"
"""Below the outputs: a version's folder, as TensorFlow Serving reads it."""

IMAGE: Final = (8, 8, 1)


def strategy_of(here: GangSurroundings, addresses: list[str]) -> Any:  # noqa: ANN401 - untyped by its package
    """Before anything else is done with TensorFlow: it reads who takes part from its environment, once."""
    tf.config.experimental.enable_op_determinism()  # a resumed training takes the very same steps
    if here.ranks == 1:
        return tf.distribute.get_strategy()
    task = {"type": "worker", "index": here.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    ring = tf.distribute.experimental.CommunicationImplementation.RING
    options = tf.distribute.experimental.CommunicationOptions(implementation=ring)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


class Training:
    """Of one rank."""

    def __init__(self, settings: Settings, here: GangSurroundings, strategy: Any, outlet: Outlet) -> None:  # noqa: ANN401
        self._settings, self._here, self._strategy, self._outlet = settings, here, strategy, outlet
        self._learned, self._held_out = images.load()
        self._folder = storage.below(here.checkpoint_uri, here.attempt)
        with strategy.scope():
            self._network = Network(settings.seed)
        self._step_fn = tf.function(
            self._step,
            input_signature=[
                tf.TensorSpec((None, *IMAGE), tf.float32),
                tf.TensorSpec((None,), tf.int64),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((), tf.float32),
            ],
        )

    def train(self) -> bool:
        """Whether it came to its end: false when it was stopped, and saved."""
        per_epoch = steps_per_epoch(len(self._learned), self._settings.batch_examples)
        done = self._resumed()
        while done < self._settings.epochs * per_epoch:
            loss, is_last = self._take(done)
            done += 1
            self._post({"kind": "metric", "step": done, "values": {"loss": loss}})
            every = self._settings.checkpoint_steps
            if is_last or done % per_epoch == 0 or (every and done % every == 0):
                self._save(done)
            if is_last:
                return False
        self._finish(done)
        return True

    def _take(self, step: int) -> tuple[float, bool]:
        """The batch's mean loss, and whether some rank was told to stop."""
        batch = batch_of_step(
            step,
            examples=len(self._learned),
            batch_examples=self._settings.batch_examples,
            seed=self._settings.seed,
        )
        mine = self._learned.take(share(batch, rank=self._here.rank, ranks=self._here.ranks))
        loss, stopped = self._step_fn(
            tf.constant(_channels_last(mine)),
            tf.constant(mine["labels"]),
            tf.constant(float(len(batch))),
            tf.constant(float(self._outlet.begin_step())),
        )
        return float(loss), float(stopped) > 0

    def _step(self, pixels: Any, labels: Any, examples: Any, stopped: Any) -> tuple[Any, Any]:  # noqa: ANN401 - tensors
        loss, stops = self._strategy.run(self._in_replica, args=(pixels, labels, examples, stopped))
        total = tf.distribute.ReduceOp.SUM
        return self._strategy.reduce(total, loss, axis=None), self._strategy.reduce(total, stops, axis=None)

    def _in_replica(self, pixels: Any, labels: Any, examples: Any, stopped: Any) -> tuple[Any, Any]:  # noqa: ANN401 - tensors
        named = self._network.named()
        with tf.GradientTape() as tape:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self._network(pixels))
            loss = tf.reduce_sum(each) / examples
        gradients = tape.gradient(loss, list(named.values()))
        replica = tf.distribute.get_replica_context()
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        replica.merge_call(self._descend, args=(summed,))
        return loss, stopped

    def _descend(self, strategy: Any, gradients: Any) -> None:  # noqa: ANN401 - untyped by its package
        rate, beta = self._settings.learning_rate, self._settings.momentum

        def moved(weight: Any, velocity: Any, gradient: Any) -> Any:  # noqa: ANN401 - tensors
            return weight.assign_sub(rate * velocity.assign(beta * velocity + gradient))

        for (name, weight), gradient in zip(self._network.named().items(), gradients, strict=True):
            strategy.extended.update(weight, moved, args=(self._network.velocities[name], gradient))

    def _resumed(self) -> int:
        """How many steps were taken before."""
        if self._here.resume_from is None:
            return 0
        step, state = checkpoints.read(self._here.resume_from, self._settings.lasting())
        self._network.restore(state)
        return step

    def _save(self, step: int) -> None:
        """By the first rank alone: all have the same."""
        if self._here.rank == 0:
            state = self._network.state()
            self._post(checkpoints.write(self._folder, step, state, self._settings.lasting()))

    def _finish(self, step: int) -> None:
        if self._here.rank != 0:
            return
        scores = self._network(tf.constant(_channels_last(self._held_out))).numpy()
        accuracy = float(np.mean(scores.argmax(axis=1) == self._held_out["labels"]))
        self._post({"kind": "metric", "step": step, "values": {"held_out_accuracy": accuracy}})
        _export(self._network, storage.below(self._here.outputs_uri, EXPORT))
        print(f"held-out accuracy {accuracy:.4f} after {step} steps by {self._here.ranks} ranks", flush=True)

    def _post(self, record: dict[str, Any]) -> None:
        if self._here.rank == 0:
            self._outlet.post(record)


def _channels_last(examples: Examples) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.moveaxis(examples["pixels"], 1, -1))


def _export(network: Network, uri: str) -> None:
    """A SavedModel: `pixels` (image, 8, 8, 1) to `scores` (image, 10)."""
    alone = Network(0)  # of no strategy
    alone.restore(network.state())
    alone.serve = tf.function(
        lambda pixels: {"scores": alone(pixels)},
        input_signature=[tf.TensorSpec((None, *IMAGE), tf.float32, name="pixels")],
    )
    tf.saved_model.save(alone, uri.removeprefix("file://"), signatures={"serving_default": alone.serve})
