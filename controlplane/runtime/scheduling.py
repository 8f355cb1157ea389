"""The scheduling loop: follows the feed, asks the engine for a plan, commits what still holds."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import Claim
from controlplane.domain.clusters import Cluster
from controlplane.domain.errors import StaleWrite, Unavailable
from controlplane.domain.ids import ClaimId, ClusterId, JobId
from controlplane.domain.jobs import Ask, ask_id
from controlplane.domain.leases import Lease
from controlplane.operations.homes import home_of, sited
from controlplane.operations.placements import BATCH, apply_places, note_defers
from controlplane.runtime.bell import Bell
from controlplane.store import Store, Tx
from schedulers.base import (
    AskClass,
    AskLeft,
    AskQueued,
    CapacityChanged,
    ClusterView,
    Defer,
    Delta,
    Engine,
    NodeView,
    Plan,
    Policy,
    QueuedAsks,
    Snapshot,
    microseconds,
)

IDLE_SECONDS = 1.0
FEED_PAGE = 5000

SCHEDULER_LEASE = "scheduler"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Leadership:
    """What this process may do and knows while it holds the lease; thrown away whole when it is lost."""

    lease: Lease
    engine: Engine
    cursor: str
    version: int = 0
    told: tuple[Defer, ...] | None = None


class SchedulingLoop:
    def __init__(
        self,
        *,
        store: Store,
        policy: Policy,
        bell: Bell,
        holder: str,
        leader_seconds: float,
        builders: AbstractSet[str] = frozenset(),
    ) -> None:
        """`builders`: adapters that build a Ray cluster for each attempt."""
        self._store = store
        self._policy = policy
        self._bell = bell
        self._holder = holder
        self._leader_seconds = leader_seconds
        self._builders = builders
        self._leading: _Leadership | None = None

    def run(self) -> None:
        heard = -1
        while not self._bell.is_stopping:
            heard = self._bell.wait(heard, IDLE_SECONDS)
            self.turn()
        self._resign()

    def turn(self) -> None:
        """One step. Whatever breaks it ends the leadership: somebody else may lead by the time we know."""
        try:
            self.step()
        except Unavailable as away:
            log.warning("store.away", extra={"problem": away.message})
            self._leading = None
        except StaleWrite:
            log.warning("leadership.lost", extra={"holder": self._holder})
            self._leading = None
        except Exception:
            log.exception("scheduling.failed")
            self._leading = None

    def step(self) -> None:
        """One round: lease, feed, plan, commit."""
        leading = self._lead()
        if leading is None:
            return
        now = self._follow(leading)
        self._renew(leading, now)
        self._commit(leading, leading.engine.plan(version=leading.version, now=now))

    def _lead(self) -> _Leadership | None:
        if self._leading is None:
            lease = self._store.write(
                lambda tx: tx.leases.take(SCHEDULER_LEASE, self._holder, self._leader_seconds)
            )
            self._leading = self._begin(lease) if lease else None
        return self._leading

    def _renew(self, leading: _Leadership, now: datetime) -> None:
        """When half of its time is over. What was read while it was somebody else's is thrown away with the rest."""
        lease = leading.lease
        if (lease.until - now).total_seconds() < self._leader_seconds / 2:
            leading.lease = self._store.write(lambda tx: tx.leases.renew(lease, self._leader_seconds))

    def _begin(self, lease: Lease) -> _Leadership:
        with self._store.read() as tx:  # one snapshot: rows and cursor belong together
            snapshot, cursor = _snapshot(tx), tx.events.head()
        log.info("leadership.taken", extra={"holder": self._holder, "token": lease.token})
        return _Leadership(lease=lease, engine=self._policy.start(snapshot), cursor=cursor)

    def _follow(self, leading: _Leadership) -> datetime:
        with self._store.read() as tx:
            events, cursor = tx.events.subjects_after(leading.cursor, FEED_PAGE)
            deltas = _deltas(tx, events)
            now = tx.now
        leading.engine.apply(deltas)
        leading.cursor = cursor
        leading.version += len(events)
        return now

    def _commit(self, leading: _Leadership, plan: Plan) -> None:
        lease = leading.lease
        for start in range(0, len(plan.places), BATCH):
            places = plan.places[start : start + BATCH]
            unit = partial(apply_places, lease=lease, places=places, builders=self._builders)
            for refusal in self._store.write(unit):
                log.info("place.refused", extra={"ask": refusal.place.ask_id, "why": refusal.why})
        if plan.defers != leading.told:
            self._store.write(partial(note_defers, lease=lease, defers=plan.defers))
            leading.told = plan.defers

    def _resign(self) -> None:
        if self._leading is None:
            return
        lease = self._leading.lease
        try:
            self._store.write(lambda tx: tx.leases.release(lease))
        except (StaleWrite, Unavailable) as problem:
            log.info("lease.left", extra={"problem": problem.message})


