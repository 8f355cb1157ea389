"""The claim loop's step: buys, lists and ends machines through the adapter, as the reconciler decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from cloud_adapters.base import (
    Boot,
    Builds,
    ClusterRef,
    LaunchOrder,
    Lends,
    NoCapacity,
    PluginError,
    QuotaExceeded,
    Rejected,
    Renews,
    Sells,
    Throttled,
)
from controlplane.domain.claims import Claim, ClaimState, Launch, LaunchOutcome
from controlplane.domain.clusters import Cluster, Node
from controlplane.domain.ids import ClaimId, LaunchId
from controlplane.domain.sites import Site
from controlplane.identity.launch_tokens import launch_token
from controlplane.operations.context import Context
from controlplane.operations.cordons import follow_claim, nodes_of
from controlplane.operations.endpoints import end_site, ref_of, site_with
from controlplane.operations.inventories import retire
from controlplane.reconcilers import claims
from controlplane.runtime.budgets import Budgets
from controlplane.runtime.offers import follow_launch
from controlplane.store import Tx, WorkItem
from schedulers.base import microseconds

END_SECONDS = 30.0
LIST_SECONDS = 30.0
LONGEST_LOAD = timedelta(seconds=40)
"""No call for another claim begins after it: with the calls of one claim it is less than an item is ours for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTurn:
    item: WorkItem
    view: claims.ClaimView | None
    """None: there is no such claim."""

    decision: claims.ClaimDecision

    @property
    def lane(self) -> str | None:
        if self.view is None or self.decision.call is None:
            return None
        return self.view.cluster.id


