"""Pipeline parallel: every rank has some layers, and parts of the batch flow through them.

After a stage has sent one micro-batch on, it takes up the next, forward and backward in turn (1F1B:
Narayanan et al. 2019, PipeDream; without stale weights, as in Huang et al. 2019, GPipe). Of P stages with M
micro-batches each idles for (P - 1) / (M + P - 1) of a step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from ..data.batches import batches_in_order
from ..data.examples import Examples
from ..models.language import Transformer
from ..models.tasks import Task
from .learner import Learner
from .ranks import Ranks
from .settings import Precision, Settings

IGNORED: Final = -100
"""What cross entropy leaves out."""


class Pipeline:
    def __init__(
        self, network: nn.Module, task: Task, *, settings: Settings, ranks: Ranks, steps: int
    ) -> None:
        if not isinstance(network, Transformer):
            raise TypeError(f"pipelines know the layers of a transformer, not of {type(network).__name__}")
        self._task, self._settings, self._ranks = task, settings, ranks
        network.keep_stage(ranks.number, ranks.count)
        self.learner = Learner(network, settings=settings, steps=steps)
        self._weight = 0.0
        stage = PipelineStage(network, ranks.number, ranks.count, ranks.device)
        self._schedule = Schedule1F1B(
            stage, n_microbatches=settings.micro_batches, loss_fn=self._loss, scale_grads=False
        )

    @property
    def _is_last(self) -> bool:
        return self._ranks.number == self._ranks.count - 1

    def learn(self, batch: Examples, step: int, *, ends_epoch: bool) -> float:  # noqa: ARG002 - for averaging only
        (tokens,), following = self._full(batch)
        self._weight = 1 / len(batch)
        self.learner.forget_gradients()
        losses: list[Tensor] = []
        fed = (tokens,) if self._ranks.is_first else ()
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=self._is_half):
            self._schedule.step(*fed, target=following if self._is_last else None, losses=losses)
        self.learner.descend(step)
        return float(sum(loss.item() for loss in losses)) * len(batch)

    def judge(self, examples: Examples) -> tuple[float, float]:
        loss = right = 0.0
        self.learner.module.eval()
        for some in batches_in_order(examples, self._settings.batch_examples):
            (tokens,), following = self._full(some)
            fed = (tokens,) if self._ranks.is_first else ()
            with torch.no_grad():
                scores = self._schedule.eval(*fed, target=following if self._is_last else None)
            if self._is_last:
                loss += float(self._task.loss(scores.float(), following))
                right += float(self._task.right(scores, following))
        self.learner.module.train()
        return loss, right

    def state(self) -> dict[str, Any]:
        return joined(self._ranks.gathered(self.learner.state()))

    def load(self, state: Mapping[str, Any]) -> None:
        self.learner.load(part_of(state, frozenset(self.learner.module.state_dict())))

    def weights(self) -> dict[str, Any]:
        parts: list[dict[str, Any]] = self._ranks.gathered(self.learner.weights())
        return {name: value for part in parts for name, value in part.items()}

    def _loss(self, scores: Tensor, following: Tensor) -> Tensor:
        return self._task.loss(scores.float(), following) * self._weight

    @property
    def _is_half(self) -> bool:
        return self._settings.precision is Precision.BFLOAT16

    def _full(self, batch: Examples) -> tuple[tuple[Tensor, ...], Tensor]:
        """Stages agree on shapes once: a short batch is filled up with examples whose targets are ignored."""
        inputs, target = self._task.tensors(batch, self._ranks.device)
        missing = self._settings.batch_examples - len(batch)
        filled = tuple(torch.cat([column, column[:1].expand(missing, -1)]) for column in inputs)
        return filled, torch.cat([target, torch.full_like(target[:1], IGNORED).expand(missing, -1)])


def joined(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One state out of those of all stages, whose parameters have names of their own."""
    if not states:
        return {}
    groups = [dict(state["optimizer"]["param_groups"][0]) for state in states]
    names = [name for group in groups for name in group["params"]]
    return {
        "model": {name: value for state in states for name, value in state["model"].items()},
        "optimizer": {
            "state": {name: value for state in states for name, value in state["optimizer"]["state"].items()},
            "param_groups": [groups[0] | {"params": names}],
        },
    }


def part_of(state: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The share of a stage that has these parameters."""
    moments = state["optimizer"]
    (group,) = moments["param_groups"]
    return {
        "model": {name: value for name, value in state["model"].items() if name in names},
        "optimizer": {
            "state": {name: value for name, value in moments["state"].items() if name in names},
            "param_groups": [group | {"params": [name for name in group["params"] if name in names]}],
        },
    }
