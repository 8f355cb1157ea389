"""A standby of the scheduling loop: looks at each turn, and writes nothing until the lease has lapsed."""

from controlplane.runtime.bell import Bell
from controlplane.runtime.scheduling import SCHEDULER_LEASE, SchedulingLoop
from schedulers.priority import Priority
from tests.unit.runtime.test_flow import World, world

__all__ = ["world"]

LEADER_SECONDS = 10.0


def test_a_standby_writes_nothing_until_the_lease_has_lapsed(world: World) -> None:
    store = world.context.store
    standby = SchedulingLoop(
        store=store,
        policy=Priority(),
        bell=Bell(store.change_marker),
        holder="another",
        leader_seconds=LEADER_SECONDS,
    )
    before = store.change_marker()

    standby.step()
    assert (_holder(world), store.change_marker()) == ("me", before)

    with store.read() as tx:
        lease = tx.leases.get(SCHEDULER_LEASE)
    assert lease is not None
    world.now = lease.until
    standby.step()
    assert _holder(world) == "another"


def _holder(world: World) -> str | None:
    with world.context.store.read() as tx:
        lease = tx.leases.get(SCHEDULER_LEASE)
    return None if lease is None else lease.holder
