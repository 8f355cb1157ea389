"""The ledger keeps the rules of `domain.quotas` on any tree and any usage."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.ids import QueueId
from controlplane.domain.queues import LARGEST, Cell, Queue, Quota
from controlplane.domain.quotas import QuotaTree, Share
from schedulers.fair.ledger import Ledger

CELLS = [Cell("default", "cpu"), Cell("default", "gpu"), Cell("spot", "gpu")]
amounts = st.one_of(st.integers(0, 12), st.integers(0, LARGEST // 64))
limits = st.one_of(st.none(), amounts)


@st.composite
def trees(draw: st.DrawFn) -> list[Queue]:
    queues = []
    for index in range(draw(st.integers(1, 8))):
        parent = draw(st.one_of(st.none(), st.integers(0, index - 1))) if index else None
        quotas = tuple(
            Quota(cell=cell, nominal=draw(amounts), borrowing=draw(limits), lending=draw(limits))
            for cell in CELLS
            if draw(st.booleans())
        )
        queues.append(
            Queue(
                id=QueueId(f"n{index}"),
                name=f"n{index}",
                parent_id=None if parent is None else QueueId(f"n{parent}"),
                weight_milli=draw(st.sampled_from([0, 500, 1000, 3000])),
                quotas=quotas,
            )
        )
    return queues


loads = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from([0, 1, 2]), st.integers(1, 30), st.booleans()), max_size=12
)


@given(trees(), loads)
def test_the_ledger_and_the_rules_agree(queues: list[Queue], load: list[tuple[int, int, int, bool]]) -> None:
    tree, ledger = QuotaTree.of(queues), Ledger.of(queues, dict.fromkeys(CELLS, 100))
    for index, cell, amount, stays in load:
        node = index % len(queues)
        if CELLS[cell].resource not in ledger.counted[node]:
            continue
        tree.add(queues[node].id, {CELLS[cell]: amount})
        ledger.add(node, {cell: amount})
        if not stays:
            tree.remove(queues[node].id, {CELLS[cell]: amount})
            ledger.remove(node, {cell: amount})
    for node, queue in enumerate(queues):
        if not tree.cells.get(tree.roots[queue.id]):
            continue  # no limits: told below
        for cell, name in enumerate(CELLS):
            if name.resource not in ledger.counted[node]:
                continue
            assert ledger.used[node][cell] == tree.usage(queue.id, name)
            assert ledger.available(node, cell) == tree.available(queue.id, name)
            assert ledger.potential[node][cell] == tree.potential(queue.id, name)
            request = {name: 5}
            assert ledger.fits(node, {cell: 5}) == tree.fits(queue.id, request)
            assert ledger.borrows(node, {cell: 5}) == tree.borrows(queue.id, request)
        assert ledger.share(node) == tree.share(queue.id)
        gpus = {cell: 7 for cell in (1, 2) if "gpu" in ledger.counted[node]}
        assert ledger.share(node, gpus) == tree.share(queue.id, {CELLS[cell]: 7 for cell in gpus})


def test_a_tree_without_quotas_limits_nothing_and_shares_the_fleet() -> None:
    cohort, member = Queue(id=QueueId("c"), name="c"), QueueId("a")
    ledger = Ledger.of([cohort, Queue(id=member, name="a", parent_id=cohort.id)], {CELLS[1]: 10})
    node = ledger.number[member]
    ledger.add(node, {0: 4})
    assert ledger.share(node) == Share(0, 400_000)
    assert ledger.fits(node, {0: 1000})
    assert not ledger.borrows(node, {0: 1000})


def test_a_queue_that_nobody_knows_stands_alone() -> None:
    ledger = Ledger.of([], {CELLS[1]: 10}, [QueueId("new")])
    assert ledger.fits(0, ledger.request(0, "default", [("gpu", 5)], 100))


def test_the_largest_quota_of_many_flavors_can_still_be_shared() -> None:
    cells = [Cell(f"f{number}", "memory") for number in range(16)]
    owner = Queue(
        id=QueueId("top"), name="top", quotas=tuple(Quota(cell=cell, nominal=LARGEST) for cell in cells)
    )
    queues = [owner, Queue(id=QueueId("a"), name="a", parent_id=owner.id)]
    ledger, tree = Ledger.of(queues, {}), QuotaTree.of(queues)
    used = LARGEST // 2
    ledger.add(ledger.number[QueueId("a")], {0: used})
    tree.add(QueueId("a"), {cells[0]: used})
    assert ledger.share(ledger.number[QueueId("a")]) == tree.share(QueueId("a"))
    assert ledger.share(ledger.number[QueueId("a")]).size > 0