class ClaimStep:
    def __init__(self, context: Context, adapters: Mapping[str, Lends], budgets: Budgets) -> None:
        self._context = context
        self._budgets = budgets
        self._sellers = {name: each for name, each in adapters.items() if isinstance(each, Sells)}
        # Asking a protocol whether something is one takes longer than a query.
        self._builders = {name for name, each in adapters.items() if isinstance(each, Builds)}
        self._renewers = {name for name, each in adapters.items() if isinstance(each, Renews)}

    def begin(self, items: Sequence[WorkItem], under_way: Sequence[ClaimTurn]) -> Sequence[ClaimTurn]:
        del under_way
        with self._context.store.read() as tx:
            return [self._turn(tx, item, None) for item in items]

    def act(self, turns: Sequence[ClaimTurn]) -> Sequence[ClaimTurn]:
        """One list serves all that begin with one: each compares it with rows that it loads afterwards.

        Where the cloud takes its time, the last ones come back untouched, and are looked at anew.
        """
        until = self._now() + LONGEST_LOAD
        views = [
            turn.view
            for turn in turns
            if turn.view is not None and isinstance(turn.decision.call, claims.ListOwned)
        ]
        listed = self._heard(min(views, key=lambda view: view.now), claims.ListOwned()) if views else None
        return [self._carried_on(turn, listed) if self._now() < until else _put_off(turn) for turn in turns]

    def record(self, tx: Tx, turns: Sequence[ClaimTurn]) -> None:
        for turn in turns:
            if turn.view is not None:
                self._save(tx, turn.view.claim, turn.decision)
        tx.work.settle_many([(turn.item, turn.decision.look_again_at) for turn in turns])

    def _turn(self, tx: Tx, item: WorkItem, heard: claims.Heard | None) -> ClaimTurn:
        view = self._view(tx, ClaimId(item.id), heard)
        decision = claims.ClaimDecision() if view is None else claims.decide(view)
        return ClaimTurn(item=item, view=view, decision=decision)

    def _view(self, tx: Tx, claim_id: ClaimId, heard: claims.Heard | None) -> claims.ClaimView | None:
        claim = tx.claims.get(claim_id)
        cluster = tx.clusters.get(claim.cluster_id) if claim is not None else None
        if claim is None or cluster is None:
            return None
        seller = self._sellers.get(cluster.adapter)
        nodes, joining = nodes_of(tx, claim), self._joining(cluster)
        site = tx.sites.get(claim_id) if joining is claims.Joining.CHECK_IN else None
        runs_there = bool(tx.attempts.live_of_claim(claim_id))
        return claims.ClaimView(
            claim=claim,
            cluster=cluster,
            launches=tuple(tx.launches.of_claim(claim_id)),
            has_tasks=runs_there or any(tx.attempts.on_node(node.id) for node in nodes),
            is_promised=claim.idle_seconds is not None and _are_promised(tx, nodes),
            joining=joining,
            joined=len(nodes),
            head=None if site is None else site.head,
            spoke=frozenset(() if site is None else (each.machine for each in tx.sites.check_ins(claim_id))),
            boot_timeout=timedelta(seconds=self._context.settings.boot_timeout_seconds),
            renews=cluster.adapter in self._renewers,
            dead_man=timedelta(seconds=self._context.settings.dead_man_seconds),
            sells=seller is not None,
            list_lag=seller.list_lag if seller is not None else timedelta(),
            poll=timedelta(seconds=self._context.settings.poll_seconds),
            now=tx.now,
            heard=heard,
        )

    def _joining(self, cluster: Cluster) -> claims.Joining:
        if cluster.adapter in self._builders:
            return claims.Joining.BUILT
        return claims.Joining.CHECK_IN if cluster.url is None else claims.Joining.CLUSTER

    def _carried_on(self, turn: ClaimTurn, listed: claims.Heard | None) -> ClaimTurn:
        """Until no call is left. Rows are loaded after each answer, so that no answer is older than they are."""
        answer = listed if isinstance(turn.decision.call, claims.ListOwned) else None
        while turn.view is not None and turn.decision.call is not None:
            heard = answer or self._waits(turn.view)
            answer = None
            if heard is None:
                if turn.decision.save is not None:  # first: whoever comes after a crash must know of the call
                    self._context.store.write(partial(_mark, turn=turn, claim=turn.decision.save))
                heard = self._called(turn.view, turn.decision.call)
            with self._context.store.read() as tx:
                turn = self._turn(tx, turn.item, heard)
        return turn

    def _now(self) -> datetime:
        with self._context.store.read() as tx:
            return tx.now

    def _heard(self, view: claims.ClaimView, call: claims.Call) -> claims.Heard:
        return self._waits(view) or self._called(view, call)

    def _waits(self, view: claims.ClaimView) -> claims.Heard | None:
        """None: the call may be made now."""
        wait = self._budgets.take(view.cluster.id, view.now)
        if not wait:
            return None
        waits = view.claim.problem or f"waits for its turn at the cloud of cluster {view.cluster.name!r}"
        return claims.Delayed(message=waits, retry_after=wait)

    def _called(self, view: claims.ClaimView, call: claims.Call) -> claims.Heard:
        seller = self._sellers[view.cluster.adapter]
        ref = ref_of(self._context, view.cluster)
        try:
            if isinstance(call, claims.Ensure):
                return _bought(seller, self._order(view, ref, call))
            return _tended(seller, ref, view, call)
        except Throttled as busy:
            wait = timedelta(seconds=busy.retry_after_seconds)
            self._budgets.rest(view.cluster.id, view.now + wait)
            return claims.Delayed(message=busy.message, retry_after=wait)
        except PluginError as problem:
            if isinstance(call, claims.Renew):
                return claims.Unrenewed(message=problem.message)
            return claims.Delayed(message=problem.message)

    def _order(self, view: claims.ClaimView, ref: ClusterRef, call: claims.Ensure) -> LaunchOrder:
        claim = view.claim
        return LaunchOrder(
            cluster=ref,
            claim_id=claim.id,
            launch_id=call.launch.id,
            zone=call.launch.zone,
            machine_type=claim.machine_type,
            capacity_type=claim.capacity_type,
            machines=call.launch.machines,
            shares=claim.shares,
            trust_domain=claim.trust_domain,
            reservation=claim.reservation,
            boot=self._boot(call.launch.id) if view.joining is claims.Joining.CHECK_IN else None,
        )

    def _boot(self, launch_id: LaunchId) -> Boot:
        settings = self._context.settings
        return Boot(
            urls=(settings.url,),
            token=launch_token(self._context.server_key, launch_id),
            dead_man_seconds=settings.dead_man_seconds,
        )

    def _save(self, tx: Tx, claim: Claim, decision: claims.ClaimDecision) -> None:
        if decision.save is not None:
            claim = decision.save
            tx.claims.save(claim)
        if decision.resolve is not None:
            tx.launches.resolve(decision.resolve)
            follow_launch(tx, claim, decision.resolve)
        if decision.add is not None:
            tx.launches.add(decision.add)
        self._follow_site(tx, claim, decision)
        if decision.save is not None:
            tx.work.poke_many("attempt", tx.attempts.live_of_claim(claim.id))
        unreachable_after = timedelta(seconds=self._context.settings.unreachable_after_seconds)
        follow_claim(tx, claim, unreachable_after=unreachable_after)

    def _follow_site(self, tx: Tx, claim: Claim, decision: claims.ClaimDecision) -> None:
        site = tx.sites.get(claim.id)
        if decision.stands is not None:
            built = decision.stands
            members = tuple(sorted((each.node_name, each.ray_node_id) for each in built.members))
            known = site_with(self._context, tx, site or Site(claim_id=claim.id), built.endpoint)
            stands = replace(known, members=members, session=built.endpoint.session)
            if stands != site:
                tx.sites.put(stands)
        elif site is not None and (claim.state is ClaimState.GONE or _is_of(tx, site, decision.resolve)):
            retire(tx, nodes_of(tx, claim))
            end_site(tx, site)


