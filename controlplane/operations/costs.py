"""Costs as people see them: reports by what they choose, and the rates of owned capacity."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.domain.cost_reports import Entry, GroupBy, report
from controlplane.domain.costs import HIGHEST_PRICE, Line, Rate, Span
from controlplane.domain.errors import Invalid
from controlplane.domain.ids import ClusterId, JobId, ProjectId, QueueId
from controlplane.identity.policy import Action, authorize
from controlplane.identity.principals import Principal
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, write_once
from controlplane.operations.ledger import Ledger
from controlplane.operations.lookups import cluster_for, project_for, project_names
from controlplane.store import Tx
from schedulers.base import DEFAULT_FLAVOR


@dataclass(frozen=True, slots=True, kw_only=True)
class CostView:
    entry: Entry
    name: str
    """What people call the group; its id where there is no other name, or no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateView:
    rate: Rate
    cluster_name: str | None
    """None: on any."""


def costs(
    context: Context, principal: Principal, *, by: GroupBy, window: Span, project: str | None
) -> list[CostView]:
    """By currency and key. Who sees one project only is shown what that one bears."""
    authorize(principal, Action.READ)
    if window.end <= window.start:
        raise Invalid("costs are of a window that ends after it begins", field="to", value=str(window.end))
    with context.store.read() as tx:
        owner = principal.project_id if project is None else project_for(tx, principal, project).id
        found = Ledger.open(tx).lines(window, is_by_job=by is GroupBy.JOB)
        entries = report([line for line in found if _is_of(line, owner)], by)
        names = _names(tx, by, [entry.key for entry in entries if entry.key])
        return [CostView(entry=each, name=names.get(each.key, each.key)) for each in entries]


def put_rate(
    context: Context,
    principal: Principal,
    rate: Rate,
    *,
    cluster: str | None,
    once: Once[RateView] | None = None,
) -> RateView:
    """`rate` without its cluster, which is named. Work that is not archived yet is priced anew from then on."""
    authorize(principal, Action.EDIT_MONEY)
    if not 0 <= rate.price_millionths <= HIGHEST_PRICE:
        raise Invalid(
            f"a price is within 0..{HIGHEST_PRICE} millionths an hour",
            field="price_per_hour",
            value=rate.price_millionths,
            limit=HIGHEST_PRICE,
        )

    def unit(tx: Tx) -> RateView:
        known = {DEFAULT_FLAVOR, *(flavor.name for flavor in tx.quotas.flavors())}
        if rate.flavor is not None and rate.flavor not in known:
            raise Invalid(f"there is no flavor {rate.flavor!r}", field="flavor", value=rate.flavor)
        place = None if cluster is None else cluster_for(tx, cluster)
        kept = Rate(
            cluster_id=None if place is None else place.id,
            flavor=rate.flavor,
            per=rate.per,
            currency=rate.currency,
            price_millionths=rate.price_millionths,
            valid_from=rate.valid_from,
        )
        tx.costs.put_rate(kept, by=principal.name)
        return RateView(rate=kept, cluster_name=None if place is None else place.name)

    return write_once(context.store, unit, once)


def rates(context: Context, principal: Principal) -> list[RateView]:
    """By cluster, flavor, what they are for, and when they begin."""
    authorize(principal, Action.READ)
    with context.store.read() as tx:
        names = {cluster.id: cluster.name for cluster in tx.clusters.list(None, None)}
        return [
            RateView(
                rate=rate,
                cluster_name=None if rate.cluster_id is None else names.get(rate.cluster_id, rate.cluster_id),
            )
            for rate in tx.costs.rates()
        ]


def _is_of(line: Line, owner: ProjectId | None) -> bool:
    return owner is None or line.owner.project_id == owner


def _names(tx: Tx, by: GroupBy, keys: list[str]) -> Mapping[str, str]:
    match by:
        case GroupBy.PROJECT:
            return dict(project_names(tx, frozenset(map(ProjectId, keys))).items())
        case GroupBy.QUEUE:
            found = [queue for queue in map(tx.queues.get, map(QueueId, keys)) if queue is not None]
            projects = project_names(tx, frozenset(queue.project_id for queue in found))
            return {queue.id: f"{projects[queue.project_id]}/{queue.name}" for queue in found}
        case GroupBy.JOB:
            return {job.id: job.name for job in tx.jobs.many(list(map(JobId, keys)))}
        case GroupBy.CLUSTER:
            clusters = [tx.clusters.get(ClusterId(key)) for key in keys]
            return {cluster.id: cluster.name for cluster in clusters if cluster is not None}
        case GroupBy.CLAIM | GroupBy.TOTAL:
            return {}
