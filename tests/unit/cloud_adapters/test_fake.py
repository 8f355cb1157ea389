"""The fake has the vices that it claims, one at a time."""

import pytest

from cloud_adapters.base import ClusterRef, Throttled, Transient
from cloud_adapters.fake import FakeCapacity, machine

LAB = ClusterRef(id="lab", name="lab", endpoint=None)


@pytest.fixture
def fake() -> FakeCapacity:
    return FakeCapacity()


def names(fake: FakeCapacity) -> list[str]:
    return [each.name for each in fake.inventory(LAB, deadline=1).machines]


def test_a_lagging_list_shows_what_was_before_the_last_change(fake: FakeCapacity) -> None:
    fake.at("lab").machines = (machine("new"),)
    fake.at("lab").lags_by = 1
    assert names(fake) == ["node-1", "node-2"]
    fake.at("lab").lags_by = 0
    assert names(fake) == ["new"]


def test_an_incomplete_list_says_so(fake: FakeCapacity) -> None:
    fake.at("lab").is_incomplete = True
    seen = fake.inventory(LAB, deadline=1)
    assert ([each.name for each in seen.machines], seen.complete) == (["node-1"], False)


def test_a_lost_answer_comes_after_the_deed(fake: FakeCapacity) -> None:
    fake.at("lab").is_running = False
    fake.at("lab").lost_answers = 1
    with pytest.raises(Transient):
        fake.boot(LAB, deadline=1)
    fake.boot(LAB, deadline=1)
    assert fake.at("lab").boots == 1


def test_throttling_says_for_how_long(fake: FakeCapacity) -> None:
    fake.at("lab").throttled_seconds = 3.0
    with pytest.raises(Throttled) as refused:
        fake.inventory(LAB, deadline=1)
    assert refused.value.retry_after_seconds == 3.0


def test_an_unreachable_cluster_is_not_changed_by_calls(fake: FakeCapacity) -> None:
    fake.at("lab").is_unreachable = True
    with pytest.raises(Transient):
        fake.shut_down(LAB, deadline=1)
    fake.at("lab").is_unreachable = False
    assert names(fake) == ["node-1", "node-2"]


def test_a_slow_boot_is_found_still_starting(fake: FakeCapacity) -> None:
    fake.at("lab").is_running = False
    fake.at("lab").boots_after = 1
    with pytest.raises(Transient, match="still starting"):
        fake.boot(LAB, deadline=1)
    assert fake.boot(LAB, deadline=1) == fake.at("lab").endpoint


def test_a_restart_is_another_session_with_the_same_machines(fake: FakeCapacity) -> None:
    before = fake.inventory(LAB, deadline=1)
    fake.at("lab").restart()
    after = fake.inventory(LAB, deadline=1)
    assert before.session != after.session
    assert before.machines == after.machines


def test_calls_are_remembered_in_order(fake: FakeCapacity) -> None:
    fake.boot(LAB, deadline=1)
    fake.shut_down(LAB, deadline=1)
    assert fake.calls == [("boot", "lab"), ("shut_down", "lab")]
