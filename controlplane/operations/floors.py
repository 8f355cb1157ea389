"""Floors: the Ray clusters, nodes and free amounts that placings are judged by, as one transaction sees them."""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.amounts import Amounts, total
from controlplane.domain.attempts import Attempt, AttemptState, Seat
from controlplane.domain.claims import SHARED, CapacityType, Claim, ClaimState, Share, built_claim
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.errors import Bug, StaleWrite
from controlplane.domain.ids import AskId, AttemptId, ClaimId, ClusterId, NodeId, ProjectId
from controlplane.domain.jobs import Ask, Job, JobState
from controlplane.domain.residency import Rules
from controlplane.operations import residency
from controlplane.operations.homes import home_of, sited
from controlplane.store import Tx
from schedulers.base import Place, microseconds

LENT: Final = "lent"
"""The machine type of a claim that is built on nodes which its cluster lends."""

Left = dict[NodeId, Amounts]
"""What a placing would leave of the nodes that it takes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray:
    """A Ray cluster that tasks may be placed on."""

    cluster: Cluster
    claim: Claim | None
    """None: the cluster's own, or one that is built for each attempt."""

    def refusal(self, trust_domain: str) -> str | None:
        if not self.cluster.takes_tasks:
            return "the cluster takes no tasks now"
        if self.claim is None:
            return None
        if not self.claim.takes_tasks:
            return f"claim {self.claim.id} takes no tasks now"
        if self.claim.trust_domain not in (SHARED, trust_domain):
            return f"claim {self.claim.id} is for another trust domain"
        return None


@dataclass(slots=True, kw_only=True)
class Floor:
    """Ray clusters, nodes and free amounts as this transaction sees them, loaded when first asked for."""

    tx: Tx
    builders: AbstractSet[str]
    rays: dict[str, Ray | None] = field(default_factory=dict)
    loaded: set[ClusterId] = field(default_factory=set)
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    free: Left = field(default_factory=dict)
    promises: dict[NodeId, list[tuple[AskId, Amounts]]] | None = None
    rules: Rules | None = None
    home: dict[NodeId, str] = field(default_factory=dict)
    """The Ray cluster that a node is of, by id of the cluster or the claim."""

    def judgement(self, place: Place, ask: Ask, *, trust_domain: str) -> Left | str:
        """What it leaves, or why it cannot be."""
        ray = self._ray(place.cluster_id)
        refusal = "there is no such cluster" if ray is None else ray.refusal(trust_domain)
        if ray is not None and refusal is None:
            refusal = residency.outside(
                self._rules(), ProjectId(trust_domain), ray.cluster, stores=ask.traits.stores
            )
        if refusal is not None:
            return refusal
        if not _is_whole(place, ask):
            return f"{len(place.seats)} seats for {ask.tasks} tasks"
        left: Left = {}
        for seat in place.seats:
            node = self.nodes.get(seat.node_id)
            if node is None or self.home[node.id] != place.cluster_id or node.cordoned_at is not None:
                return f"node {seat.node_id} is gone or cordoned"
            free = left.get(node.id, self.free[node.id])
            amounts = ask.amounts_of(seat.rank)
            if not amounts.fits_in(self._unpromised(place.ask_id, node.id, free)):
                return f"node {node.id} has no room any more"
            left[node.id] = free.minus(amounts)
        return left

    def book(self, place: Place, left: Left) -> None:
        """What was granted is no longer free, nor promised to whom it was granted."""
        self.free.update(left)
        for node_id in left:
            kept = self._promises_of().get(node_id, [])
            kept[:] = [each for each in kept if each[0] != place.ask_id]

    def _rules(self) -> Rules:
        if self.rules is None:
            self.rules = self.tx.residencies.rules()
        return self.rules

    def _unpromised(self, ask_id: AskId, node_id: NodeId, free: Amounts) -> Amounts:
        """Without what is kept for somebody else: only the heir may be placed on seats that were promised to it."""
        kept = [amounts for heir, amounts in self._promises_of().get(node_id, ()) if heir != ask_id]
        return free.minus(total(kept)) if kept else free

    def _promises_of(self) -> dict[NodeId, list[tuple[AskId, Amounts]]]:
        if self.promises is None:
            self.promises = _promises(self.tx)
        return self.promises

    def builds(self, cluster_id: ClusterId) -> bool:
        ray = self.rays.get(cluster_id)
        return ray is not None and ray.claim is None and ray.cluster.adapter in self.builders

    def attempt(self, place: Place, ask: Ask, job: Job, *, number: int) -> tuple[Attempt, list[Seat]]:
        ray, at = self._ray(place.cluster_id), self.tx.now
        if ray is None:
            raise Bug(f"{place.cluster_id} was judged, and is not there")
        attempt_id = AttemptId(f"{job.id}-a{number}")
        built = built_claim(attempt_id) if self.builds(place.cluster_id) else None
        attempt = Attempt(
            id=attempt_id,
            job_id=job.id,
            ask_id=ask.id,
            project_id=job.project_id,
            cluster_id=ray.cluster.id,
            claim_id=built if ray.claim is None else ray.claim.id,
            number=number,
            state=AttemptState.PLACED,
            since=at,
            placed_at=at,
        )
        seats = [
            Seat(
                attempt_id=attempt.id,
                rank=each.rank,
                node_id=each.node_id,
                amounts=ask.amounts_of(each.rank),
            )
            for each in place.seats
        ]
        return attempt, seats

    def claim_for(self, attempt: Attempt, claim_id: ClaimId, seats: Sequence[Seat]) -> Claim:
        """One member on each node, with room for all the tasks that sit there."""
        shares: dict[str, Amounts] = {}
        for seat in seats:
            name = self.nodes[seat.node_id].name
            shares[name] = shares.get(name, Amounts()).plus(seat.amounts)
        return Claim(
            id=claim_id,
            cluster_id=attempt.cluster_id,
            machine_type=LENT,
            capacity_type=CapacityType.OWNED,
            zones=("",),
            machines_min=len(shares),
            machines_want=len(shares),
            shares=tuple(Share(node_name=name, amounts=shares[name]) for name in sorted(shares)),
            trust_domain=attempt.project_id,
            tries_again=False,
            state=ClaimState.REQUESTED,
            since=attempt.placed_at,
            created_at=attempt.placed_at,
        )

    def _ray(self, id_: str) -> Ray | None:
        if id_ not in self.rays:
            claim = self.tx.claims.get(ClaimId(id_))
            cluster = self.tx.clusters.get(ClusterId(id_) if claim is None else claim.cluster_id)
            self.rays[id_] = None if cluster is None else Ray(cluster=cluster, claim=claim)
            if cluster is not None and cluster.id not in self.loaded:
                self._load(cluster.id)
        return self.rays[id_]

    def _load(self, cluster_id: ClusterId) -> None:
        self.loaded.add(cluster_id)
        sites = sited(self.tx, cluster_id)
        booked = self.tx.nodes.booked(cluster_id)
        for node in self.tx.nodes.present(cluster_id):
            self.nodes[node.id] = node
            self.home[node.id] = home_of(node, sites)
            self.free[node.id] = node.allocatable.minus(node.foreign).minus(booked.get(node.id, Amounts()))


