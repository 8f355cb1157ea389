"""A fake cluster that lends nodes and builds Ray clusters on them, with the vices of a fake cloud for its members.

kube = FakeBuilder(now=clock)
kube.nodes = (machine("node-1"),)
kube.members.lost_answers = 1       # every vice of the fake cloud
kube.silent.add("claim-1")          # members run, and their Ray does not answer
kube.drifted["m-0001"] = "node-2"   # a member that came up on another node than it was built for
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cloud_adapters.base import (
    Amounts,
    Built,
    ClusterRef,
    Endpoint,
    Inventory,
    LaunchOrder,
    Machine,
    MachineState,
    Member,
    Offer,
    OwnedMachine,
    Termination,
    Transient,
)
from cloud_adapters.fake_cloud import FakeCloud

LENT: Final = "lent"


class FakeBuilder:
    """Lends, Sells and Builds."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.nodes: tuple[Machine, ...] = ()
        """What it lends; what its members hold is added to `used` and `ours`."""

        self.members = FakeCloud(now)
        self.members.machine_types = {LENT: Amounts(cpu_milli=1)}
        self.silent: set[str] = set()
        self.drifted: dict[str, str] = {}
        self.is_unreachable = False
        self._orders: dict[str, LaunchOrder] = {}

    def held(self) -> dict[str, Amounts]:
        """The truth: what members hold, by node."""
        held: dict[str, Amounts] = {}
        for member in self.members.machines:
            node_name, amounts = self.seat(member.launch_id, member.name)
            held[node_name] = held.get(node_name, Amounts()).plus(amounts)
        return held

    def order(self, launch_id: str) -> LaunchOrder | None:
        """None: it never came here."""
        return self._orders.get(launch_id)

    def seat(self, launch_id: str, name: str) -> tuple[str, Amounts]:
        """The node of a member, and what it holds there: the shares in the order of the members' names."""
        order = self._orders[launch_id]
        names = [each.name for each in self.members.bill if each.launch_id == launch_id]
        share = order.shares[names.index(name)]
        return self.drifted.get(name, share.node_name), share.amounts

    @property
    def list_lag(self) -> timedelta:
        return self.members.list_lag

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:  # noqa: ARG002 # it never waits
        if self.is_unreachable:
            raise Transient(f"cluster {cluster.name} does not answer")
        held = self.held()
        nodes = tuple(_with(node, held.get(node.name, Amounts())) for node in self.nodes)
        return Inventory(machines=nodes, complete=True, session="life-1")

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:  # noqa: ARG002 # it never waits
        return ()

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        self._orders.setdefault(launch.launch_id, launch)
        return self.members.ensure(launch, deadline=deadline)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        self.members.release(cluster, claim_id, members, deadline=deadline)

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        return self.members.terminate(cluster, claim_id, deadline=deadline)

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        return self.members.list_owned(cluster, deadline=deadline)

    def built(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Built:
        mine = [each for each in self.list_owned(cluster, deadline=deadline) if each.claim_id == claim_id]
        if (
            claim_id in self.silent
            or not mine
            or any(each.state is not MachineState.RUNNING for each in mine)
        ):
            raise Transient(f"the Ray cluster of {claim_id} does not answer yet")
        return Built(
            endpoint=Endpoint(url=f"https://{claim_id}.invalid", token=f"token-{claim_id}", session=claim_id),
            members=tuple(
                Member(
                    name=each.name,
                    ray_node_id=f"ray-{each.name}",
                    node_name=self.seat(each.launch_id, each.name)[0],
                )
                for each in mine
            ),
        )


def _with(node: Machine, ours: Amounts) -> Machine:
    return replace(node, used=node.used.plus(ours), ours=ours)
