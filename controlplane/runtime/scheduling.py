"""The scheduling loop: follows the feed, asks the engine for a plan, commits what still holds."""

import logging
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from controlplane.domain.errors import NoLongerKept, StaleWrite, Unavailable
from controlplane.domain.leases import Lease
from controlplane.operations.placements import (
    BATCH,
    apply_places,
    end_promises,
    note_defers,
    note_fault,
    note_memory,
)
from controlplane.operations.preemptions import apply_preempts
from controlplane.operations.purchases import Purchasing, apply_provisions
from controlplane.operations.resizes import apply_resizes
from controlplane.runtime.advice import Fault, advice, within
from controlplane.runtime.bell import Bell
from controlplane.runtime.markets import market
from controlplane.runtime.pictures import Sight, deltas, snapshot
from controlplane.store import Store, Tx
from schedulers.base import Defer, Delta, Engine, MarketChanged, Plan, Policy, Reservation, resized

IDLE_SECONDS = 1.0
FEED_PAGE = 5000
FIRST_REST_SECONDS = 1.0
"""Of a leader that failed; the next rest is twice as long, up to the time of a lease."""

SCHEDULER_LEASE = "scheduler"

SEEN_ANEW = frozenset({"residency.changed", "store.added", "store.removed"})
"""Kinds of events after which nothing that the engine knows of classes can be relied on."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Leadership:
    """What this process may do and knows while it holds the lease; thrown away whole when it is lost."""

    lease: Lease
    engine: Engine
    cursor: str
    version: int = 0
    told: tuple[Defer, ...] | None = None
    reserved: tuple[Reservation, ...] = ()
    market: MarketChanged | None = None


class SchedulingLoop:
    def __init__(
        self,
        *,
        store: Store,
        policy: Policy,
        bell: Bell,
        holder: str,
        leader_seconds: float,
        policy_seconds: float = 60.0,
        builders: AbstractSet[str] = frozenset(),
        min_runtime: timedelta = timedelta(),
        means: Purchasing | None = None,
    ) -> None:
        """`policy_seconds`: after which a plan is no longer waited for, however slow the machine is.

        `builders`: adapters that build a Ray cluster for each attempt. `means` None: nothing is bought.
        """
        self._store = store
        self._policy = policy
        self._bell = bell
        self._holder = holder
        self._leader_seconds = leader_seconds
        self._builders = builders
        self._means = None if policy.is_simple else means
        self._policy_seconds = policy_seconds
        self._sight = Sight(is_simple=policy.is_simple, min_runtime=min_runtime)
        self._held: Lease | None = None
        """Until it is given back; without a leadership whatever it was taken for has failed."""

        self._leading: _Leadership | None = None
        self._first_rest = timedelta(seconds=min(FIRST_REST_SECONDS, leader_seconds))
        self._rest = self._first_rest
        self._resumes_at: datetime | None = None
        self._fault: Fault | None = None
        """Of the last answer, until one can be followed."""

    def run(self) -> None:
        heard = -1
        while not self._bell.is_stopping:
            heard = self._bell.wait(heard, IDLE_SECONDS)
            self.turn()
        self._resign()

    def turn(self) -> None:
        """One step. Whatever breaks it ends the leadership: somebody else may lead by the time we know.

        The next turn gives the lease back, if it is still ours.
        """
        try:
            self.step()
        except Unavailable as away:
            log.warning("store.away", extra={"problem": away.message})
            self._leading = None
        except (StaleWrite, NoLongerKept) as problem:
            # The second: it slept so long that what happened meanwhile is no longer told.
            log.warning("leadership.lost", extra={"holder": self._holder, "problem": problem.message})
            self._leading = None
        except Exception:
            log.exception("scheduling.failed")
            self._leading = None

    def step(self) -> None:
        """One round: lease, feed, plan, commit."""
        leading = self._lead()
        if leading is None:
            return
        followed = self._follow(leading)
        if followed is None:
            leading = self._leading = self._begin(leading.lease)
            followed = None if leading is None else self._follow(leading)
        if leading is None or followed is None:
            return
        now, changes = followed
        self._renew(leading, now)
        seconds = self._policy_seconds
        plan = advice(leading.engine, changes, version=leading.version, now=now, seconds=seconds)
        if isinstance(plan, Fault):
            self._tell(leading.lease, plan)
            self._leading = self._begin(leading.lease)
            return
        self._fault = None
        self._commit(leading, plan)
        self._rest = self._first_rest

    def _lead(self) -> _Leadership | None:
        if self._leading is None and self._held is not None:
            self._step_down(self._held)
        if self._leading is None:
            with self._store.read() as tx:
                is_resting = self._resumes_at is not None and tx.now < self._resumes_at
                if is_resting or tx.leases.is_with_another(SCHEDULER_LEASE, self._holder):
                    return None
            self._held = self._store.write(
                lambda tx: tx.leases.take(SCHEDULER_LEASE, self._holder, self._leader_seconds)
            )
            self._leading = self._begin(self._held) if self._held else None
        return self._leading

    def _step_down(self, lease: Lease) -> None:
        """Lets a standby lead, and rests by the clock that leases have.

        Whoever took the lease again at once would fail again at once, be woken by that very commit, and keep all
        standbys out.
        """

        def unit(tx: Tx) -> datetime:
            tx.leases.release(lease)
            return tx.now

        self._resumes_at = self._store.write(unit) + self._rest
        self._rest = min(2 * self._rest, timedelta(seconds=self._leader_seconds))
        self._held = None

    def _renew(self, leading: _Leadership, now: datetime) -> None:
        """When half of its time is over. What was read while it was somebody else's is thrown away with the rest."""
        lease = leading.lease
        if (lease.until - now).total_seconds() < self._leader_seconds / 2:
            leading.lease = self._store.write(lambda tx: tx.leases.renew(lease, self._leader_seconds))

    def _begin(self, lease: Lease) -> _Leadership | None:
        with self._store.read() as tx:  # one snapshot: rows and cursor belong together
            seen, cursor = snapshot(tx, self._sight), tx.events.head()
        log.info("leadership.taken", extra={"holder": self._holder, "token": lease.token})
        engine = within(self._policy_seconds, lambda: self._policy.start(seen))
        if isinstance(engine, Fault):
            self._tell(lease, engine)
            return None
        return _Leadership(lease=lease, engine=engine, cursor=cursor)

    def _tell(self, lease: Lease, fault: Fault) -> None:
        """Once, for as long as it is the same: the policy is asked again at every turn."""
        log.error("policy.failed", extra={"policy": self._policy.name, "problem": fault.problem})
        if fault != self._fault:
            self._store.write(
                partial(note_fault, lease=lease, policy=self._policy.name, problem=fault.problem)
            )
        self._fault = fault

    def _follow(self, leading: _Leadership) -> tuple[datetime, list[Delta]] | None:
        """The moment, and what has changed since the last turn. None: everything has to be seen anew.

        That is so with a new rule of residency, which says of every class where its asks may be, and when a store
        came or went, which says of many asks what class they are of.
        """
        with self._store.read() as tx:
            events, cursor = tx.events.subjects_after(leading.cursor, FEED_PAGE)
            if any(kind in SEEN_ANEW for kind, _ in events):
                return None
            changes = deltas(tx, self._sight, events)
            seen = self._market(tx)
            now = tx.now
        if seen is not None and seen != leading.market:
            leading.market = seen
            changes.append(seen)
        leading.cursor = cursor
        leading.version += len(events)
        return now, changes

    def _market(self, tx: Tx) -> MarketChanged | None:
        """Read at every turn: offers are refreshed without a word in the feed, and there are few."""
        means = self._means
        if means is None:
            return None
        return market(tx, on_unverified_prices=means.on_unverified_prices, rates=means.rates)

    def _buy(self, lease: Lease, plan: Plan) -> None:
        if self._means is None:
            return
        if plan.provisions:
            buy = partial(apply_provisions, lease=lease, provisions=plan.provisions, means=self._means)
            for kept in self._store.write(buy):
                log.info("provision.refused", extra={"ask": kept.ask_id, "why": kept.why})

    def _resize(self, lease: Lease, plan: Plan) -> None:
        if resizes := resized(plan):
            for left in self._store.write(partial(apply_resizes, lease=lease, resizes=resizes)):
                log.info("resize.refused", extra={"ask": left.ask_id, "why": left.why})

    def _commit(self, leading: _Leadership, plan: Plan) -> None:
        lease = leading.lease
        if plan.lapsed:  # first: whoever gets those seats instead is judged by the promises that are left
            self._store.write(partial(end_promises, lease=lease, ask_ids=plan.lapsed))
        for start in range(0, len(plan.preempts), BATCH):
            stop = partial(apply_preempts, lease=lease, preempts=plan.preempts[start : start + BATCH])
            for kept in self._store.write(stop):
                log.info("preempt.refused", extra={"ask": kept.preempt.ask_id, "why": kept.why})
        self._resize(lease, plan)
        for start in range(0, len(plan.places), BATCH):
            places = plan.places[start : start + BATCH]
            unit = partial(apply_places, lease=lease, places=places, builders=self._builders)
            for refusal in self._store.write(unit):
                log.info("place.refused", extra={"ask": refusal.place.ask_id, "why": refusal.why})
        self._buy(lease, plan)
        if plan.past_uses or plan.reserves != leading.reserved:
            self._store.write(partial(note_memory, lease=lease, plan=plan))
            leading.reserved = plan.reserves
        if plan.defers != leading.told:
            self._store.write(partial(note_defers, lease=lease, defers=plan.defers))
            leading.told = plan.defers

    def _resign(self) -> None:
        if self._held is None:
            return
        lease = self._held
        try:
            self._store.write(lambda tx: tx.leases.release(lease))
        except (StaleWrite, Unavailable) as problem:
            log.info("lease.left", extra={"problem": problem.message})
