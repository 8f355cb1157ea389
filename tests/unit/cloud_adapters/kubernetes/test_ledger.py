"""The books of a cluster follow lists and changes, and always equal a fresh count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_adapters.base import Amounts
from cloud_adapters.kubernetes.ledger import Ledger
from cloud_adapters.kubernetes.settings import Settings
from tests.unit.cloud_adapters.kubernetes.things import container, node, pod

NODES = ("a", "b", "c")
changes = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop"]),
        st.sampled_from(["p1", "p2", "p3", "p4"]),
        st.sampled_from([*NODES, None]),
        st.integers(0, 3),
        st.sampled_from(["Running", "Failed"]),
    ),
    max_size=30,
)


@given(changes)
def test_any_history_of_changes_ends_like_a_list_of_what_is_left(
    history: list[tuple[str, str, str | None, int, str]],
) -> None:
    followed, left = Ledger(Settings(), "c"), {}
    followed.nodes.replace([node(name) for name in NODES])
    for verb, uid, node_name, cpu, phase in history:
        thing = pod(uid, node_name, container(cpu=str(cpu)), phase=phase)
        if verb == "put":
            left[uid] = thing
            followed.pods.put(thing)
        else:
            left.pop(uid, None)
            followed.pods.drop(thing)
        followed.machines()  # what was added up before must not stay
    counted = Ledger(Settings(), "c")
    counted.nodes.replace([node(name) for name in NODES])
    counted.pods.replace(left.values())
    assert followed.machines() == counted.machines()


def test_pods_may_be_seen_before_their_node() -> None:
    ledger = Ledger(Settings(), "c")
    ledger.pods.put(pod("p", "late", container(cpu="2")))
    ledger.nodes.put(node("late"))
    assert [machine.used for machine in ledger.machines()] == [Amounts(cpu_milli=2000)]


def test_a_node_that_comes_back_has_the_pods_that_are_still_on_it() -> None:
    ledger = Ledger(Settings(), "c")
    ledger.nodes.put(node("n"))
    ledger.pods.put(pod("p", "n", container(cpu="2")))
    ledger.nodes.drop(node("n"))
    assert ledger.machines() == ()
    ledger.nodes.put(node("n"))
    assert ledger.machines()[0].used == Amounts(cpu_milli=2000)


def test_a_node_that_loses_its_label_is_not_lent_any_more() -> None:
    ledger = Ledger(Settings(node_selector=(("pool", "gpu"),)), "c")
    ledger.nodes.put(node("n", labels={"pool": "gpu"}))
    assert len(ledger.machines()) == 1
    ledger.nodes.put(node("n"))
    assert ledger.machines() == ()


def test_a_list_that_breaks_off_changes_nothing() -> None:
    ledger = Ledger(Settings(), "c")
    ledger.nodes.replace([node("n")])
    before = ledger.machines()
    try:
        ledger.nodes.replace(thing for thing in [node("m"), {}])
    except KeyError:
        assert ledger.machines() == before
    else:
        raise AssertionError


@pytest.mark.parametrize(
    ("cluster", "member", "ours"),
    [("c", "n0", 2000), ("c", "head", 0), ("c", None, 0), ("another", "n0", 0), (None, "n0", 0)],
)
def test_what_members_of_the_cluster_hold_is_ours_from_the_start(
    cluster: str | None, member: str | None, ours: int
) -> None:
    ledger = Ledger(Settings(), "c")
    ledger.nodes.put(node("n"))
    labels = {"crossdock.io/cluster": cluster, "crossdock.io/member": member}
    begun = pod("p", "n", container(cpu="2"), phase="Pending")
    begun["metadata"]["labels"] = {name: value for name, value in labels.items() if value is not None}
    ledger.pods.put(begun)
    ledger.pods.put(pod("q", "n", container(cpu="1")))
    (machine,) = ledger.machines()
    assert (machine.used, machine.ours) == (Amounts(cpu_milli=3000), Amounts(cpu_milli=ours))
    ledger.pods.drop(begun)
    assert ledger.machines()[0].ours == Amounts()
