"""From ToyCloud's JSON to Crossdock's words. Pure: no calls, no clock."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from cloud_adapters.base import (
    CLAIM_LABEL,
    MILLI,
    Amounts,
    CapacityType,
    Machine,
    MachineState,
    Offer,
    OwnedMachine,
    Price,
)

# `Any`: JSON, as the provider documents it.
Json = Mapping[str, Any]

STATES: Final = {
    "booting": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "ending": MachineState.STOPPING,
}


def offer(row: Json) -> Offer:
    price = Price(
        amount=Decimal(row["cents_per_hour"]) / 100,
        currency="EUR",
        as_of=datetime.fromisoformat(row["as_of"]),
        is_verified=True,
    )
    return Offer(
        machine_type=row["type"],
        zone=row["zone"],
        capacity_type=CapacityType.ON_DEMAND,
        amounts=amounts(row),
        accelerator=row["accelerator"],
        price=price,
        boot_seconds=10.0,
    )


def owned(row: Json) -> OwnedMachine:
    return OwnedMachine(
        name=row["name"],
        zone=row["zone"],
        claim_id=row["tags"]["claim"],
        launch_id=row["tags"]["launch"],
        state=STATES[row["state"]],
        host=row["host"],
    )


def node(row: Json) -> Machine:
    """`name` is Ray's id of the node: tasks are pinned to it."""
    claim_id = row["tags"].get("claim")
    return Machine(
        name=row["ray_node_id"],
        host=row["host"],
        allocatable=amounts(row),
        accelerator=row["accelerator"],
        labels=((CLAIM_LABEL, claim_id),) if claim_id else (),
    )


def amounts(row: Json) -> Amounts:
    return Amounts(
        cpu_milli=row["cpus"] * MILLI, gpu_milli=row["gpus"] * MILLI, memory_bytes=row["memory_bytes"]
    )
