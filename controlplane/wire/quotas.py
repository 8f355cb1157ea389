"""Quotas and flavors: how much of which capacity a queue may use, as the API takes and shows them."""

from typing import Annotated, Literal

from pydantic import Field

from controlplane.wire.base import MAX_INT, Answer, Name, Request

DEFAULT_FLAVOR = "default"
"""Of capacity that no flavor describes."""

CapacityType = Literal["owned", "reserved", "on_demand", "spot"]
Resource = Annotated[
    str,
    Field(pattern=r"^(cpus|gpus|memory|custom:[a-z0-9][a-z0-9._-]*)$", max_length=70),
]
Quantity = Annotated[float, Field(ge=0, le=MAX_INT)]

LONGEST_SECONDS = 31_536_000
"""A year. The policy counts microseconds, and adds them to moments."""


class Limit(Request):
    """The limits for one resource of one flavor: `gpus` and `cpus` in whole ones, `memory` in bytes."""

    flavor: Name = DEFAULT_FLAVOR
    resource: Resource
    nominal: Quantity = Field(default=0, description="Its own: who lent it gets out of the way.")
    borrowing: Quantity | None = Field(
        default=None, description="The most beyond its own; none = all there is."
    )
    lending: Quantity | None = Field(default=None, description="The most of its own that others may use.")


class Preemption(Request):
    """Whom work of a queue may push aside."""

    within_queue: Literal["never", "lower_priority", "lower_or_newer_equal"] = "lower_priority"
    reclaim: Literal["never", "lower_priority", "any"] = "any"
    fair_share: bool = True
    borrow_below: int | None = Field(default=None, ge=-1000, le=1000)


class QuotaSet(Request):
    """A queue's or a cohort's place in the quota tree, whole: what is left out gets its default."""

    cohort: Name | None = Field(
        default=None, description="The cohort that this is; else name project and queue."
    )
    project: Name = "default"
    queue: Name | None = None
    parent: Name | None = Field(
        default=None, description="The cohort that it belongs to; none = it stands alone."
    )
    weight: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        default=1.0, description="Of its claim to what nobody owns. 0: served after all others."
    )
    limits: list[Limit] = Field(default_factory=list, max_length=256)
    flavors: list[Name] = Field(
        default_factory=list, max_length=64, description="In the order in which they are tried; empty = all."
    )
    when_can_borrow: Literal["take", "try_next"] = "take"
    when_can_preempt: Literal["take", "try_next"] = "try_next"
    preemption: Preemption = Field(default_factory=Preemption)
    burst_after_seconds: int | None = Field(
        default=None,
        ge=0,
        le=LONGEST_SECONDS,
        description="Machines are bought for work that would wait longer; none = never.",
    )
    aging_seconds: int | None = Field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        description="Waiting so long raises a job by one priority; none = never.",
    )
    band: int = Field(
        default=0,
        ge=-100,
        le=100,
        description="Work of a higher band goes before that of all lower ones, whatever their shares.",
    )
    stopped: bool = Field(default=False, description="Nothing more is started; what runs runs on.")


class QuotaRemove(Request):
    """Takes a queue's limits away, or ends a cohort without members."""

    cohort: Name | None = None
    project: Name = "default"
    queue: Name | None = None


class LimitDocument(Answer):
    """One limit, and what becomes of it now."""

    flavor: str
    resource: str
    nominal: float
    borrowing: float | None = None
    lending: float | None = None
    used: float
    available: float = Field(
        description="Could be taken now without pushing anybody aside; negative after a cut."
    )
    potential: float = Field(description="Could be taken if nothing at all were running.")


class QuotaDocument(Answer):
    """A node of the quota tree."""

    id: str
    name: str
    is_cohort: bool
    project: str | None = None
    parent: str | None = None
    weight: float
    limits: list[LimitDocument]
    flavors: list[str]
    when_can_borrow: str
    when_can_preempt: str
    preemption: Preemption
    burst_after_seconds: int | None = None
    aging_seconds: int | None = None
    band: int = 0
    stopped: bool
    share: float = Field(description="What it has borrowed, of all there is to borrow, by its weight.")
    version: int


class SurpriseDocument(Answer):
    """What is allowed in the tree, and yet is hardly meant."""

    id: str
    name: str
    code: str
    sentence: str


class QuotaExplanation(Answer):
    """What a queue may use, and why, in sentences."""

    queue: str
    path: list[str] = Field(description="The queue and its cohorts, the outermost last.")
    lines: list[str]


class FlavorSet(Request):
    """A named kind of capacity; what is left empty may be anything."""

    name: Name
    rank: int = Field(
        default=0, ge=-1_000_000, le=1_000_000, description="Of all that fit, the lowest is it."
    )
    clusters: list[Name] = Field(default_factory=list, max_length=256)
    accelerators: list[Annotated[str, Field(min_length=1, max_length=63)]] = Field(
        default_factory=list, max_length=64
    )
    capacity_types: list[CapacityType] = Field(default_factory=list)
    labels: dict[str, Annotated[str, Field(max_length=253)]] = Field(default_factory=dict, max_length=32)


class FlavorDocument(Answer):
    """A flavor, and how many present nodes are of it."""

    name: str
    rank: int
    clusters: list[str]
    accelerators: list[str]
    capacity_types: list[str]
    labels: dict[str, str]
    nodes: int


class FlavorRemove(Request):
    name: Name
