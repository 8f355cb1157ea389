"""GPU machines of EC2 as of a date: what is in one, what it cost, and which quota counts it. Pure.

The API refreshes all of it (`offering`). The table serves where the API may not be asked: what a purchase is made of
must be equal in every call, and a price without the right to read the price list is better than none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from cloud_adapters.base import CapacityType


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A type of machine."""

    machine_type: str
    vcpus: int
    memory_mib: int
    gpus: int = 0
    model: str | None = None
    """By Ray's name."""

    gpu_memory_mib: int = 0
    """Of one GPU."""

    efa: int = 0
    """Network cards with EFA; all of them are used by a gang of several machines."""

    sells_spot: bool = True


TABLE_AS_OF: Final = datetime(2026, 11, 1, tzinfo=UTC)
PRICES_AS_OF: Final = datetime(2025, 7, 1, tzinfo=UTC)
PRICED_REGIONS: Final = frozenset({"us-east-1", "us-east-2", "us-west-2"})
"""Where the table's prices hold; the list prices of these are equal."""

MODELS: Final = {"RTX PRO Server 6000": "RTX-PRO-6000"}
"""EC2's name -> Ray's, where they differ."""

# type, vCPUs, memory GiB, GPUs, model, GPU memory MiB, EFA cards, US dollars an hour on demand
_ROWS: Final[tuple[tuple[str, int, int, int, str, int, int, str | None], ...]] = (
    ("g4dn.xlarge", 4, 16, 1, "T4", 16_384, 0, "0.526"),
    ("g4dn.2xlarge", 8, 32, 1, "T4", 16_384, 0, "0.752"),
    ("g4dn.4xlarge", 16, 64, 1, "T4", 16_384, 0, "1.204"),
    ("g4dn.8xlarge", 32, 128, 1, "T4", 16_384, 1, "2.176"),
    ("g4dn.12xlarge", 48, 192, 4, "T4", 16_384, 1, "3.912"),
    ("g4dn.16xlarge", 64, 256, 1, "T4", 16_384, 1, "4.352"),
    ("g4dn.metal", 96, 384, 8, "T4", 16_384, 1, "7.824"),
    ("g5.xlarge", 4, 16, 1, "A10G", 22_888, 0, "1.006"),
    ("g5.2xlarge", 8, 32, 1, "A10G", 22_888, 0, "1.212"),
    ("g5.4xlarge", 16, 64, 1, "A10G", 22_888, 0, "1.624"),
    ("g5.8xlarge", 32, 128, 1, "A10G", 22_888, 1, "2.448"),
    ("g5.12xlarge", 48, 192, 4, "A10G", 22_888, 1, "5.672"),
    ("g5.16xlarge", 64, 256, 1, "A10G", 22_888, 1, "4.096"),
    ("g5.24xlarge", 96, 384, 4, "A10G", 22_888, 1, "8.144"),
    ("g5.48xlarge", 192, 768, 8, "A10G", 22_888, 1, "16.288"),
    ("g6.xlarge", 4, 16, 1, "L4", 22_888, 0, "0.8048"),
    ("g6.2xlarge", 8, 32, 1, "L4", 22_888, 0, "0.9776"),
    ("g6.4xlarge", 16, 64, 1, "L4", 22_888, 0, "1.3232"),
    ("g6.8xlarge", 32, 128, 1, "L4", 22_888, 1, "2.0144"),
    ("g6.12xlarge", 48, 192, 4, "L4", 22_888, 1, "4.6016"),
    ("g6.16xlarge", 64, 256, 1, "L4", 22_888, 1, "3.3968"),
    ("g6.24xlarge", 96, 384, 4, "L4", 22_888, 1, "6.6752"),
    ("g6.48xlarge", 192, 768, 8, "L4", 22_888, 1, "13.3504"),
    ("g6e.xlarge", 4, 32, 1, "L40S", 45_776, 0, "1.861"),
    ("g6e.2xlarge", 8, 64, 1, "L40S", 45_776, 0, "2.24208"),
    ("g6e.4xlarge", 16, 128, 1, "L40S", 45_776, 0, "3.00424"),
    ("g6e.8xlarge", 32, 256, 1, "L40S", 45_776, 1, "4.52856"),
    ("g6e.12xlarge", 48, 384, 4, "L40S", 45_776, 1, "10.49264"),
    ("g6e.16xlarge", 64, 512, 1, "L40S", 45_776, 1, "7.57719"),
    ("g6e.24xlarge", 96, 768, 4, "L40S", 45_776, 2, "15.06559"),
    ("g6e.48xlarge", 192, 1536, 8, "L40S", 45_776, 4, "30.13118"),
    ("g7e.2xlarge", 8, 64, 1, "RTX-PRO-6000", 98_304, 0, None),
    ("g7e.4xlarge", 16, 128, 1, "RTX-PRO-6000", 98_304, 0, None),
    ("g7e.8xlarge", 32, 256, 1, "RTX-PRO-6000", 98_304, 1, None),
    ("g7e.12xlarge", 48, 512, 2, "RTX-PRO-6000", 98_304, 1, None),
    ("g7e.24xlarge", 96, 1024, 4, "RTX-PRO-6000", 98_304, 2, None),
    ("g7e.48xlarge", 192, 2048, 8, "RTX-PRO-6000", 98_304, 4, None),
    ("p4d.24xlarge", 96, 1152, 8, "A100", 40_960, 4, "21.957642"),
    ("p4de.24xlarge", 96, 1152, 8, "A100", 81_920, 4, "27.447054"),
    ("p5.4xlarge", 16, 256, 1, "H100", 81_920, 1, "6.88"),
    ("p5.48xlarge", 192, 2048, 8, "H100", 81_920, 32, "55.04"),
    ("p5e.48xlarge", 192, 2048, 8, "H200", 144_384, 32, None),
    ("p5en.48xlarge", 192, 2048, 8, "H200", 144_384, 16, "63.296"),
    ("p6-b200.48xlarge", 192, 2048, 8, "B200", 183_359, 8, "113.9328"),
    ("p6-b300.48xlarge", 192, 4096, 8, "B300", 275_040, 16, None),
)

