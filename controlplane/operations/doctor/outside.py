"""The world outside: what runs on each cluster, which nodes and machines there are. Nothing is changed there.

Answers and rows are never of one moment. So the side that something is missing from is read second, and the caller
looks twice and believes only what lasts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cloud_adapters.base import ClusterRef, Hosts, PluginError, Sells, Transient
from controlplane.domain import invariants
from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.claims import ClaimState
from controlplane.domain.clusters import Cluster, Endpoint
from controlplane.domain.ids import AttemptId, ClaimId
from controlplane.domain.invariants import Breach, Ran
from controlplane.executors.base import Lists, Observation, Phase
from controlplane.operations.context import Context
from controlplane.operations.doctor.reports import Ports, Unseen
from controlplane.operations.endpoints import endpoint_of
from controlplane.operations.explain import scheduler_is_away
from controlplane.reconcilers.orphans import GRACE_LAGS, LOOK_EVERY
from controlplane.store import Tx

ASK_SECONDS: Final = 10.0
LIST_SECONDS: Final = 30.0
THERE: Final = frozenset({Phase.PENDING, Phase.RUNNING, Phase.EXITED})
"""An executor that knows how it ended has its evidence still to tell; that is not a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    breaches: tuple[Breach, ...]
    unseen: tuple[Unseen, ...]
    asleep: tuple[str, ...]
    """Names of clusters that end with the server, which does not run."""

    clusters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """One cluster, and how it is dialled."""

    cluster: Cluster
    endpoint: Endpoint
    ref: ClusterRef
    is_followed: bool
    """Whether loops run that keep its rows up to date."""


def look(context: Context, ports: Ports) -> Outside:
    with context.store.read() as tx:
        clusters, is_followed = tx.clusters.list(), not scheduler_is_away(tx)
    breaches: list[Breach] = []
    unseen: list[Unseen] = []
    asleep: list[str] = []
    for cluster in clusters:
        try:
            breaches += _look_at(context, ports, cluster, is_followed=is_followed)
        except PluginError as problem:
            if isinstance(ports.adapters.get(cluster.adapter), Hosts) and not is_followed:
                asleep.append(cluster.name)
            else:
                unseen.append(Unseen(subject=cluster.name, sentence=problem.message))
    return Outside(
        breaches=tuple(breaches),
        unseen=tuple(unseen),
        asleep=tuple(asleep),
        clusters=len(clusters) - len(unseen) - len(asleep),
    )


def _look_at(context: Context, ports: Ports, cluster: Cluster, *, is_followed: bool) -> Iterator[Breach]:
    if cluster.adapter not in ports.adapters:
        raise Transient(f"the plugin {cluster.adapter!r} is not installed or does not load")
    endpoint = endpoint_of(context, cluster)
    if endpoint is None:
        raise Transient("nobody has said yet where it listens")
    ref = ClusterRef(id=cluster.id, name=cluster.name, endpoint=endpoint, settings=cluster.settings)
    place = _Place(cluster=cluster, endpoint=endpoint, ref=ref, is_followed=is_followed)
    for part in (_processes, _silence, _nodes, _machines):
        yield from part(context, ports, place)


def _processes(context: Context, ports: Ports, place: _Place) -> list[Breach]:
    """Those of attempts that have ended, or that nobody knows."""
    if not isinstance(ports.executor, Lists):
        return []
    listed = ports.executor.listed(place.endpoint, deadline=ASK_SECONDS)
    settings = context.settings
    # By then the task has heard that it is over, or its lease has ended.
    last_words = timedelta(seconds=settings.lease_seconds + settings.clock_skew_seconds)
    with context.store.read() as tx:
        known, ended_before = tx.attempts.many(listed), tx.now - last_words
    return list(invariants.of_processes(listed, known, cluster=place.cluster, ended_before=ended_before))


def _silence(context: Context, ports: Ports, place: _Place) -> list[Breach]:
    """Running attempts that the executor has not, and that have not spoken for a while."""
    quiet = timedelta(seconds=context.settings.lease_seconds / 2)
    with context.store.read() as tx:
        running = [each for each in tx.attempts.live(place.cluster.id) if each.state is AttemptState.RUNNING]
        heard = _heard_at(tx, running)
        silent = [each.id for each in running if _is_older(heard.get(each.id), tx.now - quiet)]
    if not silent:
        return []
    seen = ports.executor.observe(place.endpoint, silent, deadline=ASK_SECONDS)
    with context.store.read() as tx:  # once more: it may have spoken, or ended, meanwhile
        ran = _ran(tx, dict(zip(silent, seen, strict=True)))
        return list(invariants.of_silence(ran, now=tx.now, quiet=quiet))


def _ran(tx: Tx, seen: dict[AttemptId, Observation]) -> list[Ran]:
    rows = tx.attempts.many(list(seen))
    heard = _heard_at(tx, list(rows.values()))
    return [
        Ran(
            attempt=attempt,
            heard_at=heard.get(each),
            phase=str(seen[each].phase),
            is_there=seen[each].phase in THERE,
        )
        for each, attempt in rows.items()
    ]


def _heard_at(tx: Tx, attempts: list[Attempt]) -> dict[AttemptId, datetime]:
    ranks = tx.records.ranks_of([attempt.id for attempt in attempts])
    beats = {
        each: [row.heartbeat_at for row in rows.values() if row.heartbeat_at] for each, rows in ranks.items()
    }
    return {each: max(moments) for each, moments in beats.items() if moments}


def _is_older(heard_at: datetime | None, moment: datetime) -> bool:
    return heard_at is None or heard_at < moment


def _nodes(context: Context, ports: Ports, place: _Place) -> list[Breach]:
    """Where no loop follows a cluster, its rows are of the past and prove nothing."""
    if not place.is_followed:
        return []
    inventory = ports.adapters[place.cluster.adapter].inventory(place.ref, deadline=ASK_SECONDS)
    if not inventory.complete:
        raise Transient("its inventory is not whole")
    with context.store.read() as tx:
        booked = {node.name for node in tx.nodes.present(place.cluster.id)}
    listed = {machine.name for machine in inventory.machines}
    return list(invariants.of_nodes(place.cluster, booked, listed))


def _machines(context: Context, ports: Ports, place: _Place) -> list[Breach]:
    """Those that were bought under our tag and that no claim wants."""
    seller = ports.adapters[place.cluster.adapter]
    if not isinstance(seller, Sells):
        return []
    machines = seller.list_owned(place.ref, deadline=LIST_SECONDS)
    owners = {machine.name: ClaimId(machine.claim_id) for machine in machines}
    with context.store.read() as tx:  # after the list: a claim is written down before it buys
        gone_before = tx.now - GRACE_LAGS * seller.list_lag - 2 * LOOK_EVERY
        live = {claim.id for claim in tx.claims.live(place.cluster.id)}
        known = {orphan.name: orphan for orphan in tx.orphans.of_cluster(place.cluster.id)}
        late = {each for each in owners.values() if _went_after(tx, each, gone_before)}
    found = invariants.of_machines(
        place.cluster, owners, live_claims=live | late, known=known, gone_before=gone_before
    )
    return list(found)


def _went_after(tx: Tx, claim_id: ClaimId, moment: datetime) -> bool:
    """A list may still show what has ended."""
    claim = tx.claims.get(claim_id)
    return claim is not None and claim.state is ClaimState.GONE and claim.since > moment
