"""Writing: the language model as a service, whole in one process or in stages over the tasks of a replica.

Deployed as `import_path: learning.writing:Writer`, with the folder that holds `learning` as working directory and a
published version of the `text` task as model. Asked by the Open Inference Protocol it takes `prompt`, a list of texts,
and answers with `text`, as many continuations; `max_tokens` and `temperature` are lists of one number.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn

from .data.text import ALPHABET, decode, encode
from .models import files
from .models.language import LanguageSize, Transformer, continuation

Stage = Callable[[Tensor], Tensor]
SEED: Final = 0
DEFAULT_TOKENS: Final = 128
"""Characters of a continuation, where nobody says."""


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
        self._context = LanguageSize(**model.size).context
        if ranks > 1:
            model.network.keep_stage(rank, ranks)
        self._whole = _Staged(model.network, peers)

    @torch.no_grad()
    def __call__(self, given: Tensor | Mapping[str, Sequence[Any]]) -> Any:  # noqa: ANN401 - as what was given
        """Of a later rank: its share of the way. Of the first: the continuations of named inputs' prompts.

        Raises `ValueError` for inputs without a prompt.
        """
        if isinstance(given, Tensor):
            return self._whole(given)
        if "prompt" not in given:
            raise ValueError(f"the writer takes a prompt, not {', '.join(given) or 'nothing'}")
        tokens = int(given.get("max_tokens", [DEFAULT_TOKENS])[0])
        temperature = float(given.get("temperature", [0.0])[0])
        wanted = (self.generate(each, max_tokens=tokens, temperature=temperature) for each in given["prompt"])
        return {"text": ["".join(pieces) for pieces in wanted]}

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
