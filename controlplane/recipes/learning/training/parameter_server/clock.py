"""The clock: how many steps each rank has done, and who may begin the next."""


class Clock:
    """Stale synchronous parallel: who begins step c sees all that was pushed in steps before c - staleness."""

    def __init__(self, *, ranks: int, staleness: int, step: int = 0) -> None:
        self._done = [step] * ranks
        self._staleness = staleness
        self._end: int | None = None
        self.widest_lead = 0
        """The most steps by which a rank that began was ahead of the slowest; never above the bound."""

    def may_begin(self, rank: int) -> bool:
        return self._lead(rank) <= self._staleness

    def begin(self, rank: int) -> None:
        """Raises ValueError when the rank is too far ahead."""
        if not self.may_begin(rank):
            raise ValueError(f"rank {rank} leads by {self._lead(rank)} steps, the bound is {self._staleness}")
        self.widest_lead = max(self.widest_lead, self._lead(rank))

    def finish(self, rank: int) -> int:
        """The step that the rank has just done."""
        self._done[rank] += 1
        return self._done[rank] - 1

    def end(self) -> None:
        """No rank begins a step that no other one can have begun yet, so that all end with equally many."""
        if self._end is None:
            self._end = max(self._done) + 1

    def is_over_for(self, rank: int) -> bool:
        return self._end is not None and self._done[rank] >= self._end

    def _lead(self, rank: int) -> int:
        return self._done[rank] - min(self._done)
