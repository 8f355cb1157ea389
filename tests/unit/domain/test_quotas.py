"""The arithmetic of quota trees: vectors worked out by hand, and laws on trees that are drawn."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.ids import QueueId
from controlplane.domain.queues import LARGEST, Cell, Queue, Quota
from controlplane.domain.quotas import QuotaTree, Share

GPU = Cell("default", "gpu")
CPU = Cell("default", "cpu")
SPOT = Cell("spot", "gpu")


def node(name: str, parent: str | None = None, *quotas: Quota, weight_milli: int = 1000) -> Queue:
    return Queue(
        id=QueueId(name),
        name=name,
        parent_id=QueueId(parent) if parent else None,
        quotas=quotas,
        weight_milli=weight_milli,
    )


def gpus(nominal: int, *, borrow: int | None = None, lend: int | None = None, cell: Cell = GPU) -> Quota:
    return Quota(cell=cell, nominal=nominal, borrowing=borrow, lending=lend)


def tree(*queues: Queue, used: Mapping[str, int] | None = None) -> QuotaTree:
    made = QuotaTree.of(queues)
    for name, amount in (used or {}).items():
        made.add(QueueId(name), {GPU: amount})
    return made


def left(made: QuotaTree, *names: str) -> list[int]:
    return [made.available(QueueId(name), GPU) for name in names]


def most(made: QuotaTree, *names: str) -> list[int]:
    return [made.potential(QueueId(name), GPU) for name in names]


def test_a_queue_of_its_own_has_its_nominal_quota() -> None:
    alone = tree(node("a", None, gpus(10)), used={"a": 4})
    assert (left(alone, "a"), most(alone, "a")) == ([6], [10])


def test_members_share_what_they_and_their_cohort_own() -> None:
    shared = tree(node("c", None, gpus(4)), node("a", "c", gpus(10)), node("b", "c", gpus(6)), used={"a": 12})
    assert left(shared, "a", "b") == [8, 8]
    assert most(shared, "a", "b") == [20, 20]


def test_a_tree_with_a_member_that_lends_nothing() -> None:
    # Kueue's "hierarchical cohort": G1 of the catalogue.
    made = tree(
        node("root"),
        node("left", "root", gpus(10)),
        node("q1", "left", gpus(10)),
        node("right", "root", gpus(10)),
        node("q2", "right", gpus(10, lend=0)),
        used={"q1": 10, "q2": 5},
    )
    assert left(made, "q1", "q2") == [20, 25]
    assert most(made, "q1", "q2") == [30, 40]


def test_borrowing_limits_hold_on_every_level() -> None:
    # Kueue's "hierarchical borrowing limit": G2 of the catalogue.
    made = tree(
        node("root"),
        node("left", "root", gpus(10, borrow=5)),
        node("l1", "left", gpus(10)),
        node("l2", "left", gpus(10, borrow=5)),
        node("right", "root", gpus(10)),
        node("r1", "right", gpus(10)),
    )
    assert most(made, "l1", "l2", "r1") == [35, 15, 50]


def test_what_is_cut_below_its_usage_is_negative_and_takes_from_the_others() -> None:
    made = tree(node("c"), node("a", "c", gpus(2)), node("b", "c", gpus(4)), used={"a": 9})
    assert left(made, "a", "b") == [-3, -3]


def test_what_is_guaranteed_stays_when_the_cohort_is_overdrawn() -> None:
    made = tree(node("c"), node("a", "c", gpus(10, lend=4)), node("b", "c", gpus(2)), used={"b": 6})
    assert left(made, "a", "b") == [6, 0]


@pytest.mark.parametrize(("weight_milli", "size"), [(1000, 200_000), (2000, 100_000), (500, 400_000)])
def test_the_share_is_what_is_borrowed_over_what_can_be_lent(weight_milli: int, size: int) -> None:
    # G3 of the catalogue: 7 used of nominal 5, 10 to lend.
    made = tree(node("c", None, gpus(5)), node("a", "c", gpus(5), weight_milli=weight_milli), used={"a": 7})
    assert made.share(QueueId("a")) == Share(0, size)


def test_a_borrower_without_weight_comes_after_everybody() -> None:
    made = tree(
        node("c", None, gpus(10)), node("a", "c", weight_milli=0), node("b", "c"), used={"a": 1, "b": 9}
    )
    assert made.share(QueueId("a")) > made.share(QueueId("b"))
    assert made.share(QueueId("c")) == Share(0, 0)


def test_flavors_of_one_amount_are_added_up_and_the_largest_amount_counts() -> None:
    made = QuotaTree.of(
        [node("c", None, gpus(10), gpus(10, cell=SPOT), gpus(100, cell=CPU)), node("a", "c"), node("b", "c")]
    )
    made.add(QueueId("a"), {GPU: 4, SPOT: 2, CPU: 10})
    assert made.share(QueueId("a")) == Share(0, 300_000)
    assert made.share(QueueId("a"), {CPU: 40}) == Share(0, 500_000)


def test_an_amount_that_nobody_counts_is_free_and_a_flavor_left_out_gives_none() -> None:
    made = tree(node("a", None, gpus(4)))
    assert not made.counts(QueueId("a"), "cpu")
    assert made.counts(QueueId("a"), "gpu")
    assert made.available(QueueId("a"), SPOT) == 0
    assert made.fits(QueueId("nobody knows"), {GPU: 10**9})


def test_the_node_that_limits_is_named() -> None:
    made = tree(
        node("root", None, gpus(3)),
        node("mid", "root", gpus(2, borrow=1)),
        node("a", "mid", gpus(1, borrow=4)),
        node("b", "mid", gpus(1)),
    )
    assert _shortage(made, "b", 6) == ("mid", "borrowing", 5, 6)
    assert _shortage(made, "a", 6) == (
        "mid",
        "borrowing",
        5,
        6,
    )  # its own limit is met as well, and named next
    assert _shortage(made, "a", 5) is None
    made.add(QueueId("b"), {GPU: 2})
    made.add(QueueId("root"), {GPU: 3})
    assert _shortage(made, "b", 3) == ("root", "nominal", 2, 3)


def _shortage(made: QuotaTree, name: str, amount: int) -> tuple[str, str, int, int] | None:
    short = made.shortage(QueueId(name), {GPU: amount})
    return None if short is None else (short.queue_id, short.limit, short.has, short.needs)


amounts = st.one_of(st.integers(0, 20), st.integers(0, LARGEST // 64))
limits = st.one_of(st.none(), amounts)


@st.composite
def trees(draw: st.DrawFn) -> list[Queue]:
    """Up to nine nodes in any shape, two cells."""
    size = draw(st.integers(1, 9))
    queues: list[Queue] = []
    for index in range(size):
        parent = draw(st.one_of(st.none(), st.integers(0, index - 1))) if index else None
        quotas = [
            Quota(cell=cell, nominal=draw(amounts), borrowing=draw(limits), lending=draw(limits))
            for cell in (GPU, CPU)
            if draw(st.booleans())
        ]
        queues.append(node(f"n{index}", None if parent is None else f"n{parent}", *quotas))
    return queues


moves = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([GPU, CPU]), st.integers(1, 30)), max_size=12)


@given(trees(), moves)
def test_usage_that_is_added_and_removed_leaves_no_trace(
    queues: list[Queue], load: list[tuple[int, Cell, int]]
) -> None:
    made = QuotaTree.of(queues)
    booked = [(queues[index % len(queues)].id, {cell: amount}) for index, cell, amount in load]
    for queue_id, request in booked:
        made.add(queue_id, request)
    before = dict(made.used)
    for queue_id, request in booked[::2]:
        made.remove(queue_id, request)
    for queue_id, request in booked[::2]:
        made.add(queue_id, request)
    assert made.used == before
    for queue_id, request in booked:
        made.remove(queue_id, request)
    assert made.used == {}


@given(trees(), moves)
def test_usage_that_came_in_steps_is_usage_that_is_added_up(
    queues: list[Queue], load: list[tuple[int, Cell, int]]
) -> None:
    made = QuotaTree.of(queues)
    own: dict[tuple[QueueId, Cell], int] = {}
    for index, cell, amount in load:
        queue_id = queues[index % len(queues)].id
        made.add(queue_id, {cell: amount})
        own[queue_id, cell] = own.get((queue_id, cell), 0) + amount
    for queue in reversed(queues):  # children stand behind their parents
        for cell in (GPU, CPU):
            below = [child.id for child in queues if child.parent_id == queue.id]
            passed_on = sum(max(0, made.usage(id_, cell) - made.guaranteed(id_, cell)) for id_ in below)
            assert made.usage(queue.id, cell) == own.get((queue.id, cell), 0) + passed_on


@given(trees(), moves, st.integers(1, 40))
def test_what_fits_keeps_every_node_that_was_within_its_limits_within_them(
    queues: list[Queue], load: list[tuple[int, Cell, int]], amount: int
) -> None:
    made = QuotaTree.of(queues)
    for index, cell, size in load:
        queue_id = queues[index % len(queues)].id
        if made.fits(queue_id, {cell: size}):
            made.add(queue_id, {cell: size})
    for queue in queues:
        assert made.available(queue.id, GPU) <= made.potential(queue.id, GPU)
        assert made.available(queue.id, GPU) >= 0
        short = made.shortage(queue.id, {GPU: amount})
        assert (short is None) == (made.available(queue.id, GPU) >= amount)
        assert short is None or short.has < short.needs


@given(trees(), st.integers(0, 10))
def test_a_larger_quota_makes_nothing_smaller(queues: list[Queue], more: int) -> None:
    made = QuotaTree.of(queues)
    for index, queue in enumerate(queues):
        for place, quota in enumerate(queue.quotas):
            richer = replace(quota, nominal=quota.nominal + more)
            grown = replace(queue, quotas=(*queue.quotas[:place], richer, *queue.quotas[place + 1 :]))
            other = QuotaTree.of([*queues[:index], grown, *queues[index + 1 :]])
            for each in queues:
                assert other.potential(each.id, quota.cell) >= made.potential(each.id, quota.cell)
