"""Outliers: which replicas get no requests for a while, because of how they answered the last ones."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.domain.ids import AttemptId
from controlplane.domain.traffic import Backend

MOST_IN_A_ROW: Final = 5
"""Failures after which a replica is ejected. After an ejection one more is enough."""

FIRST_EJECTION_SECONDS: Final = 5.0
LONGEST_EJECTION_SECONDS: Final = 120.0
FIRST_REFUSAL_SECONDS: Final = 0.25
LONGEST_REFUSAL_SECONDS: Final = 5.0
BUSY_SECONDS: Final = 0.25
"""For which a replica gets no more requests that said it has as many as it takes."""


@dataclass(slots=True)
class _Record:
    in_a_row: int = 0
    ejections: int = 0
    ejected_until: float = 0.0
    refusals: int = 0
    refused_until: float = 0.0
    busy_until: float = 0.0
    is_leaving: bool = False


class Outliers:
    """What one gateway remembers of the replicas of one service. Times are seconds of any steady clock.

    A replica that fails is *ejected*, for a time that doubles; at most half of a revision's replicas are, rounded
    down, so never the last one: a bad answer may be the request's fault, and somebody has to answer. A replica that
    *refuses* connections, or says that it *leaves*, is left out in any case: asking it is certain to be in vain.
    """

    def __init__(self) -> None:
        self._records: dict[AttemptId, _Record] = {}

    def succeeded(self, attempt_id: AttemptId) -> None:
        record = self._records.get(attempt_id)
        if record is not None:
            record.in_a_row, record.refusals, record.busy_until = 0, 0, 0.0
            record.ejections = max(0, record.ejections - 1)

    def failed(self, attempt_id: AttemptId, now: float) -> None:
        record = self._record(attempt_id)
        record.in_a_row += 1
        if record.in_a_row >= MOST_IN_A_ROW and record.ejected_until <= now:
            seconds = FIRST_EJECTION_SECONDS * 2**record.ejections
            record.ejected_until = now + min(seconds, LONGEST_EJECTION_SECONDS)
            record.ejections += 1
            record.in_a_row = MOST_IN_A_ROW - 1

    def refused(self, attempt_id: AttemptId, now: float) -> None:
        """No connection came about."""
        record = self._record(attempt_id)
        seconds = FIRST_REFUSAL_SECONDS * 2**record.refusals
        record.refused_until = now + min(seconds, LONGEST_REFUSAL_SECONDS)
        record.refusals = min(record.refusals + 1, 10)

    def leaves(self, attempt_id: AttemptId) -> None:
        """It takes no new requests any more, and never will."""
        self._record(attempt_id).is_leaving = True

    def busy(self, attempt_id: AttemptId, now: float) -> None:
        """It is full, by the requests of others: who waits for it waits in line, as if they were our own."""
        self._record(attempt_id).busy_until = now + BUSY_SECONDS

    def has_room(self, attempt_id: AttemptId, now: float) -> bool:
        record = self._records.get(attempt_id)
        return record is None or record.busy_until <= now

    def usable(self, backends: Sequence[Backend], now: float) -> tuple[Backend, ...]:
        """Those of one revision that may be asked, in their order."""
        if not self._records:
            return tuple(backends)
        there = [each for each in backends if not self._is_out(each.attempt_id, now)]
        ejected = [each.attempt_id for each in there if self._until(each.attempt_id) > now]
        ejected.sort(key=lambda each: (-self._until(each), each))
        kept_out = frozenset(ejected[: len(there) // 2])
        return tuple(each for each in there if each.attempt_id not in kept_out)

    def forget_but(self, attempt_ids: Collection[AttemptId]) -> None:
        for gone in self._records.keys() - set(attempt_ids):
            del self._records[gone]

    def _record(self, attempt_id: AttemptId) -> _Record:
        return self._records.setdefault(attempt_id, _Record())

    def _is_out(self, attempt_id: AttemptId, now: float) -> bool:
        record = self._records.get(attempt_id)
        return record is not None and (record.is_leaving or record.refused_until > now)

    def _until(self, attempt_id: AttemptId) -> float:
        record = self._records.get(attempt_id)
        return 0.0 if record is None else record.ejected_until
