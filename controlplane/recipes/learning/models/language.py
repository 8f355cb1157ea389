"""Language: a decoder-only transformer over characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ..data.text import ALPHABET, CONTEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSize:
    width: int = 48
    heads: int = 4
    blocks: int = 2
    context: int = CONTEXT
    vocabulary: int = len(ALPHABET)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.heads} heads")


class Attention(nn.Module):
    def __init__(self, size: LanguageSize) -> None:
        super().__init__()
        self.head_width = size.width // size.heads
        self.query = nn.Linear(size.width, size.width, bias=False)
        self.key = nn.Linear(size.width, size.width, bias=False)
        self.value = nn.Linear(size.width, size.width, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The number of heads is left open: under tensor parallelism each rank has a part of them.
        query, key, value = (
            projection(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        attended: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return attended


class Block(nn.Module):
    """Attention and two dense layers, each added to what comes in after normalising it."""

    def __init__(self, size: LanguageSize) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(size.width)
        self.attention = Attention(size)
        self.before_dense = nn.LayerNorm(size.width)
        self.up = nn.Linear(size.width, 4 * size.width)
        self.down = nn.Linear(4 * size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before_attention(x))
        after: Tensor = x + self.down(gelu(self.up(self.before_dense(x))))
        return after


class Transformer(nn.Module):
    """A stage of a pipeline is one too, without the parts that other stages have; names stay the same."""

    def __init__(self, size: LanguageSize) -> None:
        super().__init__()
        self.tokens: nn.Embedding | None = nn.Embedding(size.vocabulary, size.width)
        self.positions: nn.Embedding | None = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleDict({str(number): Block(size) for number in range(size.blocks)})
        self.norm: nn.LayerNorm | None = nn.LayerNorm(size.width)
        self.scores: nn.Linear | None = nn.Linear(size.width, size.vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the next character at each position; an inner stage passes on what the next one takes."""
        if self.tokens is not None and self.positions is not None:
            x = self.tokens(x) + self.positions(torch.arange(x.shape[-1], device=x.device))
        for block in self.blocks.values():
            x = block(x)
        if self.norm is not None and self.scores is not None:
            x = self.scores(self.norm(x))
        return x

    def keep_stage(self, stage: int, stages: int) -> None:
        """Drops all but one stage's share. Raises ValueError when there are more stages than blocks."""
        if stages > len(self.blocks):
            raise ValueError(f"{stages} stages need as many blocks, not {len(self.blocks)}")
        bounds = [len(self.blocks) * number // stages for number in range(stages + 1)]
        wanted = range(bounds[stage], bounds[stage + 1])
        self.blocks = nn.ModuleDict({str(number): self.blocks[str(number)] for number in wanted})
        if stage > 0:
            self.tokens = self.positions = None
        if stage < stages - 1:
            self.norm = self.scores = None


def network(size: LanguageSize) -> Transformer:
    return Transformer(size)


@torch.no_grad()
def continuation(
    model: nn.Module, prompt: Sequence[int], *, context: int, temperature: float, generator: torch.Generator
) -> Iterator[int]:
    """Says one token after the other, for ever. Temperature 0 always takes the likeliest."""
    said = list(prompt)
    while True:
        scores = model(torch.tensor([said[-context:]]))[0, -1]
        if temperature == 0:
            token = int(scores.argmax())
        else:
            token = int(torch.multinomial(torch.softmax(scores / temperature, dim=0), 1, generator=generator))
        said.append(token)
        yield token
