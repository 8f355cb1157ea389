"""Quotas and flavors as the wire shows and takes them: whole GPUs and cores, where the domain counts thousandths."""

from controlplane.domain.amounts import MILLI
from controlplane.domain.claims import CapacityType
from controlplane.domain.flavors import Flavor
from controlplane.domain.ids import QueueId
from controlplane.domain.queues import (
    WHOLE,
    Appetite,
    Cell,
    PreemptionRules,
    Queue,
    Quota,
    Reclaim,
    WithinQueue,
)
from controlplane.domain.quota_lint import Surprise
from controlplane.operations.flavors import FlavorView
from controlplane.operations.quotas import NodeName, QuotaView, Told
from controlplane.wire.quotas import (
    FlavorDocument,
    FlavorSet,
    Limit,
    LimitDocument,
    Preemption,
    QuotaDocument,
    QuotaExplanation,
    QuotaRemove,
    QuotaSet,
    SurpriseDocument,
)

PLAIN = {"cpus": "cpu", "gpus": "gpu"}
SHOWN = {"cpu": "cpus", "gpu": "gpus"}


def name_of(wanted: QuotaSet | QuotaRemove) -> NodeName:
    return NodeName(cohort=wanted.cohort, project=wanted.project, queue=wanted.queue)


def queue_of(wanted: QuotaSet) -> Queue:
    """Without id, name and parent."""
    return Queue(
        id=QueueId(""),
        name="",
        weight_milli=round(wanted.weight * WHOLE),
        quotas=tuple(_quota(each) for each in wanted.limits),
        flavors=tuple(dict.fromkeys(wanted.flavors)),
        when_can_borrow=Appetite(wanted.when_can_borrow),
        when_can_preempt=Appetite(wanted.when_can_preempt),
        preemption=PreemptionRules(
            within_queue=WithinQueue(wanted.preemption.within_queue),
            reclaim=Reclaim(wanted.preemption.reclaim),
            fair_share=wanted.preemption.fair_share,
            borrow_below=wanted.preemption.borrow_below,
        ),
        burst_after_seconds=wanted.burst_after_seconds,
        aging_seconds=wanted.aging_seconds,
        band=wanted.band,
        stopped=wanted.stopped,
    )


def flavor_of(wanted: FlavorSet) -> Flavor:
    return Flavor(
        name=wanted.name,
        rank=wanted.rank,
        clusters=tuple(wanted.clusters),
        accelerators=tuple(wanted.accelerators),
        capacity_types=tuple(CapacityType(each) for each in wanted.capacity_types),
        labels=tuple(sorted(wanted.labels.items())),
    )


def quota(view: QuotaView) -> QuotaDocument:
    queue = view.node.queue
    return QuotaDocument(
        id=queue.id,
        name=queue.name,
        is_cohort=view.node.is_cohort,
        project=view.project,
        parent=view.parent,
        weight=queue.weight_milli / WHOLE,
        limits=[_limit(view, each) for each in queue.quotas],
        flavors=list(queue.flavors),
        when_can_borrow=queue.when_can_borrow.value,
        when_can_preempt=queue.when_can_preempt.value,
        preemption=Preemption(
            within_queue=queue.preemption.within_queue.value,
            reclaim=queue.preemption.reclaim.value,
            fair_share=queue.preemption.fair_share,
            borrow_below=queue.preemption.borrow_below,
        ),
        burst_after_seconds=queue.burst_after_seconds,
        aging_seconds=queue.aging_seconds,
        band=queue.band,
        stopped=queue.stopped,
        share=min(view.share, 1e9),
        version=view.node.version,
    )


def surprise(found: tuple[str, Surprise]) -> SurpriseDocument:
    name, each = found
    return SurpriseDocument(id=each.queue_id, name=name, code=each.code, sentence=each.sentence)


def explanation(told: Told) -> QuotaExplanation:
    return QuotaExplanation(queue=told.path[0], path=list(told.path), lines=list(told.lines))


def flavor(view: FlavorView) -> FlavorDocument:
    found = view.flavor
    return FlavorDocument(
        name=found.name,
        rank=found.rank,
        clusters=list(found.clusters),
        accelerators=list(found.accelerators),
        capacity_types=[each.value for each in found.capacity_types],
        labels=dict(found.labels),
        nodes=view.nodes,
    )


def _quota(limit: Limit) -> Quota:
    return Quota(
        cell=Cell(limit.flavor, PLAIN.get(limit.resource, limit.resource)),
        nominal=_counted(limit.resource, limit.nominal),
        borrowing=None if limit.borrowing is None else _counted(limit.resource, limit.borrowing),
        lending=None if limit.lending is None else _counted(limit.resource, limit.lending),
    )


def _limit(view: QuotaView, each: Quota) -> LimitDocument:
    node, cell, tree = view.node.queue.id, each.cell, view.tree
    return LimitDocument(
        flavor=cell.flavor,
        resource=SHOWN.get(cell.resource, cell.resource),
        nominal=_whole(cell.resource, each.nominal),
        borrowing=None if each.borrowing is None else _whole(cell.resource, each.borrowing),
        lending=None if each.lending is None else _whole(cell.resource, each.lending),
        used=_whole(cell.resource, tree.usage(node, cell)),
        available=_whole(cell.resource, tree.available(node, cell)),
        potential=_whole(cell.resource, tree.potential(node, cell)),
    )


def _counted(resource: str, value: float) -> int:
    return round(value) if resource == "memory" else round(value * MILLI)


def _whole(resource: str, value: int) -> float:
    return float(value) if resource == "memory" else value / MILLI
