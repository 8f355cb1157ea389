"""The cloud of the world: machines that claims buy, the Ray cluster that they make up, and the ports of one replica."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cloud_adapters.base import (
    ClusterRef,
    Inventory,
    LaunchOrder,
    MachineState,
    OwnedMachine,
    Termination,
)
from cloud_adapters.fake_cloud import FakeCloud, Sold
from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import CapacityType
from controlplane.domain.errors import Transient
from controlplane.executors.base import Order
from tests.sim.ports import Way
from tests.sim.site import Site
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.world import World

ZONES: Final = ("a", "b", "c")
LONGEST_LATENESS: Final = 25.0
"""Of a call that buys: below its deadline, after which the control plane counts on nothing new."""


class CloudSite(Site):
    """A Ray cluster of bought machines."""

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


class SimSeller:
    """The cloud as one replica reaches it: it sells, and lends what it sold."""

    def __init__(self, world: "World", way: Way) -> None:
        self._world = world
        self._way = way

    @property
    def list_lag(self) -> timedelta:
        return self._world.cloud.list_lag

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        def buy() -> tuple[OwnedMachine, ...]:
            if not self._world.judge.knows_launch(launch.launch_id):
                raise Violation(f"launch {launch.launch_id} was ordered before it was written down")
            return self._world.cloud.ensure(launch, deadline=deadline)

        return self._way.deed("ensure", buy, longest_lateness=LONGEST_LATENESS)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        cloud = self._world.cloud
        self._way.deed("release", lambda: cloud.release(cluster, claim_id, members, deadline=deadline))

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        cloud = self._world.cloud
        return self._way.deed("terminate", lambda: cloud.terminate(cluster, claim_id, deadline=deadline))

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        return self._way.look("list", lambda: self._world.cloud.list_owned(cluster, deadline=deadline))

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        def see() -> Inventory:
            if self._world.sites.of(cluster).is_unreachable:
                raise Transient(f"{cluster.name} does not answer")
            return self._world.cloud.inventory(cluster, deadline=deadline)

        return self._way.look("inventory", see)


CAPACITY_TYPES: Final = (CapacityType.ON_DEMAND, CapacityType.SPOT)
