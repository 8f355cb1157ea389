"""Formed sites: the Ray cluster that the machines of one claim make up, behind a door with a certificate of its own."""

from typing import TYPE_CHECKING, Final

from cloud_adapters.base import MACHINE_LABEL, Machine
from controlplane.domain.claims import SHARED
from controlplane.domain.clusters import Endpoint
from controlplane.domain.errors import AuthFailed, Transient
from controlplane.executors.base import Order
from tests.sim.site import Site, Surroundings
from tests.sim.truth import Violation

if TYPE_CHECKING:
    from tests.sim.programs import Program

LONGEST_COLLAPSE: Final = 60.0
"""Seconds that Ray's nodes go on without their head."""


class OwnSite(Site):
    """A Ray cluster of one claim. Whoever does not belong to its trust domain must not run there."""

    def __init__(self, name: str, around: Surroundings, *, trust_domain: str) -> None:
        super().__init__(name, around)
        self._trust_domain = trust_domain
        self._project_of = around.project_of
        self._note_list()

    def start(self, order: Order) -> str:
        project = self._project_of(order.job_id)
        if self._trust_domain not in (SHARED, project):
            raise Violation(
                f"job {order.job_id} of {project} was sent to {self.name} of {self._trust_domain}"
            )
        return super().start(order)

    def collapse(self) -> None:
        """Everything that runs there ends."""
        for wrapper in self._wrappers.values():
            wrapper.end_of_life()
        self._wrappers.clear()
        self.machines.clear()


class FormedSite(OwnSite):
    """Stands and falls with its head."""

    def __init__(
        self, name: str, around: Surroundings, *, head: "Program", token: str | None, cut_zones: set[str]
    ) -> None:
        self._programs: dict[str, Program] = {}
        """By Ray's name of the node."""

        super().__init__(name, around, trust_domain=head.order.trust_domain)
        self.head = head
        self.token = token
        self.is_over = False
        self._cut_zones = cut_zones

    @property
    def url(self) -> str:
        return f"https://{self.head.host}:8443"

    @property
    def members(self) -> set[str]:
        """Machines that are nodes of it."""
        return {program.name for program in self._programs.values()}

    def opens(self, endpoint: Endpoint) -> None:
        """Raises where a real one would not let this caller in."""
        pinned = (endpoint.route.server_name or "").partition(".")[0].replace("-", "_")
        if endpoint.route.ca_pem is None or pinned != self.head.order.claim_id:
            raise Transient(f"the certificate of {self.name} is not the one that is pinned")
        if endpoint.token != self.token:
            raise AuthFailed(f"{self.name} does not know this token")

    def join(self, program: "Program") -> None:
        name = f"ray-{program.name}-{self._lives}"
        self._programs[name] = program
        self.machines[name] = program.size
        self._note_list()

    def leave(self, program: "Program") -> None:
        name = next((each for each, member in self._programs.items() if member is program), None)
        if name is not None:
            del self._programs[name]
            if name in self.machines:
                self.lose_machine(name)

    def restart(self) -> None:
        """The head's Ray dies and is started again: all that ran is gone, and the nodes have new names."""
        members = list(self._programs.values())
        self._programs.clear()
        self.collapse()
        self._lives += 1
        self._lists.clear()
        self._note_list()
        for program in members:
            self.join(program)

    def collapse(self) -> None:
        super().collapse()
        members, self._programs = list(self._programs.values()), {}
        if self.is_over:
            for program in members:
                program.ray_ended()

    def hears_nothing_from(self, order: Order, rank: int) -> bool:
        program = self._programs.get(order.seats[max(rank, 0)].node_name)
        return program is not None and program.sold.zone in self._cut_zones

    def _answer(self) -> None:
        if self.is_over or self.head.sold.zone in self._cut_zones:
            raise Transient(f"{self.name} does not answer")
        super()._answer()

    def _machine(self, name: str) -> Machine:
        program = self._programs[name]
        return Machine(
            name=name,
            host=program.host,
            allocatable=self.machines[name],
            labels=((MACHINE_LABEL, program.name),),
        )
