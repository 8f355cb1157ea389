"""Updates of many rows: what is the same in all of them goes along once, and each row is saved as it was meant."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.domain.jobs import Job, JobState
from controlplane.store import Store
from controlplane.store.attempts import _MOVES as ATTEMPT_MOVES
from controlplane.store.statements import DIALECTS
from controlplane.store.work import _SETTLE
from tests import factories
from tests.store.planting import plant

NUMBERS = (1, 2, 3)
CHANGES: dict[str, Callable[[Job, int], Job]] = {
    "all alike": lambda job, _: replace(job, priority=7, reason="alike"),
    "each its own": lambda job, number: replace(job, priority=number, reason=f"of {number}"),
    "one without": lambda job, number: replace(job, reason=None if number == 1 else "of the others"),
    "none with any": lambda job, _: replace(job, reason=None, max_runtime_seconds=1.5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_row_is_saved_as_it_was_meant(store: Store, change: Callable[[Job, int], Job]) -> None:
    plant(store, jobs=4)
    with store.read() as tx:
        found = tx.jobs.many([factories.job(number).id for number in (*NUMBERS, 4)])
    *jobs, other = found
    saved = [
        change(job.move(JobState.CANCELLED, at=factories.after(number)), number)
        for number, job in zip(NUMBERS, jobs, strict=True)
    ]

    store.write(lambda tx: tx.jobs.save_many(saved))

    with store.read() as tx:
        assert tx.jobs.many([job.id for job in found]) == [*saved, other]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_rows_are_found_by_stays_in_the_rows(dialect: str) -> None:
    items = [{"noun": "job", "id": str(number), "token": 1, "next_at": None} for number in NUMBERS]

    narrowed, rows = _SETTLE.narrowed(dialect, items)

    assert sorted(rows[0]) == ["id", "noun", "token"]
    assert narrowed.over_many(dialect).constants["next_at"] is None


def test_texts_are_made_once() -> None:
    columns = ATTEMPT_MOVES._save.over_many("sqlite").columns
    many = [dict.fromkeys(columns, 1) | {"id": str(number)} for number in NUMBERS]

    texts = [ATTEMPT_MOVES._save.narrowed("sqlite", many)[0].over_many("sqlite").text for _ in range(2)]

    assert texts[0] is texts[1]
