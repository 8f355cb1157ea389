"""Cost reports: lines of the ledger added up by what they have in common, and rounded so that they still add up."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.costs import Line, Owner, in_millionths


class GroupBy(StrEnum):
    TOTAL = "total"
    PROJECT = "project"
    QUEUE = "queue"
    JOB = "job"
    CLUSTER = "cluster"
    CLAIM = "claim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Costs of one group in one currency. Amounts are millionths of it."""

    key: str
    """Id of what is grouped by; empty: of nothing in particular."""

    currency: str | None
    """None: time that nobody has put a price on."""

    used_millionths: int
    idle_millionths: int
    task_seconds: int
    machine_seconds: int

    @property
    def total_millionths(self) -> int:
        return self.used_millionths + self.idle_millionths


def report(lines: Iterable[Line], by: GroupBy) -> tuple[Entry, ...]:
    """By currency and key. In each currency the entries of any grouping add up to the same, to the millionth."""
    sums: dict[tuple[str, str], list[int]] = {}
    key_of = _KEYS[by]
    for line in lines:
        group = sums.setdefault((line.currency or "", key_of(line.owner) or ""), [0, 0, 0, 0])
        for place, value in enumerate(
            (line.used_units, line.idle_units, line.task_seconds, line.machine_seconds)
        ):
            group[place] += value
    entries: list[Entry] = []
    for currency in sorted({each for each, _ in sums}):
        groups = sorted((key, sums[each, key]) for each, key in sums if each == currency)
        shown = in_millionths(units for _, group in groups for units in group[:2])
        for place, (key, group) in enumerate(groups):
            entries.append(
                Entry(
                    key=key,
                    currency=currency or None,
                    used_millionths=shown[2 * place],
                    idle_millionths=shown[2 * place + 1],
                    task_seconds=group[2],
                    machine_seconds=group[3],
                )
            )
    return tuple(entries)


_KEYS: dict[GroupBy, Callable[[Owner], str | None]] = {
    GroupBy.TOTAL: lambda _: "",
    GroupBy.PROJECT: lambda owner: owner.project_id,
    GroupBy.QUEUE: lambda owner: owner.queue_id,
    GroupBy.JOB: lambda owner: owner.job_id,
    GroupBy.CLUSTER: lambda owner: owner.cluster_id,
    GroupBy.CLAIM: lambda owner: owner.claim_id,
}
