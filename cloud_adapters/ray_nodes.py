"""What Ray's dashboard says about nodes, translated into machines. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypedDict

from cloud_adapters.base import MILLI, Amounts, Machine, custom_amounts


class NodeRow(TypedDict):
    """A row of `/api/v0/nodes?detail=1`: the fields that we read."""

    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    resources_total: dict[str, float] | None
    labels: dict[str, str] | None


BOOKED: Final = re.compile(
    r"(?P<used>[\d.e+-]+)(?P<unit>[KMGT]?i?B)?/\S+ (?P<name>.+?)"
    r"(?: \((?P<inside>[\d.e+-]+)(?P<inside_unit>[KMGT]?i?B)? used of "
    r"(?P<reserved>[\d.e+-]+)(?P<reserved_unit>[KMGT]?i?B)? reserved in placement groups\))?"
)
"""One line of `nodeLogicalResources`, e.g. `2.0/4.0 CPU (1.0 used of 2.0 reserved in placement groups)`."""

BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SHOWN_STEP: Final = 0.01
"""Ray shows sizes with two decimals."""

ACCELERATOR: Final = "accelerator_type:"
ACCELERATOR_LABEL: Final = "ray.io/accelerator-type"
OWN: Final = re.compile(
    r"node:|accelerator_type:|object_store_memory$|bundle_group_|.+_group_(\d+_)?[0-9a-f]{20,}$"
)
"""Resources that Ray adds itself: addresses, models, placement groups."""


def machines(rows: Iterable[NodeRow], booked: Mapping[str, str], *, gpu_resource: str) -> tuple[Machine, ...]:
    """The nodes that take tasks, sorted by name. `booked` is `nodeLogicalResources`: a text per node id."""
    found = (
        _machine(row, booked.get(row["node_id"], ""), gpu_resource)
        for row in rows
        if row["state"] == "ALIVE" and not _is_reserved_head(row)
    )
    return tuple(sorted(found, key=lambda machine: machine.name))


def booked_amounts(text: str) -> dict[str, float]:
    """What tasks, actors and placement groups hold on a node, by Ray's own names.

    Ray shows a group's share by what runs inside it; we count what it reserves. Sizes are rounded there, so the
    least that they can mean is taken: what is ours would else look foreign.
    """
    held = {}
    for match in filter(None, map(BOOKED.fullmatch, text.splitlines())):
        held[match["name"]] = max(
            0.0,
            _shown(match["used"], match["unit"], -SHOWN_STEP / 2)
            - _shown(match["inside"], match["inside_unit"], SHOWN_STEP / 2)
            + _shown(match["reserved"], match["reserved_unit"], -SHOWN_STEP / 2),
        )
    return held


def _is_reserved_head(row: NodeRow) -> bool:
    """A head without CPUs: Ray's way to keep tasks off it."""
    return row["is_head_node"] and not (row["resources_total"] or {}).get("CPU")


def _machine(row: NodeRow, booked: str, gpu_resource: str) -> Machine:
    totals = row["resources_total"] or {}
    labels = row["labels"] or {}
    models = sorted(name.removeprefix(ACCELERATOR) for name in totals if name.startswith(ACCELERATOR))
    return Machine(
        name=row["node_id"],
        host=row["node_ip"],
        allocatable=_amounts(totals, gpu_resource),
        used=_amounts(booked_amounts(booked), gpu_resource),
        accelerator=labels.get(ACCELERATOR_LABEL) or next(iter(models), None),
        labels=tuple(sorted(labels.items())),
    )


def _amounts(named: Mapping[str, float], gpu_resource: str) -> Amounts:
    custom = {
        name: round(value * MILLI)
        for name, value in named.items()
        if name not in {"CPU", "memory", gpu_resource} and not OWN.match(name)
    }
    return Amounts(
        cpu_milli=round(named.get("CPU", 0) * MILLI),
        memory_bytes=int(named.get("memory", 0)),
        gpu_milli=round(named.get(gpu_resource, 0) * MILLI),
        custom_milli=custom_amounts(custom.items()),
    )


def _shown(number: str | None, unit: str | None, rounding: float) -> float:
    shown = float(number or 0)
    if unit is None or unit == "B":
        return shown
    return (shown + rounding) * BYTES[unit]
