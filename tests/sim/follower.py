"""The follower: an engine that is led along by the feed, as a standby's would be, and must plan as a fresh one does."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from controlplane.domain.errors import NoLongerKept
from controlplane.runtime.markets import market
from controlplane.runtime.pictures import Sight, deltas, snapshot
from controlplane.settings import rates_of
from controlplane.store import Tx
from schedulers.base import Engine, Plan, Policy, Snapshot
from tests.sim.settings import SETTINGS
from tests.sim.truth import Violation

FEED_PAGE: Final = 100_000


class Follower:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._engine: Engine | None = None
        self._cursor = ""

    def compare(self, tx: Tx) -> Plan:
        """What a fresh look at all rows plans. Raises `Violation` where the engine plans something else."""
        fresh = seen(tx, self._policy)
        plan = self._policy.plan(fresh)
        engine = self._led(tx, fresh)
        own = engine.plan(version=0, now=fresh.now)
        if own != plan:
            names = [name for name in Plan.__slots__ if getattr(own, name) != getattr(plan, name)]
            parts = [f"{name}: {getattr(own, name)} / {getattr(plan, name)}" for name in names]
            raise Violation(f"the engine and a fresh plan differ in {'; '.join(parts)}")
        return plan

    def _led(self, tx: Tx, fresh: Snapshot) -> Engine:
        if self._engine is None:
            return self._begin(tx, fresh)
        try:
            events, self._cursor = tx.events.subjects_after(self._cursor, FEED_PAGE)
        except NoLongerKept:
            return self._begin(tx, fresh)
        self._engine.apply(deltas(tx, sight(self._policy), events))
        if not self._policy.is_simple:
            self._engine.apply(
                [
                    market(
                        tx,
                        on_unverified_prices=SETTINGS.burst_on_unverified_prices,
                        rates=rates_of(SETTINGS.exchange_rates),
                    )
                ]
            )
        return self._engine

    def _begin(self, tx: Tx, fresh: Snapshot) -> Engine:
        self._cursor = tx.events.head()
        self._engine = self._policy.start(fresh)
        return self._engine


def seen(tx: Tx, policy: Policy) -> Snapshot:
    """All that the policy may know at this moment."""
    whole = snapshot(tx, sight(policy))
    if policy.is_simple:
        return whole
    offered = market(
        tx, on_unverified_prices=SETTINGS.burst_on_unverified_prices, rates=rates_of(SETTINGS.exchange_rates)
    )
    return replace(whole, offers=offered.offers, claims=offered.claims, budgets=offered.budgets)


def sight(policy: Policy) -> Sight:
    return Sight(is_simple=policy.is_simple, min_runtime=timedelta(seconds=SETTINGS.min_runtime_seconds))
