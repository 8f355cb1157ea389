"""A data parallel training by hand: DistributedDataParallel, Adam and a loop, without anything around them."""

from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from controlplane.recipes.learning.data.examples import Examples
from controlplane.recipes.learning.models.tasks import Task
from controlplane.recipes.learning.training.ranks import Ranks
from controlplane.recipes.learning.training.settings import Settings

CPU = torch.device("cpu")


class PlainTraining:
    """Judges and saves after each epoch, as such scripts do."""

    def __init__(
        self, task: Task, training: Examples, held_out: Examples, *, settings: Settings, ranks: Ranks
    ) -> None:
        torch.manual_seed(settings.seed)
        self._task, self._settings, self._ranks = task, settings, ranks
        self._network = DistributedDataParallel(task.network(settings.size))
        self._optimizer = Adam(self._network.parameters(), lr=settings.learning_rate)
        (self._inputs, self._target), (self._held_inputs, self._held_target) = (
            task.tensors(each, CPU) for each in (training, held_out)
        )

    def train(self, folder: Path) -> float:
        """The last step's loss on this rank's share."""
        loss = 0.0
        for epoch in range(self._settings.epochs):
            shuffle = torch.randperm(len(self._target), generator=torch.Generator().manual_seed(epoch))
            for batch in shuffle.split(self._settings.batch_examples):
                loss = self._take_step(batch[self._ranks.number :: self._ranks.count])
            self._judge()
            if self._ranks.is_first:
                state = {"model": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}
                torch.save(state, folder / f"plain-{epoch}.pt")
        return loss

    def _take_step(self, mine: Tensor) -> float:
        self._optimizer.zero_grad()
        scores = self._network(*(column[mine] for column in self._inputs))
        loss = self._task.loss(scores, self._target[mine]) / len(mine)
        loss.backward()
        self._optimizer.step()
        return loss.item()

    @torch.no_grad()
    def _judge(self) -> None:
        mine = slice(self._ranks.number, None, self._ranks.count)
        self._network.eval()
        scores = self._network.module(*(column[mine] for column in self._held_inputs))
        right = self._task.right(scores, self._held_target[mine]).double()
        self._network.train()
        distributed.all_reduce(right)
