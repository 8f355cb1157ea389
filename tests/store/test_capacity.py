"""Clusters and nodes: what is stored comes back whole, and what matters for placing is told."""

from dataclasses import replace

import pytest

from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import ClusterState
from controlplane.domain.ids import ClusterId, NodeId, SecretId
from controlplane.store import Store, Tx
from tests import factories
from tests.store.planting import plant

RICH_CLUSTER = factories.cluster(
    7,
    state=ClusterState.DRAINING,
    secret_id=SecretId("secret-1"),
    gpu_resource="logical_gpu",
    trust_domain="project-1",
    settings=(("a", "1"), ("b", "ü")),
    cordoned_at=factories.after(1),
    drain_requested_at=factories.after(2),
    detach_requested_at=factories.after(3),
    problem="it did not answer for 30 s",
    warnings=("may not list pods", 'darf keine "events" lesen'),
)
RICH_NODE = factories.node(
    7,
    allocatable=Amounts(cpu_milli=1, memory_bytes=2, gpu_milli=3, custom_milli=(("fpga", 4),)),
    foreign=Amounts(cpu_milli=1, custom_milli=(("fpga", 1),)),
    accelerator="a100-80g",
    labels=(("rack", "7"), ("zone", "a")),
    cordoned_at=factories.after(1),
)


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store)
    return store


def kinds_since(store: Store, cursor: str) -> list[tuple[str, str]]:
    with store.read() as tx:
        rows, _ = tx.events.after(cursor, 100)
    return [(event.kind, event.subject) for _, event in rows]


def test_a_cluster_comes_back_whole(planted: Store) -> None:
    planted.write(lambda tx: tx.clusters.add(RICH_CLUSTER))

    with planted.read() as tx:
        assert tx.clusters.get(RICH_CLUSTER.id) == RICH_CLUSTER == tx.clusters.by_name("cluster-7")
        assert tx.clusters.get(ClusterId("x")) is None
        assert tx.clusters.by_name("x") is None


def test_a_saved_cluster_comes_back_as_it_was_saved(planted: Store) -> None:
    changed = replace(RICH_CLUSTER, id=ClusterId("cluster-1"), name="cluster-1", version=3, came_from="ready")
    planted.write(lambda tx: tx.clusters.save(changed))

    with planted.read() as tx:
        assert tx.clusters.get(ClusterId("cluster-1")) == changed


def test_a_detached_cluster_leaves_the_list_and_its_name(planted: Store) -> None:
    gone = replace(factories.cluster(), version=3).move(ClusterState.DRAINING, at=factories.NOON)
    planted.write(lambda tx: tx.clusters.save(replace(gone, version=3)))
    planted.write(
        lambda tx: tx.clusters.save(replace(gone, version=3).move(ClusterState.DETACHED, at=factories.NOON))
    )

    with planted.read() as tx:
        assert tx.clusters.list() == []
        assert tx.clusters.by_name("cluster-1") is None
        assert tx.clusters.get(ClusterId("cluster-1")) is not None
    planted.write(lambda tx: tx.clusters.add(factories.cluster(2, name="cluster-1")))


def test_clusters_are_listed_by_name_in_pages(planted: Store) -> None:
    for number in (3, 2, 4):
        planted.write(lambda tx, n=number: tx.clusters.add(factories.cluster(n)))  # type: ignore[misc]

    with planted.read() as tx:
        assert [cluster.name for cluster in tx.clusters.list()] == [f"cluster-{n}" for n in (1, 2, 3, 4)]
        assert [cluster.name for cluster in tx.clusters.list("cluster-1", 2)] == ["cluster-2", "cluster-3"]


def test_a_node_comes_back_whole(planted: Store) -> None:
    planted.write(lambda tx: tx.nodes.put(RICH_NODE))

    with planted.read() as tx:
        assert tx.nodes.get(RICH_NODE.id) == RICH_NODE
        assert tx.nodes.get(NodeId("x")) is None
        assert tx.nodes.by_ids([RICH_NODE.id, NodeId("x")]) == {RICH_NODE.id: RICH_NODE}