def _are_promised(tx: Tx, nodes: Sequence[Node]) -> bool:
    ids, now = frozenset(node.id for node in nodes), microseconds(tx.now)
    return any(
        node_id in ids
        for nomination in tx.memories.nominations()
        if nomination.until > now
        for _, node_id in nomination.seats
    )


def _is_of(tx: Tx, site: Site, launch: Launch | None) -> bool:
    """Whether the launch was refused and its machines, which go back, have the head among them.

    The machines of the next zone then found a Ray of their own.
    """
    if launch is None or launch.outcome is not LaunchOutcome.REFUSED:
        return False
    return any(
        each.machine == site.head and each.launch_id == launch.id
        for each in tx.sites.check_ins(site.claim_id)
    )


def _tended(seller: Sells, ref: ClusterRef, view: claims.ClaimView, call: claims.Call) -> claims.Heard:
    """Every call but the one that buys."""
    claim_id = view.claim.id
    match call:
        case claims.Release(members=members):
            seller.release(ref, claim_id, members, deadline=END_SECONDS)
            return claims.Released()
        case claims.Terminate():
            return claims.Terminated(answer=seller.terminate(ref, claim_id, deadline=END_SECONDS))
        case claims.Renew(until=until) if isinstance(seller, Renews):
            seller.renew(ref, claim_id, until=until, deadline=LIST_SECONDS)
            return claims.Renewed(until=until)
        case claims.Inspect() if isinstance(seller, Builds):
            return claims.Stands(built=seller.built(ref, claim_id, deadline=LIST_SECONDS))
        case _:
            machines = seller.list_owned(ref, deadline=LIST_SECONDS)
            return claims.Listed(machines=machines, asked_at=view.now)


def _bought(seller: Sells, order: LaunchOrder) -> claims.Heard:
    """Only here a refusal says that nothing was kept; of any other call it says nothing about machines."""
    try:
        return claims.Granted(machines=seller.ensure(order, deadline=claims.ENSURE_SECONDS))
    except (NoCapacity, QuotaExceeded, Rejected) as refused:
        return claims.Refused(message=refused.message)


def _put_off(turn: ClaimTurn) -> ClaimTurn:
    look_again_at = None if turn.view is None else turn.view.now
    return replace(turn, decision=claims.ClaimDecision(look_again_at=look_again_at))


def _mark(tx: Tx, turn: ClaimTurn, claim: Claim) -> None:
    """With the moment of the call itself, not that of the decision: others may have been made between them."""
    tx.work.check(turn.item)
    buys = isinstance(turn.decision.call, claims.Ensure)
    tx.claims.save(replace(claim, last_launch_at=tx.now) if buys else claim)