def refuse_overbooked(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Raises `StaleWrite` when one of them cannot carry all that stays there beside all that is promised there."""
    wanted = sorted(frozenset(node_ids))
    nodes, staying, promised = tx.nodes.by_ids(wanted), tx.nodes.staying(wanted), _promised(tx)
    for node_id in wanted:
        node = nodes.get(node_id)
        heirs = total(amounts for _, amounts in promised.get(node_id, ()))
        taken = heirs.plus(staying.get(node_id, Amounts()))
        if node is None or not taken.fits_in(node.allocatable.minus(node.foreign)):
            raise StaleWrite(f"node {node_id} has no room any more")


def _is_whole(place: Place, ask: Ask) -> bool:
    """All tasks or, of an ask that can do with fewer, the first of them."""
    ranks = [seat.rank for seat in place.seats]
    return ask.fewest <= len(ranks) <= ask.tasks and ranks == list(range(len(ranks)))


def _promises(tx: Tx) -> dict[NodeId, list[tuple[AskId, Amounts]]]:
    """By node, for whom how much of it is kept free; what the victims still hold is booked as theirs."""
    kept = _promised(tx)
    for node_id, heir, amounts in tx.heirs.inherited():
        kept[node_id] = _without(kept.get(node_id, []), heir, amounts)
    return kept


def _promised(tx: Tx) -> dict[NodeId, list[tuple[AskId, Amounts]]]:
    """By node, to whom how much of it is promised, until its time is over or the policy has ended it.

    A promise binds while its ask is queued; of its own heir, from the order to stop until it is queued again.
    """
    nominations = [each for each in tx.memories.nominations() if each.until > microseconds(tx.now)]
    heirs = _waiting_heirs(tx, [each.ask_id for each in nominations])
    kept: dict[NodeId, list[tuple[AskId, Amounts]]] = {}
    for nomination in nominations:
        ask = heirs.get(nomination.ask_id)
        if ask is None:
            continue
        for rank, node_id in nomination.seats:
            kept.setdefault(node_id, []).append((ask.id, ask.amounts_of(rank)))
    return kept


def _waiting_heirs(tx: Tx, ask_ids: Sequence[AskId]) -> dict[AskId, Ask]:
    """Those who are queued, and those who have stopped, or were told to, and will be queued again."""
    asks = tx.asks.many(ask_ids)
    jobs = {job.id: job.state for job in tx.jobs.many([ask.job_id for ask in asks.values()])}
    live = tx.attempts.live_of_jobs([id_ for id_, state in jobs.items() if state is JobState.ACTIVE])
    return {
        ask.id: ask
        for ask in asks.values()
        if jobs.get(ask.job_id) is JobState.QUEUED
        or (
            jobs.get(ask.job_id) is JobState.ACTIVE
            and (ask.job_id not in live or live[ask.job_id].state is AttemptState.STOPPING)
        )
    }


def _without(
    kept: Sequence[tuple[AskId, Amounts]], heir: AskId, amounts: Amounts
) -> list[tuple[AskId, Amounts]]:
    mine = total(each for ask_id, each in kept if ask_id == heir).minus(amounts)
    return [(ask_id, each) for ask_id, each in kept if ask_id != heir] + [(heir, mine)]