def test_a_node_is_replaced_by_what_was_seen_last(planted: Store) -> None:
    seen_again = replace(RICH_NODE, id=NodeId("node-1"), name="other", gone_at=factories.after(9))
    planted.write(lambda tx: tx.nodes.put(seen_again))

    with planted.read() as tx:
        assert tx.nodes.get(NodeId("node-1")) == seen_again
        assert tx.nodes.present() == []


def test_only_what_matters_for_placing_is_told(planted: Store) -> None:
    node = factories.node()
    steps = [
        (replace(node, seen_at=factories.after(1), labels=(("a", "b"),), host="h"), None),
        (replace(node, foreign=Amounts(cpu_milli=5)), "node.changed"),
        (replace(node, foreign=Amounts(cpu_milli=5), cordoned_at=factories.after(2)), "node.changed"),
        (replace(node, foreign=Amounts(cpu_milli=5), cordoned_at=factories.after(3)), None),
        (node, "node.changed"),
        (replace(node, allocatable=Amounts()), "node.changed"),
        (replace(node, accelerator="a100"), "node.changed"),
        (replace(node, gone_at=factories.after(4)), "node.gone"),
        (replace(node, gone_at=factories.after(5)), None),
        (node, "node.appeared"),
        (factories.node(2), "node.appeared"),
    ]
    for step, kind in steps:
        with planted.read() as tx:
            head = tx.events.head()
        planted.write(lambda tx, step=step: tx.nodes.put(step))  # type: ignore[misc]
        assert kinds_since(planted, head) == ([] if kind is None else [(kind, step.id)])


def test_nodes_of_a_cluster_in_pages(planted: Store) -> None:
    planted.write(lambda tx: tx.clusters.add(factories.cluster(2)))
    for node in (
        factories.node(2),
        factories.node(3, cluster_id=ClusterId("cluster-2")),
        factories.node(4, gone_at=factories.NOON),
    ):
        planted.write(lambda tx, node=node: tx.nodes.put(node))  # type: ignore[misc]
    one = ClusterId("cluster-1")

    with planted.read() as tx:
        assert [node.id for node in tx.nodes.present()] == ["node-1", "node-2", "node-3"]
        assert [node.id for node in tx.nodes.present(one)] == ["node-1", "node-2"]
        assert [node.id for node in tx.nodes.list(None, None, 2)] == ["node-1", "node-2"]
        assert [node.id for node in tx.nodes.list(None, NodeId("node-2"), 2)] == ["node-3"]
        assert [node.id for node in tx.nodes.list(one, NodeId("node-1"), 2)] == ["node-2"]


def test_the_name_of_a_node_that_is_gone_is_free(planted: Store) -> None:
    planted.write(lambda tx: tx.nodes.put(factories.node(1, gone_at=factories.NOON)))
    planted.write(lambda tx: tx.nodes.put(factories.node(2, name="ray-node-1")))

    with planted.read() as tx:
        assert [node.id for node in tx.nodes.present()] == ["node-2"]


def test_nodes_are_found_by_a_label_exactly(planted: Store) -> None:
    here = factories.cluster().id
    labels = {
        2: (("crossdock.io/claim", "claim_1"),),
        3: (("crossdock.io/claim", "claimx1"),),
        4: (("crossdock.io/claim", "claim_12"), ("zone", "claim_1")),
    }

    def unit(tx: Tx) -> None:
        for number, pairs in labels.items():
            tx.nodes.put(factories.node(number, labels=pairs))
        tx.nodes.put(factories.node(5, labels=labels[2], gone_at=factories.NOON))

    planted.write(unit)
    with planted.read() as tx:
        found = tx.nodes.labelled(here, "crossdock.io/claim", "claim_1")
        assert [node.id for node in found] == ["node-2"]
        assert tx.nodes.labelled(ClusterId("cluster-2"), "crossdock.io/claim", "claim_1") == []
