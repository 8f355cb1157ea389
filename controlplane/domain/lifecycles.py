"""Lifecycles: the one table per noun that says which state may follow which."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from controlplane.domain.errors import Bug, IllegalTransition

S = TypeVar("S", bound=StrEnum)

BIRTH = "-"
"""What `came_from` holds on a row that has never moved."""


def to(*successors: S) -> frozenset[S]:
    """Reads as a sentence in a table: `HELD: to(QUEUED, CANCELLED)`."""
    return frozenset(successors)


class Lifecycle(Generic[S]):
    """A state machine that is checked when its module is imported.

    Raises `Bug` when a state has no row or cannot be reached from the initial state.
    """

    def __init__(self, *, noun: str, initial: S, edges: Mapping[S, frozenset[S]]) -> None:
        self.noun = noun
        self.initial = initial
        self.edges: Mapping[S, frozenset[S]] = dict(edges)
        states = frozenset(type(initial))
        if missing := sorted(states - frozenset(edges)):
            raise Bug(f"lifecycle of {noun}: no row for {missing}")
        if unreachable := sorted(states - self._reachable()):
            raise Bug(f"lifecycle of {noun}: {unreachable} cannot be reached from {initial}")

    def check(self, old: S, new: S) -> None:
        """Raises `IllegalTransition` unless the table has the edge."""
        if new not in self.edges[old]:
            raise IllegalTransition(f"{self.noun}: {old} -> {new} is not an edge")

    def is_terminal(self, state: S) -> bool:
        return not self.edges[state]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every legal (old, new), sorted; birth is (`-`, initial). The database's edges table holds exactly these."""
        moves = [(str(old), str(new)) for old, successors in self.edges.items() for new in successors]
        return tuple(sorted([(BIRTH, str(self.initial)), *moves]))

    def _reachable(self) -> frozenset[S]:
        seen: list[S] = [self.initial]
        for state in seen:  # grows while it is walked
            seen.extend(sorted(self.edges[state].difference(seen)))
        return frozenset(seen)
