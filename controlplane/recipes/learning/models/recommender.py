"""Recommender: users and items as places in a space of tastes, near where clicks are likely."""

from dataclasses import dataclass

from torch import Tensor, nn

from ..data.interactions import ITEMS, USERS


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommenderSize:
    users: int = USERS
    items: int = ITEMS
    width: int = 4
    sparse: bool = False
    """Gradients name the rows that a batch touched, and leave the others out; SGD only."""


class Recommender(nn.Module):
    """Matrix factorisation with biases (Koren, Bell, Volinsky 2009), as the score of a click."""

    def __init__(self, size: RecommenderSize) -> None:
        super().__init__()
        self.user_tastes = nn.Embedding(size.users, size.width, sparse=size.sparse)
        self.item_tastes = nn.Embedding(size.items, size.width, sparse=size.sparse)
        self.user_bias = nn.Embedding(size.users, 1, sparse=size.sparse)
        self.item_bias = nn.Embedding(size.items, 1, sparse=size.sparse)
        for bias in (self.user_bias, self.item_bias):
            nn.init.zeros_(bias.weight)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        nearness = (self.user_tastes(users) * self.item_tastes(items)).sum(dim=-1)
        score: Tensor = nearness + (self.user_bias(users) + self.item_bias(items)).squeeze(-1)
        return score

    def rows(self, users: Tensor, items: Tensor) -> dict[str, Tensor]:
        """Which rows of each table these pairs touch."""
        of_users, of_items = users.unique(), items.unique()
        return {
            "user_tastes.weight": of_users,
            "item_tastes.weight": of_items,
            "user_bias.weight": of_users,
            "item_bias.weight": of_items,
        }


def network(size: RecommenderSize) -> Recommender:
    return Recommender(size)