TABLE: Final[Mapping[str, Kind]] = {
    name: Kind(
        machine_type=name,
        vcpus=vcpus,
        memory_mib=memory_gib * 1024,
        gpus=gpus,
        model=model,
        gpu_memory_mib=gpu_memory_mib,
        efa=efa,
    )
    for name, vcpus, memory_gib, gpus, model, gpu_memory_mib, efa, _ in _ROWS
}
ON_DEMAND_DOLLARS: Final[Mapping[str, Decimal]] = {
    row[0]: Decimal(dollars) for row in _ROWS if (dollars := row[-1]) is not None
}


HOURS_OF_A_MONTH: Final = 730
ADDRESS_DOLLARS: Final = Decimal("0.005")
"""Of a public address for an hour, used or not."""

DISK_DOLLARS: Final[Mapping[str, Decimal]] = {
    "gp3": Decimal("0.08"),
    "gp2": Decimal("0.10"),
    "io1": Decimal("0.125"),
    "io2": Decimal("0.125"),
    "st1": Decimal("0.045"),
    "sc1": Decimal("0.015"),
    "standard": Decimal("0.05"),
}
"""Of a GiB for a month, by type of volume, without what is paid for more operations or throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit of the account on vCPUs of one bucket of families, in one region; spot has its own."""

    code: str
    name: str


_BUCKETS: Final[tuple[tuple[tuple[str, ...], str, str, str], ...]] = (
    (("p",), "P", "L-417A185B", "L-7212CCBC"),
    (("g", "vt"), "G and VT", "L-DB2E81BA", "L-3819A6DF"),
    (("dl",), "DL", "L-6E869C2A", "L-85EED4F7"),
    (("trn",), "Trn", "L-2C3B7624", "L-6B0D517C"),
    (("inf",), "Inf", "L-1945791B", "L-B5D1601B"),
    (("f",), "F", "L-74FC7D96", "L-88CF9481"),
    (("x",), "X", "L-7295265B", "L-E3A00192"),
    (("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), "standard", "L-1216C47A", "L-34B43A08"),
)


def quota_of(machine_type: str, capacity_type: CapacityType) -> Quota | None:
    """None where no quota that is known counts it. Reserved machines count as on-demand ones."""
    family = machine_type.partition(".")[0]
    letters = family[: next((at for at, each in enumerate(family) if not each.isalpha()), len(family))]
    is_spot = capacity_type is CapacityType.SPOT
    for families, name, on_demand, spot in _BUCKETS:
        if letters in families:
            market = "spot" if is_spot else "on-demand"
            return Quota(code=spot if is_spot else on_demand, name=f"{market} vCPUs of {name} machines")
    return None
