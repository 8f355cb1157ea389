"""Waiting: who is queued, in groups of one class and priority, each in the order of submission."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Self

from controlplane.domain.ids import AskId, ClassId
from schedulers.base import QueuedAsks
from schedulers.fair.clock import Clock

Row = tuple[ClassId, int, int, int]
"""Class, priority, submitted, not before."""

Group = list[tuple[int, AskId]]
"""(submitted, id), sorted."""


@dataclass(slots=True)
class Waiting:
    rows: dict[AskId, Row] = field(default_factory=dict)
    groups: dict[ClassId, dict[int, Group]] = field(default_factory=dict)
    """By priority; of those that may go by now."""

    sizes: dict[ClassId, int] = field(default_factory=dict)
    """How many asks of each class wait, also those that may not go yet."""

    changed: set[ClassId] = field(default_factory=set)
    """Classes whose groups are not what they were when somebody last looked."""

    _later: list[tuple[int, AskId]] = field(default_factory=list)
    """Heap by the moment from which they may go. An entry counts while the ask's row still says the same."""

    @classmethod
    def of(cls, asks: QueuedAsks) -> Self:
        rows = zip(asks.classes, asks.priorities, asks.submitted, asks.not_before, strict=True)
        return cls.from_rows(dict(zip(asks.ids, rows, strict=True)))

    @classmethod
    def from_rows(cls, by_id: dict[AskId, Row]) -> Self:
        made = cls(rows=by_id)
        groups, sizes = made.groups, made.sizes
        for id_, (class_id, priority, submitted, not_before) in made.rows.items():
            sizes[class_id] = sizes.get(class_id, 0) + 1
            if not_before:
                made._later.append((not_before, id_))
            else:
                groups.setdefault(class_id, {}).setdefault(priority, []).append((submitted, id_))
        for by_priority in groups.values():
            for group in by_priority.values():
                group.sort()
        heapify(made._later)
        made.changed.update(groups)
        return made

    def come(self, id_: AskId, row: Row) -> None:
        self.leave(id_)
        self.rows[id_] = row
        self.sizes[row[0]] = self.sizes.get(row[0], 0) + 1
        if row[3]:
            heappush(self._later, (row[3], id_))
        else:
            self._join(id_, row)

    def leave(self, id_: AskId) -> None:
        row = self.rows.pop(id_, None)
        if row is None:
            return
        class_id, priority, submitted, _ = row
        self.sizes[class_id] -= 1
        if not self.sizes[class_id]:
            del self.sizes[class_id]
            self.changed.add(class_id)
        group = self.groups.get(class_id, {}).get(priority, [])
        place = bisect_left(group, (submitted, id_))
        if place == len(group) or group[place] != (submitted, id_):
            return  # it was not its turn yet
        del group[place]
        self.changed.add(class_id)
        if not group:
            del self.groups[class_id][priority]
        if not self.groups[class_id]:
            del self.groups[class_id]

    def ripen(self, clock: Clock) -> None:
        """Lets those in whose back-off is over."""
        while self._later:
            not_before, id_ = self._later[0]
            row = self.rows.get(id_)
            if row is not None and row[3] == not_before and not clock.is_past(not_before):
                return
            heappop(self._later)
            if row is not None and row[3] == not_before:
                self._join(id_, row)

    def _join(self, id_: AskId, row: Row) -> None:
        group = self.groups.setdefault(row[0], {}).setdefault(row[1], [])
        if (place := bisect_left(group, (row[2], id_))) == len(group) or group[place] != (row[2], id_):
            insort(group, (row[2], id_))
            self.changed.add(row[0])
