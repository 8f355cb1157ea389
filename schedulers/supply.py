"""Supply: what there is to sit on, and what could be bought."""

from dataclasses import dataclass

from controlplane.domain.amounts import Amounts
from controlplane.domain.claims import SHARED, CapacityType
from controlplane.domain.ids import AskId, ClaimId, ClusterId, NodeId
from schedulers.demand import AskClass, Bound

DEFAULT_FLAVOR = "default"
"""Of nodes that no flavor describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A present node of a cluster that takes tasks; `free` = allocatable - foreign - seats, leaving ones included."""

    id: NodeId
    cluster_id: ClusterId
    allocatable: Amounts
    free: Amounts
    accelerator: str | None
    flavor: str = DEFAULT_FLAVOR
    domains: tuple[tuple[str, str], ...] = ()
    """(level, domain), outermost first: `(("block", "b1"), ("rack", "r7"))`. The node itself is the last level."""

    taints: tuple[tuple[str, str], ...] = ()
    """(key, value); only asks that tolerate all of them come here."""

    healthy: bool = True
    """False: cordoned or suspected. What runs there runs on, nothing new comes."""

    closes_at: int | None = None
    """Microseconds since the epoch; only what is expected to end before may begin here."""

    claim_id: ClaimId | None = None
    """The claim that it was bought for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """A registered cluster; `blocked` says in words why it takes no tasks now, None when it does."""

    id: ClusterId
    name: str
    blocked: str | None
    provider: str = ""
    region: str = ""
    regions: tuple[str, ...] = ()
    """All that it lies in beside the first: jurisdictions, for instance."""

    spread: tuple[str, ...] = ()
    """Regions of which its machines may be in any: a rule has to allow each of them."""

    registered_as: str = ""
    """The name of the registered cluster that it is a part of."""

    trust_domain: str = SHARED
    """`shared` takes asks of all trust domains."""

    def lets_in(self, its: AskClass) -> bool:
        """Residency and trust: whether its work may be here at all."""
        return (
            self.trust_domain in (SHARED, its.trust_domain)
            and self._is_allowed(its)
            and all(self._is_allowed(each) for each in its.bounds)
        )

    def lies_in(self, region: str) -> bool:
        """All of it, whichever of its machines one has."""
        return region in (self.region, *self.regions)

    def _is_allowed(self, rule: AskClass | Bound) -> bool:
        return (
            (not rule.clusters or self.id in rule.clusters or self.registered_as in rule.clusters)
            and (not rule.providers or self.provider in rule.providers)
            and (not rule.regions or self._is_within(rule.regions))
        )

    def _is_within(self, regions: tuple[str, ...]) -> bool:
        lies_in = any(map(self.lies_in, regions))
        return lies_in or (bool(self.spread) and all(each in regions for each in self.spread))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Machines of one type that a cloud sells for a cluster, as of the snapshot."""

    id: str
    cluster_id: ClusterId
    """That they would join."""

    flavor: str
    capacity_type: CapacityType
    allocatable: Amounts
    """Of one machine once it is a node."""

    price_millionths_per_hour: int
    """Of one machine, in millionths of `currency`."""

    currency: str = "USD"
    worth_ppm: int = 1_000_000
    """Of a unit of the currency, in millionths of one that all offers of the snapshot have: to compare, not to pay."""

    accelerator: str | None = None
    domains: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str], ...] = ()
    machines_left: int | None = None
    """What may still be bought; None: no limit is known."""

    interruptions_per_hour_ppm: int = 0
    """How often one machine is taken back, in millionths per hour."""

    boot_seconds: int = 0
    region: str = ""
    """That its machines are in, where their cluster lies in several; empty: where their cluster is."""

    egress_millionths_per_gib: int = 0
    """To bring a GiB from another region."""

    cool_until: int = 0
    """Microseconds since the epoch: sold out, not asked again before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """Machines that were bought or are being bought. Kept for `ask_id` until it is placed or gone."""

    id: ClaimId
    cluster_id: ClusterId
    offer_id: str
    machines: int
    ask_id: AskId | None
    queue_id: str
    price_millionths_per_hour: int
    """Of all its machines."""

    ready_at: int
    """When its machines are nodes, as far as is known."""

    is_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Money that a queue, or all queues below a cohort, may still spend in the present window."""

    queue_id: str
    left_millionths: int
    currency: str = "USD"
    ends_at: int
    """Microseconds since the epoch."""
