"""The fleet: bought machines that boot our program, the addresses they are given, and the Ray clusters they form."""

from typing import TYPE_CHECKING, Final

from cloud_adapters.base import Boot, LaunchOrder, MachineState
from cloud_adapters.fake_cloud import FakeCloud, Sold
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import Transient
from controlplane.wire.machines import CheckInAnswer, CheckInRequest
from tests.sim.formed import LONGEST_COLLAPSE, FormedSite
from tests.sim.programs import Program
from tests.sim.wrappers import Silence

if TYPE_CHECKING:
    from tests.sim.world import World

BOOTS: Final = {"never": 0.15}
LONGEST_BOOT: Final = 15.0


class Fleet:
    def __init__(self, world: "World", cloud: FakeCloud) -> None:
        self.cloud = cloud
        self.timeline = world.timeline
        self.chance = world.chance
        self._world = world
        self._orders: dict[str, LaunchOrder] = {}
        self._programs: dict[str, Program] = {}
        """Of machines that exist, by name."""

        self._sites: dict[str, FormedSite] = {}
        """Those that stand, by url."""

        self._founded = 0

    @property
    def sites(self) -> tuple[FormedSite, ...]:
        return tuple(self._sites.values())

    @property
    def programs(self) -> tuple[Program, ...]:
        return tuple(self._programs.values())

    @property
    def is_forming(self) -> bool:
        """Some machine is not a node of any Ray yet."""
        programs = (self._programs.get(sold.name) for sold in self.cloud.machines)
        return any(program is None or program.site is None for program in programs)

    def ordered(self, launch: LaunchOrder) -> None:
        """Its machines get this user data."""
        self._orders[launch.launch_id] = launch

    def follow(self) -> None:
        """What was sold and runs boots; what the cloud has told to end is lost at once."""
        now = self.timeline.now
        running = {sold.name: sold for sold in self.cloud.machines if sold.state(now) is MachineState.RUNNING}
        for name in [name for name in self._programs if name not in running]:
            self._lose(self._programs.pop(name))
        for name, sold in running.items():
            if name not in self._programs:
                self._boot(sold)

    def end(self, program: Program) -> None:
        """It shuts itself down, which ends the machine."""
        self._programs.pop(program.name, None)
        self._lose(program)
        self.cloud.reclaim(program.name)

    def reclaim(self, name: str) -> None:
        """The provider takes a spot machine back, with or without a notice."""
        program = self._programs.get(name)
        if program is not None and self.chance.is_so("notice", 0.6):
            program.warn()
            self.timeline.after(
                self.chance.between("notice time", 10.0, 120.0), lambda: self.cloud.reclaim(name)
            )
        else:
            self.cloud.reclaim(name)

    def deliver(self, boot: Boot, said: CheckInRequest) -> CheckInAnswer | Silence:
        return self._world.check_in(boot.token, said)

    def hears_nothing_from(self, program: Program) -> bool:
        return program.sold.zone in self.cloud.cut_zones

    def found(self, head: Program, token: str | None) -> FormedSite:
        self._founded += 1
        site = FormedSite(
            f"{head.sold.claim_id}-ray-{self._founded}",
            self._world.around,
            head=head,
            token=token,
            cut_zones=self.cloud.cut_zones,
        )
        self._sites[site.url] = site
        return site

    def site_at(self, host: str | None) -> FormedSite | None:
        """As another machine reaches it."""
        return self._sites.get(f"https://{host}:8443")

    def at(self, endpoint: Endpoint) -> FormedSite | None:
        """As the control plane reaches it."""
        site = self._sites.get(endpoint.url)
        if site is not None:
            site.opens(endpoint)
        return site

    def heal(self) -> None:
        """What does not answer does again."""
        for site in self.sites:
            site.is_unreachable = site.is_cut_off = False

    def end_all(self) -> None:
        """Whoever swears that nothing runs there sees to it."""
        for site in self.sites:
            site.restart()

    def _boot(self, sold: Sold) -> None:
        order = self._orders[sold.launch_id]
        if order.boot is None:
            raise Transient(f"launch {sold.launch_id} was ordered without user data")
        program = Program(self, sold, order, order.boot, self._address(sold))
        self._programs[sold.name] = program
        if self.chance.fault(f"boot {sold.name}", BOOTS) is None:
            self.timeline.after(
                self.chance.between(f"boot time {sold.name}", 0.0, LONGEST_BOOT), program.begin
            )

    def _address(self, sold: Sold) -> str:
        """The lowest that is free in its zone: soon somebody else's again."""
        taken = {program.host for program in self._programs.values()}
        return next(host for n in range(1, 250) if (host := f"10.{ord(sold.zone)}.0.{n}") not in taken)

    def _lose(self, program: Program) -> None:
        site = program.site
        program.lose()
        if site is not None and site.head is program and not site.is_over:
            site.is_over = True
            del self._sites[site.url]
            seconds = self.chance.between(f"collapse {site.name}", 0.0, LONGEST_COLLAPSE)
            self.timeline.after(seconds, site.collapse)
