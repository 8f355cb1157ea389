"""A standby of the scheduling loop: looks at each turn, and writes nothing until the lease has lapsed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import pytest

from controlplane.domain.ids import AskId
from controlplane.domain.leases import Lease
from controlplane.runtime.bell import Bell
from controlplane.runtime.scheduling import SCHEDULER_LEASE, SchedulingLoop
from schedulers.base import Delta, Engine, Plan, Policy, Snapshot
from schedulers.priority import Priority
from tests.unit.runtime.test_flow import World, world

__all__ = ["world"]

LEADER_SECONDS = 10.0


def test_a_standby_writes_nothing_until_the_lease_has_lapsed(world: World) -> None:
    store = world.context.store
    standby = _loop(world, Priority(), holder="another")
    before = store.change_marker()

    standby.step()
    assert (_holder(world), store.change_marker()) == ("me", before)

    with store.read() as tx:
        lease = tx.leases.get(SCHEDULER_LEASE)
    assert lease is not None
    world.now = lease.until
    standby.step()
    assert _holder(world) == "another"


@dataclass(slots=True)
class Unready:
    """Cannot begin, until it can."""

    is_ready: bool = False
    name: str = "unready"
    is_simple: bool = True

    def plan(self, snapshot: Snapshot) -> Plan:
        return Priority().plan(snapshot)

    def start(self, snapshot: Snapshot) -> Engine:
        if not self.is_ready:
            raise ZeroDivisionError("half of nothing")
        return Priority().start(snapshot)


@dataclass(slots=True)
class Muddled(Unready):
    """Plans what no database can take."""

    def start(self, snapshot: Snapshot) -> Engine:
        return MuddledEngine(Priority().start(snapshot))


@dataclass(slots=True)
class MuddledEngine:
    inner: Engine

    def apply(self, deltas: Sequence[Delta]) -> None:
        self.inner.apply(deltas)

    def plan(self, *, version: int, now: datetime) -> Plan:
        del now
        return Plan(version=version, lapsed=(cast("AskId", object()),))


@pytest.mark.parametrize("policy", [Unready(), Muddled()], ids=["unready", "muddled"])
def test_a_leader_that_fails_lets_a_standby_lead(world: World, policy: Policy) -> None:
    failing = _loop(world, policy, holder="me")
    standby = _loop(world, Priority(), holder="another")
    failing.turn()
    standby.turn()
    assert _holder(world) == "me"

    failing.turn()
    standby.turn()
    failing.turn()

    assert _holder(world) == "another"


@pytest.mark.parametrize("policy", [Unready(), Muddled()], ids=["unready", "muddled"])
def test_a_leader_that_fails_on_and_on_rests_twice_as_long_each_time(world: World, policy: Policy) -> None:
    began, before = world.now, len(_leases(world))
    failing = _loop(world, policy, holder="me")
    taken: list[float] = []
    for _ in range(60):
        known = len(_leases(world))
        failing.turn()
        taken.extend([(world.now - began).total_seconds()] * (len(_leases(world)) - known))
        world.now += timedelta(seconds=0.5)

    assert taken == [0.0, 1.5, 4.0, 8.5, 17.0, 27.5]
    assert len(_leases(world)) == before + len(taken)


def test_a_leader_that_has_failed_leads_again_after_its_rest(world: World) -> None:
    policy = Unready()
    loop = _loop(world, policy, holder="me")
    for _ in range(20):
        loop.turn()
    policy.is_ready = True
    loop.turn()
    assert _holder(world) is None

    world.now += timedelta(seconds=1)
    loop.turn()

    assert _holder(world) == "me"


def _loop(world: World, policy: Policy, *, holder: str) -> SchedulingLoop:
    store = world.context.store
    return SchedulingLoop(
        store=store,
        policy=policy,
        bell=Bell(store.change_marker),
        holder=holder,
        leader_seconds=LEADER_SECONDS,
        policy_seconds=math.inf,
    )


def _leases(world: World) -> list[Lease]:
    with world.context.store.read() as tx:
        return [lease for lease in tx.leases.every() if lease.name == SCHEDULER_LEASE]


def _holder(world: World) -> str | None:
    with world.context.store.read() as tx:
        lease = tx.leases.get(SCHEDULER_LEASE)
    return None if lease is None else lease.holder
