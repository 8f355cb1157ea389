"""Claims on bought machines, machines that nobody claims, and what is for sale, as the API takes and shows them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from controlplane.wire.base import Answer, Name, Request

MOST_MACHINES = 10_000
LONGEST_IDLE_SECONDS = 30 * 86_400

CapacityType = Literal["reserved", "on_demand", "spot"]

ProviderName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$",
        description="1-128 of a-z, A-Z, 0-9, '.', '_', '/', '-': as the provider spells it.",
        max_length=128,
    ),
]
Machines = Annotated[int, Field(ge=1, le=MOST_MACHINES)]


class ClaimCreate(Request):
    """Machines to be bought and held until they are given back."""

    cluster: Name = Field(description="Name or id of the cluster that they join.")
    machine_type: ProviderName
    capacity_type: CapacityType
    zones: list[ProviderName] = Field(
        min_length=1, max_length=32, description="Where they may be bought, the preferred one first."
    )
    machines_min: Machines = Field(description="Bought all or none at first; when some end, bought again.")
    machines_want: Machines | None = Field(
        default=None, description="Bought later, as they can be had; default: machines_min."
    )
    project: Name | None = Field(
        default=None,
        description="The trust domain: whose jobs alone may run on them; none = of all projects.",
    )
    reservation: ProviderName | None = Field(
        default=None, description="The provider's id of a reservation; with the capacity type `reserved`."
    )
    idle_seconds: Annotated[float, Field(gt=0, le=LONGEST_IDLE_SECONDS)] | None = Field(
        default=None, description="Given back when no task was on them for so long; none = on request only."
    )
    tries_again: bool = Field(default=True, description="False: once every zone has refused, the claim ends.")


class ClaimDocument(Answer):
    """A claim in a list."""

    id: str
    cluster_id: str
    cluster: str
    machine_type: str
    capacity_type: str
    zones: list[str]
    machines_min: int
    machines_want: int
    project: str | None = Field(default=None, description="Whose jobs alone may run there; none = of all.")
    reservation: str | None = None
    idle_seconds: float | None = None
    tries_again: bool = True
    state: Literal["requested", "launching", "ready", "draining", "terminating", "gone"]
    since: datetime
    created_at: datetime
    generation: int = Field(description="Rounds of buying so far; each goes through the zones in order.")
    release_requested_at: datetime | None = None
    idle_since: datetime | None = None
    problem: str | None = Field(default=None, description="What stands in its way.")
    version: int


class LaunchDocument(Answer):
    """One purchase: so many machines in one zone, all or none."""

    id: str = Field(description="Also the tag of its machines, and the client token of the call.")
    generation: int
    ordinal: int
    zone: str
    machines: int
    created_at: datetime
    resolved_at: datetime | None = None
    outcome: Literal["granted", "refused"] | None = Field(default=None, description="None: not known yet.")
    problem: str | None = None


class SiteDocument(Answer):
    """The Ray cluster that the claim's machines form. Its secrets are never shown."""

    url: str | None = Field(default=None, description="None: its head is not up yet.")
    head: str | None = Field(default=None, description="The machine at its head; none where it was built.")
    members: dict[str, str] = Field(
        default_factory=dict,
        description="Name of a lent node -> id of the Ray node on it, where it was built.",
    )
    seen_at: datetime | None = None
    problem: str | None = None


class BoughtMachineDocument(Answer):
    """A machine of a claim, by its own last word."""

    name: str = Field(description="As the provider calls it.")
    launch_id: str
    host: str
    phase: Literal["booting", "up", "leaving"]
    at: datetime
    notice: str | None = Field(default=None, description="Why the provider is about to take it away.")
    problem: str | None = None


class ShareDocument(Answer):
    """What one member of a built Ray cluster takes of one node that the cluster lends."""

    node: str
    resources: dict[str, float]


class ClaimDetails(ClaimDocument):
    """A claim with all that became of it."""

    nodes: int = Field(description="Present nodes that were bought for it.")
    launches: list[LaunchDocument] = Field(description="Oldest first.")
    shares: list[ShareDocument] = Field(
        default_factory=list, description="Of lent nodes, where its Ray cluster is built rather than bought."
    )
    site: SiteDocument | None = None
    machines: list[BoughtMachineDocument] = Field(default_factory=list)


class OrphanDocument(Answer):
    """A machine with our tag that no live claim wants. It is ended after a grace."""

    cluster_id: str
    cluster: str
    name: str
    zone: str
    claim_id: str
    launch_id: str
    seen_at: datetime = Field(description="When it was first listed as an orphan.")


class LeftoverDocument(Answer):
    """A disk, an address, a group... with our tag that belongs to no live claim. It may cost money."""

    cluster_id: str
    cluster: str
    kind: str
    name: str = Field(description="As the provider calls it.")
    zone: str
    claim_id: str | None = Field(default=None, description="None: it belonged to the cluster as a whole.")
    project: str | None = Field(default=None, description="For whom its claim was; none = for all.")
    seen_at: datetime = Field(description="When it was first listed.")
    tried_at: datetime | None = Field(default=None, description="When its removal was last refused.")
    problem: str | None = Field(
        default=None,
        description="Why, in the provider's words. Set: it is in quarantine until a person has removed it.",
    )
    currency: str | None = None
    cost_per_hour: Decimal | None = Field(
        default=None, description="From a dated table; none = nothing, or nobody knows."
    )
    cost: Decimal | None = Field(default=None, description="Since it was first listed.")


class OfferDocument(Answer):
    """A kind of machine that a cluster's cloud sells in one zone. Says nothing about stock."""

    cluster_id: str
    cluster: str
    machine_type: str
    zone: str
    capacity_type: str
    resources: dict[str, float] = Field(description="What tasks may use of one machine.")
    accelerator: str | None = None
    price_per_hour: Decimal | None = Field(default=None, description="Of one machine; none = nobody knows.")
    currency: str | None = Field(default=None, description="ISO 4217.")
    price_as_of: datetime | None = None
    is_price_verified: bool = Field(
        default=False, description="True: the provider said so, then; false: from a table of the plugin."
    )
    boot_seconds: float
    interruptions_per_hour: float
    refusals: int = Field(description="In a row, the last time that it was asked for.")
    cool_until: datetime | None = Field(
        default=None, description="It was refused and is not bought again before."
    )
