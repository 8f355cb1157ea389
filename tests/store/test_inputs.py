"""Inputs: what is stored comes back whole, who reads what is known, and what is gone is forgotten when nobody did."""

from dataclasses import replace

import pytest

from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AttemptId, CopyId, InputId, ProjectId
from controlplane.domain.inputs import InputState
from controlplane.domain.jobs import JobState
from controlplane.store import Store
from tests import factories
from tests.store.planting import plant

ONE = AttemptId("attempt-1")
READY = factories.kept_input(
    2,
    state=InputState.READY,
    asked_at=factories.after(5),
    used_at=factories.after(6),
    address="ab",
    target="s3://near/crossdock-inputs/ab/",
    size_bytes=7,
    copy_id=CopyId("copy-1"),
    failures=1,
    problem="slow",
)


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=1)
    store.write(lambda tx: tx.copies.add(factories.copy()))
    store.write(lambda tx: tx.attempts.add(factories.attempt(), []))
    store.write(lambda tx: tx.inputs.add(factories.kept_input()))
    store.write(lambda tx: tx.inputs.add(READY))
    return store


def test_an_input_comes_back_whole_and_as_it_was_saved(planted: Store) -> None:
    with planted.read() as tx:
        assert tx.inputs.get(READY.id) == READY
        assert tx.inputs.get(InputId("x")) is None
        assert tx.inputs.unwatched("", 9) == ["input-1"]
        assert tx.inputs.of_target(str(READY.target)) == [READY]
        assert tx.inputs.of_copy(CopyId("copy-1")) == []
    left = replace(READY.move(InputState.LEAVING, at=factories.after(9)), problem=None)
    planted.write(lambda tx: tx.inputs.save(left))

    with planted.read() as tx:
        assert tx.inputs.get(READY.id) == left
        assert tx.inputs.unwatched("input-1", 9) == ["input-2"]
    with pytest.raises(StaleWrite):
        planted.write(lambda tx: tx.inputs.save(left))


def test_the_newest_that_is_new_enough_and_can_be_used_is_found(planted: Store) -> None:
    source = READY.source
    with planted.read() as tx:
        assert tx.inputs.newest(READY.project_id, source, "near", factories.after(0)) == READY
        assert tx.inputs.newest(READY.project_id, source, "near", factories.after(6)) is None
        assert tx.inputs.newest(ProjectId("another"), source, "near", factories.after(0)) is None
        assert tx.inputs.newest(READY.project_id, source, "far", factories.after(0)) is None
    planted.write(lambda tx: tx.inputs.save(READY.move(InputState.LEAVING, at=factories.after(9))))
    with planted.read() as tx:
        assert (
            tx.inputs.newest(READY.project_id, source, "near", factories.after(0)) == factories.kept_input()
        )


def test_readers_are_known_until_their_job_is_over_and_follow_what_takes_its_place(planted: Store) -> None:
    planted.write(lambda tx: tx.inputs.refer(ONE, InputId("input-1")))
    planted.write(lambda tx: tx.inputs.repoint(InputId("input-1"), READY.id))
    with planted.read() as tx:
        assert tx.inputs.of_attempts([ONE, AttemptId("attempt-2")]) == {ONE: [READY]}
        assert tx.inputs.kept() == [(READY, True)]
    over = factories.job().move(JobState.CANCELLED, at=factories.after(1))
    planted.write(lambda tx: tx.jobs.save(over))
    with planted.read() as tx:
        assert tx.inputs.kept() == [(READY, False)]


def test_what_is_gone_is_forgotten_unless_somebody_read_it(planted: Store) -> None:
    gone = factories.kept_input().move(InputState.FAILED, at=factories.after(1))
    planted.write(lambda tx: tx.inputs.save(gone))
    planted.write(lambda tx: tx.inputs.save(gone.move(InputState.GONE, at=factories.after(2))))
    planted.write(lambda tx: tx.inputs.refer(ONE, gone.id))
    assert planted.write(lambda tx: tx.inputs.prune(factories.after(3), 9)) == 0
    planted.write(lambda tx: tx.inputs.repoint(gone.id, READY.id))
    assert planted.write(lambda tx: tx.inputs.prune(factories.after(2), 9)) == 0
    assert planted.write(lambda tx: tx.inputs.prune(factories.after(3), 9)) == 1
