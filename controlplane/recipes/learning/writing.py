"""Writing: the language model as a service, whole in one process or in stages over the tasks of a replica.

Deployed as `import_path: learning.writing:Writer`, with the folder that holds `learning` as working directory and a
published version of the `text` task as model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import torch
from torch import Tensor, nn

from .data.text import ALPHABET, decode, encode
from .models import files
from .models.language import Transformer, continuation

Stage = Callable[[Tensor], Tensor]
SEED: Final = 0


class Writer:
    """Each rank reads the whole file and keeps its stage of it. `generate` is for the first."""

    def __init__(
        self, artifacts: Mapping[str, str], rank: int = 0, ranks: int = 1, peers: Sequence[Stage] = ()
    ) -> None:
        """Raises `ValueError` for a model of another task, and for more ranks than the model has blocks."""
        (path,) = artifacts.values()
        model = files.read(path)
        if not isinstance(model.network, Transformer):
            raise ValueError(f"{model.task} writes no text")  # noqa: TRY004 - the file is wrong, not our argument
        self._context = int(model.size["context"])
        if ranks > 1:
            model.network.keep_stage(rank, ranks)
        self._whole = _Staged(model.network, peers)

    @torch.no_grad()
    def __call__(self, hidden: Tensor) -> Tensor:
        """Of a later rank: its share of the way."""
        scores: Tensor = self._whole(hidden)
        return scores

    def generate(self, prompt: str, *, max_tokens: int, temperature: float) -> Iterator[str]:
        """Character by character; the same prompt has the same continuation. What the alphabet lacks is left out."""
        known = "".join(each for each in prompt.lower() if each in ALPHABET) or " "
        tokens = continuation(
            self._whole,
            [int(token) for token in encode(known)],
            context=self._context,
            temperature=temperature,
            generator=torch.Generator().manual_seed(SEED),
        )
        for token in islice(tokens, max_tokens):
            yield decode([token])

    def warm_up(self) -> None:
        next(self.generate(" ", max_tokens=1, temperature=0.0))


class _Staged(nn.Module):
    """One rank's stage, and then those of the others."""

    def __init__(self, first: nn.Module, peers: Sequence[Stage]) -> None:
        super().__init__()
        self._first = first
        self._peers = tuple(peers)

    def forward(self, x: Tensor) -> Tensor:
        x = self._first(x)
        for peer in self._peers:
            x = peer(x)
        return x
