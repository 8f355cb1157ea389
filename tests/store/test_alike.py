"""Updates of many rows: what is the same in all of them goes along once, and each row is saved as it was meant."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.domain.jobs import Job, JobState
from controlplane.store import Store
from controlplane.store.attempts import _MOVES as ATTEMPT_MOVES
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


def test_what_rows_are_found_by_stays_in_the_rows() -> None:
    items = [{"noun": "job", "id": str(number), "token": 1, "next_at": None} for number in NUMBERS]

    _, constants, rows = _SETTLE.over_json(items)

    assert sorted(rows[0]) == ["id", "noun", "token"]
    assert constants["next_at"] is None


def test_texts_are_made_once() -> None:
    columns = ATTEMPT_MOVES._save._binds("postgresql")
    many = [dict.fromkeys(columns, 1) | {"id": str(number)} for number in NUMBERS]

    texts = [ATTEMPT_MOVES._save.over_json(many)[0] for _ in range(2)]
    numbered = ATTEMPT_MOVES._save.numbered()

    assert texts[0] is texts[1]
    assert numbered is not None
    assert numbered.text(4) is numbered.text(4)


@pytest.mark.parametrize("count", [2, 3, 63, 64, 65, 130])
def test_any_number_of_rows_is_written_whole_and_once(store: Store, count: int) -> None:
    plant(store, jobs=count)
    with store.read() as tx:
        jobs = tx.jobs.many(tx.audits.job_ids(None, count))
        before = tx.events.head()
    saved = [
        replace(job.move(JobState.CANCELLED, at=factories.after(number)), reason=f"it is number {number}")
        for number, job in enumerate(jobs)
    ]

    store.write(lambda tx: tx.jobs.save_many(saved))

    with store.read() as tx:
        assert tx.jobs.many([job.id for job in jobs]) == saved
        told, _ = tx.events.subjects_after(before, 2 * count)
    assert told == [("job.cancelled", job.id) for job in saved]