def _snapshot(tx: Tx) -> Snapshot:
    rows = tx.asks.queued()
    capacity = _capacity(tx)
    return Snapshot(
        version=0,
        now=tx.now,
        asks=QueuedAsks(
            ids=rows.ids,
            classes=rows.class_ids,
            priorities=rows.priorities,
            submitted=rows.submitted_us,
            not_before=rows.not_before_us,
        ),
        classes={ask.class_id: _class(ask) for ask in rows.classes},
        nodes=capacity.nodes,
        clusters=capacity.clusters,
    )


def _deltas(tx: Tx, events: Sequence[tuple[str, str]]) -> list[Delta]:
    """Rows as they are now, for what the events name: an event says where to look, never what is there."""
    jobs = sorted({JobId(subject) for kind, subject in events if kind.startswith("job.")})
    queued = {ask.job_id: ask for ask in tx.asks.queued_of_jobs(jobs)} if jobs else {}
    deltas: list[Delta] = [_queued(ask) for ask in queued.values()]
    deltas.extend(AskLeft(id=ask_id(job)) for job in jobs if job not in queued)
    if any(kind.startswith(("attempt.", "cluster.", "node.", "claim.", "site.")) for kind, _ in events):
        deltas.append(_capacity(tx))
    return deltas


def _capacity(tx: Tx) -> CapacityChanged:
    clusters = tx.clusters.list(None, None)
    sites = sited(tx)
    booked = tx.nodes.booked(None)
    views = tuple(_rays(clusters, sites))
    open_ids = {view.id for view in views if view.blocked is None}
    nodes = tuple(
        NodeView(
            id=node.id,
            cluster_id=home,
            allocatable=node.allocatable,
            free=node.allocatable.minus(node.foreign).minus(booked.get(node.id, Amounts())),
            accelerator=node.accelerator,
        )
        for node in tx.nodes.present(None)
        if node.cordoned_at is None and (home := ClusterId(home_of(node, sites))) in open_ids
    )
    return CapacityChanged(nodes=nodes, clusters=views)


def _rays(clusters: Sequence[Cluster], sites: Mapping[ClaimId, Claim]) -> Iterator[ClusterView]:
    """To a policy every Ray cluster is a cluster, also one that bought machines form: no gang spans two of them."""
    by_id = {cluster.id: cluster for cluster in clusters}
    for cluster in clusters:
        yield ClusterView(id=cluster.id, name=cluster.name, blocked=_blocked(cluster))
    for claim in sites.values():
        cluster = by_id[claim.cluster_id]
        blocked = _blocked(cluster) or (None if claim.takes_tasks else f"is {claim.state}")
        yield ClusterView(id=ClusterId(claim.id), name=f"{cluster.name}/{claim.id}", blocked=blocked)


def _blocked(cluster: Cluster) -> str | None:
    if cluster.takes_tasks:
        return None
    return "is cordoned" if cluster.cordoned_at is not None else f"is {cluster.state}"


def _queued(ask: Ask) -> AskQueued:
    return AskQueued(
        id=ask.id,
        ask_class=_class(ask),
        priority=ask.priority,
        submitted=microseconds(ask.submitted_at),
        not_before=microseconds(ask.not_before) if ask.not_before else 0,
    )


def _class(ask: Ask) -> AskClass:
    return AskClass(
        id=ask.class_id,
        queue_id=ask.queue_id,
        tasks=ask.tasks,
        amounts=ask.amounts,
        accelerator=ask.accelerator,
    )
