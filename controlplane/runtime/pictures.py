"""Pictures: what a policy sees, made from rows; whole at first, then what the feed says has changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.domain.amounts import Amounts
from controlplane.domain.attempts import Attempt, AttemptState
from controlplane.domain.claims import Claim
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.ids import AttemptId, ClaimId, ClusterId, JobId, QueueId
from controlplane.domain.jobs import Ask, Traits, ask_id
from controlplane.domain.residency import ANYWHERE, Residency, Whereabouts
from controlplane.operations.flavors import Naming, claim_of
from controlplane.operations.homes import home_of, sited
from controlplane.operations.residency import place_of
from controlplane.store import Tx
from schedulers.base import (
    USUAL_RESTART,
    AskClass,
    AskLeft,
    AskQueued,
    AskRuns,
    AskStopped,
    Bound,
    CapacityChanged,
    ClusterView,
    Data,
    Delta,
    HeldSeat,
    Memory,
    MemoryChanged,
    NodeView,
    QueuedAsks,
    QueuesChanged,
    Role,
    RunningAsk,
    Slice,
    Snapshot,
    Tier,
    Topology,
    TopologyMode,
    microseconds,
)

CAPACITY_KINDS = ("attempt.", "cluster.", "node.", "claim.", "site.", "flavor.")
TOPOLOGY_LABEL = "topology.crossdock.io/"
"""`topology.crossdock.io/<n>-<level>`: a node's domain on the level, the outermost first by n."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How much of the world a policy wants to see."""

    is_simple: bool
    """What waits and what is free, and nothing else."""

    min_runtime: timedelta
    """Nothing is preempted before it has run for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """Of a queue: whose trust domain its work is of, and where it may be."""

    project_id: str
    residency: Residency
    data: Mapping[str, Residency] = field(default_factory=dict)
    """By name of the store: where what lies there may be."""


NOBODY = _Owner(project_id="shared", residency=ANYWHERE)


def snapshot(tx: Tx, sight: Sight) -> Snapshot:
    rows = tx.asks.queued()
    capacity = _capacity(tx, sight)
    owners = _owners(tx)
    picture = Snapshot(
        version=0,
        now=tx.now,
        asks=QueuedAsks(
            ids=rows.ids,
            classes=rows.class_ids,
            priorities=rows.priorities,
            submitted=rows.submitted_us,
            not_before=rows.not_before_us,
        ),
        classes={ask.class_id: _class(ask, owners) for ask in rows.classes},
        nodes=capacity.nodes,
        clusters=capacity.clusters,
    )
    return picture if sight.is_simple else _with_all(tx, sight, picture, owners)


def deltas(tx: Tx, sight: Sight, events: Sequence[tuple[str, str]]) -> list[Delta]:
    """Rows as they are now, for what the events name: an event says where to look, never what is there."""
    if not events:
        return []
    jobs = {JobId(subject) for kind, subject in events if kind.startswith("job.")}
    ran = {_job_of(AttemptId(subject)) for kind, subject in events if kind.startswith("attempt.")}
    touched = sorted(jobs if sight.is_simple else jobs | ran)
    queued = {ask.job_id: ask for ask in tx.asks.queued_of_jobs(touched)} if touched else {}
    owners = _owners(tx) if touched else {}
    found: list[Delta] = [_queued(ask, owners) for ask in queued.values()]
    found.extend(AskLeft(id=ask_id(job)) for job in touched if job not in queued)
    if any(kind.startswith(CAPACITY_KINDS) for kind, _ in events):
        found.append(_capacity(tx, sight))
    if not sight.is_simple:
        found += _running_deltas(tx, sight, touched, owners)
        found += _rare_deltas(tx, events)
    return found


def _with_all(tx: Tx, sight: Sight, picture: Snapshot, owners: Mapping[QueueId, _Owner]) -> Snapshot:
    running = _running(tx, sight, tx.attempts.live())
    held = [_class(ask, owners) for ask, _ in running]
    classes = {each.id: each for each in held}
    return Snapshot(
        version=picture.version,
        now=picture.now,
        asks=picture.asks,
        classes=dict(picture.classes) | classes,
        nodes=picture.nodes,
        clusters=picture.clusters,
        running=[each for _, each in running],
        queues=_queues(tx).queues,
        memory=_memory(tx).memory,
    )


def _running_deltas(
    tx: Tx, sight: Sight, jobs: Sequence[JobId], owners: Mapping[QueueId, _Owner]
) -> Iterator[Delta]:
    live = tx.attempts.live_of_jobs(jobs) if jobs else {}
    for ask, running in _running(tx, sight, list(live.values())):
        yield AskRuns(ask=running, ask_class=_class(ask, owners))
    for job in jobs:
        if job not in live:
            yield AskStopped(id=ask_id(job))


def _rare_deltas(tx: Tx, events: Sequence[tuple[str, str]]) -> Iterator[Delta]:
    if any(kind.startswith(("quota.", "queue.")) for kind, _ in events):
        yield _queues(tx)
    if any(kind.startswith("memory.") for kind, _ in events):
        yield _memory(tx)


def _running(tx: Tx, sight: Sight, live: Sequence[Attempt]) -> list[tuple[Ask, RunningAsk]]:
    asks = tx.asks.many([attempt.ask_id for attempt in live])
    seats = tx.attempts.seats_of([attempt.id for attempt in live])
    checkpoints = tx.records.newest_checkpoints([attempt.job_id for attempt in live]) if live else {}
    found = []
    for attempt in live:
        ask, checkpoint = asks[attempt.ask_id], checkpoints.get(attempt.job_id)
        leaving = attempt.state is AttemptState.STOPPING
        begun_at = attempt.started_at or attempt.placed_at
        running = RunningAsk(
            id=ask.id,
            ask_class=ask.class_id,
            priority=ask.priority,
            submitted=microseconds(ask.submitted_at),
            cluster_id=ClusterId(attempt.claim_id or attempt.cluster_id),
            seats=tuple(
                HeldSeat(rank=seat.rank, node_id=seat.node_id, leaving=leaving)
                for seat in seats.get(attempt.id, ())
            ),
            admitted_at=microseconds(attempt.placed_at),
            started_at=None if attempt.started_at is None else microseconds(attempt.started_at),
            checkpoint_at=None if checkpoint is None else microseconds(checkpoint.at),
            protected_until=microseconds(begun_at + sight.min_runtime),
        )
        found.append((ask, running))
    return found


def _capacity(tx: Tx, sight: Sight) -> CapacityChanged:
    """A policy that looks only at what is free is not shown nodes that take nobody."""
    clusters = tx.clusters.list(None, None)
    sites, naming = sited(tx), Naming.load(tx)
    booked = tx.nodes.booked(None)
    rules = tx.residencies.rules()
    views = tuple(_rays({cluster.id: (cluster, place_of(cluster, rules)) for cluster in clusters}, sites))
    open_ids = {view.id for view in views if view.blocked is None}
    nodes = tuple(
        NodeView(
            id=node.id,
            cluster_id=home,
            allocatable=node.allocatable,
            free=node.allocatable.minus(node.foreign).minus(booked.get(node.id, Amounts())),
            accelerator=node.accelerator,
            flavor=naming.of(node),
            domains=_domains(node),
            taints=tuple((taint.key, taint.value) for taint in node.taints),
            healthy=node.cordoned_at is None,
            claim_id=claim_of(node),
        )
        for node in tx.nodes.present(None)
        if not (sight.is_simple and node.cordoned_at)
        and (home := ClusterId(home_of(node, sites))) in open_ids
    )
    return CapacityChanged(nodes=nodes, clusters=views)


def _rays(
    places: Mapping[ClusterId, tuple[Cluster, Whereabouts]], sites: Mapping[ClaimId, Claim]
) -> Iterator[ClusterView]:
    """To a policy every Ray cluster is a cluster, also one that bought machines form: no gang spans two of them."""
    for cluster, place in places.values():
        yield ClusterView(
            id=cluster.id,
            name=cluster.name,
            blocked=_blocked(cluster),
            provider=place.provider,
            regions=place.regions,
            spread=place.spread,
            registered_as=cluster.name,
            trust_domain=cluster.trust_domain,
        )
    for claim in sites.values():
        if claim.cluster_id not in places:  # detached; its machines are being ended
            continue
        cluster, place = places[claim.cluster_id]
        yield ClusterView(
            id=ClusterId(claim.id),
            name=f"{cluster.name}/{claim.id}",
            blocked=_blocked(cluster) or (None if claim.takes_tasks else f"is {claim.state}"),
            provider=place.provider,
            regions=place.regions,
            spread=place.spread,
            registered_as=cluster.name,
            trust_domain=claim.trust_domain,
        )


def _blocked(cluster: Cluster) -> str | None:
    if cluster.takes_tasks:
        return None
    return "is cordoned" if cluster.cordoned_at is not None else f"is {cluster.state}"


def _domains(node: Node) -> tuple[tuple[str, str], ...]:
    levels = sorted(
        (name.removeprefix(TOPOLOGY_LABEL), value)
        for name, value in node.labels
        if name.startswith(TOPOLOGY_LABEL)
    )
    return tuple((level.partition("-")[2] or level, value) for level, value in levels)


def _queues(tx: Tx) -> QueuesChanged:
    return QueuesChanged(queues=tuple(node.queue for node in tx.quotas.nodes()))


def _memory(tx: Tx) -> MemoryChanged:
    return MemoryChanged(
        memory=Memory(
            nominations=tuple(tx.memories.nominations()),
            verdicts=tuple(tx.memories.verdicts()),
            reservations=tuple(tx.memories.reservations()),
            past_uses=tuple(tx.memories.past_uses()),
        )
    )


def _queued(ask: Ask, owners: Mapping[QueueId, _Owner]) -> AskQueued:
    return AskQueued(
        id=ask.id,
        ask_class=_class(ask, owners),
        priority=ask.priority,
        submitted=microseconds(ask.submitted_at),
        not_before=microseconds(ask.not_before) if ask.not_before else 0,
    )


def _class(ask: Ask, owners: Mapping[QueueId, _Owner]) -> AskClass:
    traits, owner = ask.traits, owners.get(ask.queue_id, NOBODY)
    return AskClass(
        id=ask.class_id,
        queue_id=ask.queue_id,
        tasks=ask.tasks,
        amounts=ask.amounts,
        accelerator=ask.accelerator,
        tasks_min=traits.tasks_min,
        roles=tuple(_roles(ask)),
        topology=None if traits.topology_level is None else _topology(traits, traits.topology_level),
        tolerations=traits.tolerations,
        trust_domain=owner.project_id,
        providers=owner.residency.providers,
        regions=owner.residency.regions,
        clusters=owner.residency.clusters,
        bounds=tuple(_bound(each, owner.data[each]) for each in traits.stores if each in owner.data),
        data=tuple(Data(region=region, gib=gib) for region, gib in traits.data),
        runtime_seconds=traits.runtime_seconds,
        deadline=None if traits.deadline is None else microseconds(traits.deadline),
        tier=_tier(traits),
        restart_seconds=USUAL_RESTART if traits.restart_seconds is None else traits.restart_seconds,
    )


def _bound(store: str, rule: Residency) -> Bound:
    return Bound(
        owner=f"what lies in store {store!r}",
        providers=rule.providers,
        regions=rule.regions,
        clusters=rule.clusters,
    )


def _tier(traits: Traits) -> Tier:
    if traits.is_lasting:
        return Tier.PINNED
    return Tier.SURPLUS if traits.is_surplus else Tier.NORMAL


def _topology(traits: Traits, level: str) -> Topology:
    return Topology(
        level=level,
        mode=TopologyMode.REQUIRED if traits.topology_required else TopologyMode.PREFERRED,
        slices=tuple(Slice(level=each, tasks=tasks) for each, tasks in traits.topology_slices),
        balanced=traits.topology_balanced,
    )


def _roles(ask: Ask) -> Iterator[Role]:
    """As it names them; or its only one, where it says on which flavors it may sit."""
    traits = ask.traits
    for role in traits.roles:
        yield Role(
            name=role.name,
            tasks=role.tasks,
            tasks_min=ask.fewest_of(role),
            amounts=role.amounts,
            accelerator=role.accelerator,
            flavors=role.flavors,
        )
    if traits.flavors and not traits.roles:
        yield Role(
            name="",
            tasks=ask.tasks,
            tasks_min=ask.fewest,
            amounts=ask.amounts,
            accelerator=ask.accelerator,
            flavors=traits.flavors,
        )


def _owners(tx: Tx) -> dict[QueueId, _Owner]:
    rules = tx.residencies.rules()
    return {
        queue.id: _Owner(
            project_id=queue.project_id, residency=rules.of_project(queue.project_id), data=rules.data
        )
        for queue in tx.queues.every()
    }


def _job_of(attempt_id: AttemptId) -> JobId:
    """An attempt's id begins with its job's."""
    return JobId(attempt_id.rpartition("-a")[0])
