"""Trees that cannot be are refused with the limiting number; trees that surprise are explained."""

from dataclasses import replace
from typing import Final

import pytest

from controlplane.domain.errors import Invalid
from controlplane.domain.ids import QueueId
from controlplane.domain.queues import DEEPEST, LARGEST, Cell, Queue, Quota, check_tree
from controlplane.domain.quota_lint import surprises

GPU: Final = Cell("default", "gpu")
KNOWN: Final = frozenset({"default", "spot"})


def node(name: str, parent: str | None = None, *quotas: Quota) -> Queue:
    return Queue(id=QueueId(name), name=name, parent_id=QueueId(parent) if parent else None, quotas=quotas)


def refusal(*queues: Queue) -> str:
    with pytest.raises(Invalid) as refused:
        check_tree(queues, flavors=KNOWN)
    return refused.value.message


def codes(*queues: Queue, there: int = 100) -> list[tuple[str, str]]:
    check_tree(queues, flavors=KNOWN)
    return [(each.queue_id, each.code) for each in surprises(queues, {GPU: there})]


def test_a_cohort_cannot_stand_below_its_own_member() -> None:
    assert refusal(node("a", "c"), node("c", "a")) == "queue 'a' is its own ancestor: a -> c -> a"
    assert refusal(node("a", "a")) == "queue 'a' is its own ancestor: a -> a"


def test_a_parent_has_to_exist() -> None:
    assert refusal(node("a", "nobody")) == "queue 'a': there is no cohort nobody"


def test_a_tree_is_not_deeper_than_the_limit() -> None:
    chain = [node("n0"), *(node(f"n{i}", f"n{i - 1}") for i in range(1, DEEPEST + 1))]
    assert refusal(*chain) == f"queue 'n{DEEPEST}' stands on level {DEEPEST + 1}; the limit is {DEEPEST}"


@pytest.mark.parametrize(
    ("quota", "sentence"),
    [
        (Quota(cell=GPU, nominal=-1), f"nominal -1 is not within 0..{LARGEST}"),
        (Quota(cell=GPU, nominal=LARGEST + 1), f"nominal {LARGEST + 1} is not within 0..{LARGEST}"),
        (Quota(cell=GPU, nominal=1, lending=2), "lends 2, more than its nominal 1"),
        (Quota(cell=GPU, borrowing=1), "a borrowing limit needs a cohort to borrow from"),
    ],
)
def test_limits_that_make_no_sense_are_named(quota: Quota, sentence: str) -> None:
    assert refusal(node("a", None, quota)) == f"queue 'a', gpu of 'default': {sentence}"


def test_quotas_of_many_queues_do_not_overflow_together() -> None:
    half = Quota(cell=GPU, nominal=LARGEST // 2 + 1)
    assert "add up to" in refusal(node("a", None, half), node("b", None, half))


def test_a_quota_of_an_unknown_flavor_and_two_for_one_cell_are_refused() -> None:
    assert "unknown flavor" in refusal(node("a", None, Quota(cell=Cell("gold", "gpu"))))
    assert "two quotas for one cell" in refusal(node("a", None, Quota(cell=GPU), Quota(cell=GPU)))
    assert "unknown flavors ['gold']" in refusal(replace(node("a"), flavors=("gold",)))


def test_weights_are_within_bounds() -> None:
    assert "weight -1 thousandths" in refusal(replace(node("a"), weight_milli=-1))


def test_a_plain_tree_surprises_nobody() -> None:
    ten = Quota(cell=GPU, nominal=10)
    assert codes(node("c"), node("a", "c", ten), node("b", "c", ten)) == []


def test_what_is_hardly_meant_is_explained() -> None:
    ten = Quota(cell=GPU, nominal=10)
    assert codes(node("c", None, ten), node("a", "c")) == [("c", "cohort_quota_adds"), ("c", "cohort_of_one")]
    keeps = Quota(cell=GPU, nominal=10, lending=0)
    poor = Quota(cell=GPU, nominal=0, borrowing=0)
    assert codes(node("c"), node("a", "c", keeps), node("b", "c", poor)) == [
        ("a", "lends_nothing"),
        ("b", "can_never_admit"),
    ]
    wide = Quota(cell=GPU, nominal=1, borrowing=50)
    spotty = replace(node("b", "c", ten), flavors=("spot",), weight_milli=0)
    assert codes(node("c"), node("a", "c", wide), spotty, there=5) == [
        ("a", "borrowing_beyond_reach"),
        ("b", "flavor_without_quota"),
        ("b", "weight_zero"),
        ("c", "more_than_there_is"),
    ]
