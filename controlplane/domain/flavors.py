"""Flavors: named kinds of capacity that quotas count, and which nodes are of which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.claims import CapacityType


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a flavor may look at, of a node or of an offer."""

    cluster: str
    """Name of the registered cluster."""

    accelerator: str | None
    capacity_type: CapacityType
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """Describes capacity by what all of it has in common; what is left empty may be anything."""

    name: str
    rank: int = 0
    """The lowest that matches wins; then the first by name."""

    clusters: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    capacity_types: tuple[CapacityType, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def matches(self, capacity: Capacity) -> bool:
        return (
            (not self.clusters or capacity.cluster in self.clusters)
            and (not self.accelerators or capacity.accelerator in self.accelerators)
            and (not self.capacity_types or capacity.capacity_type in self.capacity_types)
            and all(capacity.labels.get(name) == value for name, value in self.labels)
        )


def flavor_of(capacity: Capacity, flavors: Sequence[Flavor], *, default: str) -> str:
    """The name of the flavor that describes it best, or the default."""
    fitting = [(flavor.rank, flavor.name) for flavor in flavors if flavor.matches(capacity)]
    return min(fitting)[1] if fitting else default
