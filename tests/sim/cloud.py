"""The cloud of the world: machines that claims buy, the Ray cluster that they make up, and the ports of one replica."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cloud_adapters.base import (
    ClusterRef,
    Inventory,
    LaunchOrder,
    Leftover,
    MachineState,
    Offer,
    OwnedMachine,
    Termination,
)
from cloud_adapters.fake_cloud import FakeCloud, Sold
from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import CapacityType
from controlplane.domain.errors import Transient
from controlplane.executors.base import Order
from tests.sim.ports import Way
from tests.sim.site import Site, Surroundings

if TYPE_CHECKING:
    from tests.sim.fleet import Fleet
    from tests.sim.world import World

ZONES: Final = ("a", "b", "c")
LONGEST_LATENESS: Final = 25.0
"""Of a call that buys: below its deadline, after which the control plane counts on nothing new."""


class CloudSite(Site):
    """One Ray cluster of all machines that are bought."""

    adapter = "cloud"
    silent: frozenset[str] = frozenset()
    """Machines in zones that are cut off: they run on, and nobody hears them."""

    def follow(self, cloud: FakeCloud) -> None:
        """What was sold and runs has joined; what ends is lost to Ray as soon as it is told to."""
        running = {sold.name: self._size(cloud, sold) for sold in cloud.machines if self._is_up(sold)}
        for name in sorted(self.machines.keys() - running.keys()):
            self.lose_machine(name)
        for name in sorted(running.keys() - self.machines.keys()):
            self.machines[name] = running[name]
        self.silent = frozenset(sold.name for sold in cloud.machines if sold.zone in cloud.cut_zones)

    def hears_nothing_from(self, order: Order, rank: int) -> bool:
        return order.seats[max(rank, 0)].node_name in self.silent

    def _is_up(self, sold: Sold) -> bool:
        return sold.state(self.timeline.now) is MachineState.RUNNING and sold.exists(self.timeline.now)

    @staticmethod
    def _size(cloud: FakeCloud, sold: Sold) -> Amounts:
        return cloud.machine_types[sold.machine_type]


class Account(Site):
    """Has no Ray of its own: the machines of each claim form one."""

    adapter = "cloud"

    def __init__(self, name: str, around: Surroundings, fleet: "Fleet") -> None:
        super().__init__(name, around)
        self._fleet = fleet

    @property
    def address(self) -> None:
        return None

    def restart(self) -> None:
        self._fleet.end_all()


class SimSeller:
    """The cloud as one replica reaches it: it sells, lends what it sold, and sweeps up."""

    def __init__(self, world: "World", way: Way) -> None:
        self._world = world
        self._cloud = world.cloud
        self._way = way

    @property
    def list_lag(self) -> timedelta:
        return self._cloud.list_lag

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:
        return self._way.look("offers", lambda: self._cloud.offers(cluster, deadline=deadline))

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        def buy() -> tuple[OwnedMachine, ...]:
            self._world.judge.purchases.ordered(launch)
            if self._world.fleet is not None:
                self._world.fleet.ordered(launch)
            return self._cloud.ensure(launch, deadline=deadline)

        return self._way.deed("ensure", buy, longest_lateness=LONGEST_LATENESS)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        def end() -> None:
            self._world.judge.purchases.released(self._cloud, claim_id, members)
            self._cloud.release(cluster, claim_id, members, deadline=deadline)

        self._way.deed("release", end)

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        cloud = self._cloud
        return self._way.deed("terminate", lambda: cloud.terminate(cluster, claim_id, deadline=deadline))

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        return self._way.look("list", lambda: self._cloud.list_owned(cluster, deadline=deadline))

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        def see() -> Inventory:
            if self._world.sky.is_unreachable:
                raise Transient(f"{cluster.name} does not answer")
            return self._cloud.inventory(cluster, deadline=deadline)

        return self._way.look("inventory", see)

    def renew(self, cluster: ClusterRef, claim_id: str, *, until: datetime, deadline: float) -> None:
        cloud = self._cloud
        self._world.judge.purchases.renewed(claim_id)
        self._way.deed("renew", lambda: cloud.renew(cluster, claim_id, until=until, deadline=deadline))

    def leftovers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Leftover, ...]:
        return self._way.look("leftovers", lambda: self._cloud.leftovers(cluster, deadline=deadline))

    def remove(self, cluster: ClusterRef, leftover: Leftover, *, deadline: float) -> None:
        cloud = self._cloud
        self._world.judge.purchases.removed(cluster.id, leftover.name, self.list_lag)
        self._way.deed("remove", lambda: cloud.remove(cluster, leftover, deadline=deadline))


CAPACITY_TYPES: Final = (CapacityType.ON_DEMAND, CapacityType.SPOT)
