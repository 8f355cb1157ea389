"""GPU machine types with sizes and prices, as known on a date: for when the API does not say. Never verified.

Sizes are those of the vendor's instance families and do not change. Prices are rough list prices on demand in mainland
China; they differ by region and account, and serve to compare offers until the account may ask for its own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from cloud_adapters.alibaba.translate import Row
from cloud_adapters.base import CapacityType, LeftoverKind, Price

AS_OF: Final = datetime(2025, 6, 1, tzinfo=UTC)
CURRENCY: Final = "CNY"
SPOT_SHARE: Final = Decimal("0.4")
"""Of the price on demand, what spot machines usually cost; at most 90 % off was seen, and at worst nothing off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    machine_type: str
    vcpus: int
    memory_gib: int
    gpus: int
    gpu_model: str
    """As Ray calls it."""

    price: Decimal
    """Of one hour on demand."""

    def as_row(self) -> Row:
        """As DescribeInstanceTypes would say it."""
        return {
            "InstanceTypeId": self.machine_type,
            "CpuCoreCount": self.vcpus,
            "MemorySize": self.memory_gib,
            "GPUAmount": self.gpus,
            "GPUSpec": f"NVIDIA {self.gpu_model}",
        }


def _kind(machine_type: str, size: tuple[int, int], gpus: tuple[int, str], price: str) -> Kind:
    return Kind(
        machine_type=machine_type,
        vcpus=size[0],
        memory_gib=size[1],
        gpus=gpus[0],
        gpu_model=gpus[1],
        price=Decimal(price),
    )


HOURS_OF_A_MONTH: Final = 730
ADDRESS_YUAN: Final = Decimal("0.02")
"""Of an address that nothing uses, for an hour."""

DISK_YUAN: Final = MappingProxyType(
    {
        "cloud_efficiency": Decimal("0.35"),
        "cloud_ssd": Decimal("1.00"),
        "cloud_essd": Decimal("1.00"),
        "cloud_essd_entry": Decimal("0.40"),
        "cloud_auto": Decimal("0.50"),
    }
)
"""Of a GiB for a month, by category; an ESSD as of level PL1."""

CATALOGUE: Final = MappingProxyType(
    {
        kind.machine_type: kind
        for kind in (
            _kind("ecs.gn6i-c4g1.xlarge", (4, 15), (1, "T4"), "11.63"),
            _kind("ecs.gn6i-c24g1.24xlarge", (96, 372), (4, "T4"), "62.16"),
            _kind("ecs.gn6v-c8g1.2xlarge", (8, 32), (1, "V100"), "26.46"),
            _kind("ecs.gn6v-c8g1.16xlarge", (64, 256), (8, "V100"), "211.68"),
            _kind("ecs.gn7i-c8g1.2xlarge", (8, 30), (1, "A10"), "9.50"),
            _kind("ecs.gn7i-c32g1.32xlarge", (128, 752), (4, "A10"), "53.00"),
            _kind("ecs.gn7-c12g1.3xlarge", (12, 94), (1, "A100"), "25.60"),
            _kind("ecs.gn7-c13g1.26xlarge", (104, 755), (8, "A100"), "205.00"),
            _kind("ecs.gn7e-c16g1.4xlarge", (16, 125), (1, "A100"), "34.74"),
            _kind("ecs.gn7e-c16g1.32xlarge", (128, 1000), (8, "A100"), "277.92"),
        )
    }
)


def dated_upkeep(kind: LeftoverKind, category: str, size_gib: int) -> Price | None:
    """What a leftover costs for an hour; None: nothing, or nobody knows."""
    match kind:
        case LeftoverKind.ADDRESS:
            yuan = ADDRESS_YUAN
        case LeftoverKind.DISK if category in DISK_YUAN and size_gib:
            yuan = DISK_YUAN[category] * size_gib / HOURS_OF_A_MONTH
        case _:
            return None
    return Price(amount=yuan, currency=CURRENCY, as_of=AS_OF, is_verified=False)


def dated_price(machine_type: str, capacity_type: CapacityType) -> Price | None:
    kind = CATALOGUE.get(machine_type)
    if kind is None:
        return None
    share = SPOT_SHARE if capacity_type is CapacityType.SPOT else Decimal(1)
    return Price(amount=kind.price * share, currency=CURRENCY, as_of=AS_OF, is_verified=False)
