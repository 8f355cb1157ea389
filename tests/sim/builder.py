"""A cluster that lends nodes and builds a Ray cluster on them for each attempt: how one replica reaches it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from cloud_adapters.base import (
    Amounts,
    Built,
    ClusterRef,
    Inventory,
    LaunchOrder,
    NoCapacity,
    Offer,
    OwnedMachine,
    Termination,
    Transient,
)
from cloud_adapters.fake_builder import FakeBuilder
from controlplane.domain.amounts import total
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import AuthFailed
from tests.sim.cloud import LONGEST_LATENESS
from tests.sim.formed import OwnSite
from tests.sim.ports import Way
from tests.sim.site import Site, Surroundings
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.world import World


class BuiltSite(OwnSite):
    """The Ray cluster of one attempt: a member on each booked node, the first of them its head."""

    def __init__(self, name: str, around: Surroundings, *, trust_domain: str) -> None:
        super().__init__(name, around, trust_domain=trust_domain)
        self.token: str | None = None
        self.nodes: dict[str, str] = {}
        """Where each member is."""

    @property
    def url(self) -> str:
        return f"https://{self.name}.invalid"

    def opens(self, endpoint: Endpoint) -> None:
        """Raises where a real one would not let this caller in."""
        if endpoint.token != self.token:
            raise AuthFailed(f"{self.name} does not know this token")


class Ground(Site):
    """The cluster itself: its machines are the nodes that it lends. It has no Ray but those that are built on them."""

    adapter = "kube"

    def __init__(self, name: str, around: Surroundings, *, machines: int) -> None:
        self.builder = FakeBuilder(lambda: around.timeline.now)
        self._around = around
        self._sites: dict[str, BuiltSite] = {}
        """Those that stand, by url."""

        super().__init__(name, around, machines=machines)

    @property
    def address(self) -> None:
        return None

    @property
    def sites(self) -> tuple[BuiltSite, ...]:
        return tuple(self._sites.values())

    def lose_machine(self, name: str) -> None:
        """With every member on it."""
        for member in self.builder.members.machines:
            if self.builder.seat(member.launch_id, member.name)[0] == name:
                self.builder.members.reclaim(member.name)
        super().lose_machine(name)

    def restart(self) -> None:
        """Every Ray on it ends."""
        for site in self.sites:
            site.collapse()
        self._sites.clear()

    def check_room(self) -> None:
        """Members may wait for those that are on their way out; code that runs has its room on the node to itself."""
        room = {node.name: node.allocatable for node in self.builder.nodes}
        running: dict[str, list[Amounts]] = {}
        for code in self.truth.running.values():
            for site in self.sites:
                if code.site == site.name:
                    running.setdefault(site.nodes[code.machine], []).append(code.amounts)
        for name, amounts in running.items():
            if name in room and not total(amounts).fits_in(room[name]):
                raise Violation(f"code on node {name} takes {total(amounts)}, and it has {room[name]}")

    def follow(self) -> None:
        """A member that ends takes its Ray node along, the first one the whole Ray cluster."""
        if not self._sites:
            return
        there = {
            f"ray-{member.name}" for member in self.builder.members.machines if member.stopping_at is None
        }
        for site in self.sites:
            head = next(iter(site.machines), None)
            for name in [name for name in site.machines if name not in there]:
                site.lose_machine(name)
                if name == head:
                    site.collapse()
                    del self._sites[site.url]
                    break
        self.check_room()

    def stands(self, built: Built, order: LaunchOrder) -> None:
        """Its Ray answers for the first time: each member has as much as was booked for it."""
        url = built.endpoint.url
        if url in self._sites:
            return
        site = BuiltSite(order.claim_id, self._around, trust_domain=order.trust_domain)
        site.token = built.endpoint.token
        for member in built.members:
            site.nodes[member.ray_node_id] = member.node_name
            site.machines[member.ray_node_id] = self.builder.seat(order.launch_id, member.name)[1]
        self._sites[url] = site

    def at(self, endpoint: Endpoint) -> BuiltSite | None:
        site = self._sites.get(endpoint.url)
        if site is not None:
            site.opens(endpoint)
        return site

    def _note_list(self) -> None:
        self.builder.nodes = tuple(self._machine(name) for name in sorted(self.machines))


class SimBuilder:
    """Lends, Sells and Builds, as one replica reaches it."""

    def __init__(self, world: "World", way: Way, ground: Ground) -> None:
        self._world = world
        self._way = way
        self._ground = ground
        self._builder = ground.builder

    @property
    def list_lag(self) -> timedelta:
        return self._builder.list_lag

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        def see() -> Inventory:
            if self._ground.is_unreachable:
                raise Transient(f"{cluster.name} does not answer")
            return self._builder.inventory(cluster, deadline=deadline)

        return self._way.look("inventory", see)

    def offers(self, cluster: ClusterRef, *, deadline: float) -> tuple[Offer, ...]:
        return self._way.look("offers", lambda: self._builder.offers(cluster, deadline=deadline))

    def ensure(self, launch: LaunchOrder, *, deadline: float) -> tuple[OwnedMachine, ...]:
        def build() -> tuple[OwnedMachine, ...]:
            self._world.judge.purchases.ordered(launch)
            nodes = {node.name for node in self._builder.nodes}
            gone = [share.node_name for share in launch.shares if share.node_name not in nodes]
            if gone and self._builder.order(launch.launch_id) is None:
                raise NoCapacity(f"node {gone[0]} is gone")
            return self._builder.ensure(launch, deadline=deadline)

        return self._way.deed("ensure", build, longest_lateness=LONGEST_LATENESS)

    def release(self, cluster: ClusterRef, claim_id: str, members: Sequence[str], *, deadline: float) -> None:
        builder = self._builder

        def end() -> None:
            self._world.judge.purchases.released(builder.members, claim_id, members)
            builder.release(cluster, claim_id, members, deadline=deadline)

        self._way.deed("release", end)

    def terminate(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Termination:
        builder = self._builder
        return self._way.deed("terminate", lambda: builder.terminate(cluster, claim_id, deadline=deadline))

    def list_owned(self, cluster: ClusterRef, *, deadline: float) -> tuple[OwnedMachine, ...]:
        return self._way.look("list", lambda: self._builder.list_owned(cluster, deadline=deadline))

    def built(self, cluster: ClusterRef, claim_id: str, *, deadline: float) -> Built:
        def see() -> Built:
            mine = [each for each in self._builder.members.machines if each.claim_id == claim_id]
            built = self._builder.built(cluster, claim_id, deadline=deadline)
            order = self._builder.order(mine[0].launch_id) if mine else None
            if order is None or len(built.members) < order.machines:
                raise Transient(f"{len(built.members)} members of the Ray cluster of {claim_id} have joined")
            self._ground.stands(built, order)
            return built

        return self._way.look("built", see)
