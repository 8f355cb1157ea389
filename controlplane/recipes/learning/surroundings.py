"""Surroundings: what the platform says about this attempt.

All of it has a default, so that the recipe also trains where there is no platform.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

DEFAULT_CHECKPOINTS: Final = "results/checkpoints"
DEFAULT_OUTPUTS: Final = "results/outputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    resources: Mapping[str, float]
    node_id: str | None = None
    """Of the Ray node that was booked; None leaves the choice to Ray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    attempt: str
    """Names its own folder of checkpoints, so that an older attempt that still writes cannot spoil them."""

    seats: tuple[Seat, ...]
    checkpoint_uri: str
    outputs_uri: str
    resume_from: str | None
    records: Path | None
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GangSurroundings:
    """Of one rank that is a process of its own."""

    attempt: str
    rank: int
    ranks: int
    checkpoint_uri: str
    outputs_uri: str
    resume_from: str | None
    records: Path | None


def read_gang(environment: Mapping[str, str]) -> GangSurroundings:
    records = environment.get("CROSSDOCK_RECORDS")
    return GangSurroundings(
        # All ranks must give their checkpoints the same folder, so a time of day would not do.
        attempt=environment.get("CROSSDOCK_ATTEMPT_ID") or "local",
        rank=int(environment.get("RANK") or 0),
        ranks=int(environment.get("WORLD_SIZE") or 1),
        checkpoint_uri=_absolute(environment.get("CROSSDOCK_CHECKPOINT_URI") or DEFAULT_CHECKPOINTS),
        outputs_uri=_absolute(environment.get("CROSSDOCK_OUTPUTS_URI") or DEFAULT_OUTPUTS),
        resume_from=environment.get("CROSSDOCK_RESUME_FROM") or None,
        records=Path(records) if records else None,
    )


def read(environment: Mapping[str, str], *, workers: int) -> Surroundings:
    """`workers` counts where no seats are booked."""
    records = environment.get("CROSSDOCK_RECORDS")
    return Surroundings(
        attempt=environment.get("CROSSDOCK_ATTEMPT_ID") or f"local-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        seats=_seats(environment, workers=workers),
        checkpoint_uri=_absolute(environment.get("CROSSDOCK_CHECKPOINT_URI") or DEFAULT_CHECKPOINTS),
        outputs_uri=_absolute(environment.get("CROSSDOCK_OUTPUTS_URI") or DEFAULT_OUTPUTS),
        resume_from=environment.get("CROSSDOCK_RESUME_FROM") or None,
        records=Path(records) if records else None,
        grace_seconds=float(environment.get("CROSSDOCK_GRACE_SECONDS") or 30),
    )


def _absolute(place: str) -> str:
    """A plain path made absolute, as the ranks stand in other directories; a URI as it is."""
    return place if "://" in place else str(Path(place).absolute())


def _seats(environment: Mapping[str, str], *, workers: int) -> tuple[Seat, ...]:
    if "CROSSDOCK_SEATS" not in environment:
        return tuple(Seat(resources={"CPU": 1.0}) for _ in range(workers))
    nodes = json.loads(environment["CROSSDOCK_NODE_IDS"])
    booked = json.loads(environment["CROSSDOCK_SEATS"])
    if len(nodes) != len(booked):
        raise ValueError(f"{len(booked)} seats need as many node ids, not {len(nodes)}")
    if any(resources != booked[0] for resources in booked):
        raise ValueError(f"Ray Train gives all ranks the same resources, but the seats differ: {booked}")
    return tuple(
        Seat(node_id=node, resources=resources) for node, resources in zip(nodes, booked, strict=True)
    )
