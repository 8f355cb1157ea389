"""The site loop's step: looks at the Ray clusters that bought machines form, and folds what it sees into the nodes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cloud_adapters.base import ClusterRef, Inventory, Lends, PluginError
from controlplane.domain.claims import Claim, ClaimState
from controlplane.domain.clusters import Cluster
from controlplane.domain.ids import ClaimId
from controlplane.domain.sites import Site
from controlplane.operations.context import Context
from controlplane.operations.cordons import close
from controlplane.operations.endpoints import site_endpoint
from controlplane.operations.inventories import fold_site
from controlplane.store import Tx, WorkItem

LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTurn:
    item: WorkItem
    cluster: Cluster | None = None
    """None: there is nothing to look at, or it was looked at."""

    site: Site | None = None
    inventory: Inventory | None = None
    problem: str | None = None

    @property
    def lane(self) -> str | None:
        return None if self.cluster is None else self.item.id


class SiteStep:
    def __init__(self, context: Context, reader: Lends | None) -> None:
        """`reader` takes the inventory of any Ray cluster; None: no plugin can."""
        self._context = context
        self._reader = reader

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[SiteTurn]) -> Sequence[SiteTurn]:
        del under_way
        with self._context.store.read() as tx:
            return [_begun(tx, item) for item in items]

    def act(self, turns: Sequence[SiteTurn]) -> Sequence[SiteTurn]:
        return [self._looked(turn, turn.cluster, turn.site) for turn in turns if turn.cluster and turn.site]

    def record(self, tx: Tx, turns: Sequence[SiteTurn]) -> None:
        tx.work.settle_many([(turn.item, self._recorded(tx, turn)) for turn in turns])

    def _looked(self, turn: SiteTurn, cluster: Cluster, site: Site) -> SiteTurn:
        try:
            endpoint = site_endpoint(self._context, cluster, site)
            if endpoint is None or self._reader is None:
                return replace(turn, cluster=None, problem="its Ray cannot be asked yet")
            ref = ClusterRef(id=cluster.id, name=cluster.name, endpoint=endpoint)
            seen = self._reader.inventory(ref, deadline=LOOK_SECONDS)
        except PluginError as problem:
            return replace(turn, cluster=None, problem=problem.message)
        return replace(turn, cluster=None, inventory=seen)

    def _recorded(self, tx: Tx, turn: SiteTurn) -> datetime | None:
        """When to look again; None: never."""
        claim, site = tx.claims.get(ClaimId(turn.item.id)), tx.sites.get(ClaimId(turn.item.id))
        cluster = tx.clusters.get(claim.cluster_id) if claim is not None else None
        if claim is None or site is None or cluster is None or not _is_followed(claim):
            return None
        if turn.inventory is not None:
            fold_site(tx, cluster, claim, turn.inventory, ids=self._context.ids)
            _put(tx, replace(site, session=turn.inventory.session, seen_at=tx.now, problem=None), site)
            if claim.state is ClaimState.LAUNCHING:
                tx.work.poke("claim", claim.id)
        elif turn.problem is not None:
            unanswered = replace(site, problem=turn.problem)
            _put(tx, unanswered, site)
            after = timedelta(seconds=self._context.settings.unreachable_after_seconds)
            if unanswered.is_silent(tx.now, after=after):  # nothing new is placed where nobody answers
                close(tx, claim)
        return tx.now + timedelta(seconds=self._context.settings.poll_seconds)


def _begun(tx: Tx, item: WorkItem) -> SiteTurn:
    claim, site = tx.claims.get(ClaimId(item.id)), tx.sites.get(ClaimId(item.id))
    cluster = tx.clusters.get(claim.cluster_id) if claim is not None else None
    if claim is None or site is None or not _is_followed(claim):
        return SiteTurn(item=item)
    return SiteTurn(item=item, cluster=cluster, site=site)


def _is_followed(claim: Claim) -> bool:
    """What an adapter built on lent nodes has no nodes of its own."""
    return claim.is_live and not claim.shares


def _put(tx: Tx, new: Site, old: Site) -> None:
    """An idle site costs no disk: that it was seen again is kept once a minute."""
    fresh = (
        old.seen_at is not None
        and new.seen_at is not None
        and new.seen_at - old.seen_at < timedelta(minutes=1)
    )
    if replace(new, seen_at=old.seen_at) != old or not fresh:
        tx.sites.put(new)
