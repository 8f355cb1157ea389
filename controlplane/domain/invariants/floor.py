"""What must hold of clusters, of their nodes, and of leases."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from controlplane.domain.amounts import Amounts
from controlplane.domain.clusters import CLUSTER, Cluster
from controlplane.domain.events import Event
from controlplane.domain.ids import ClusterId
from controlplane.domain.invariants.books import Floor
from controlplane.domain.invariants.breaches import Breach, Rule
from controlplane.domain.invariants.walks import walk
from controlplane.domain.leases import Lease, LeaseState


def of_floor(floor: Floor) -> Iterator[Breach]:
    for node_id, booked in sorted(floor.booked.items()):
        node = floor.nodes.get(node_id)
        if node is not None and not booked.fits_in(node.allocatable):
            sentence = f"{words(booked)} are booked on it, but it has {words(node.allocatable)}"
            yield Breach(rule=Rule.NODE_OVER_LIMIT, subject=node_id, sentence=sentence)


def of_leases(leases: Sequence[Lease]) -> Iterator[Breach]:
    """All rows of the table, ended ones included."""
    by_name: dict[str, list[Lease]] = {}
    for lease in sorted(leases, key=lambda each: (each.name, each.token)):
        by_name.setdefault(lease.name, []).append(lease)
    for name, rows in by_name.items():
        tokens = [lease.token for lease in rows]
        if len(set(tokens)) != len(tokens):
            yield Breach(rule=Rule.TOKENS_GROW, subject=name, sentence=f"a token was given twice: {tokens}")
        held = [lease.token for lease in rows if lease.state is LeaseState.HELD]
        if held not in ([], tokens[-1:]):
            sentence = f"tokens {held} are held; only the newest, {tokens[-1]}, may be"
            yield Breach(rule=Rule.ONE_HOLDER, subject=name, sentence=sentence)


def of_cluster(
    cluster: Cluster, events: Sequence[Event], *, born_at: datetime | None = None
) -> Iterator[Breach]:
    """With `born_at` the events go back to its birth."""
    yield from walk(CLUSTER, cluster, events, born_at=born_at)


def of_placings(events: Sequence[Event], before: Mapping[ClusterId, str]) -> Iterator[Breach]:
    """Whether each placing of a stretch of the feed went to a cluster that was ready at that moment.

    `before`: the states of the clusters where the stretch begins. Holds where writers queue up: elsewhere a placing
    and a change of its cluster may be under way at once, and the feed's order says nothing about the two.
    """
    states = dict(before)
    for event in events:
        if event.kind.startswith("cluster.") and "from" in event.data:
            states[ClusterId(event.subject)] = event.kind.removeprefix("cluster.")
        if event.kind == "attempt.placed":
            cluster_id = ClusterId(str(event.data.get("cluster_id")))
            if states.get(cluster_id) != "ready":
                sentence = f"was placed on cluster {cluster_id}, which was {states.get(cluster_id)}"
                yield Breach(rule=Rule.CLUSTER_NOT_READY, subject=event.subject, sentence=sentence)


def words(amounts: Amounts) -> str:
    return ", ".join(f"{name} {value}" for name, value in amounts.named()) or "nothing"
