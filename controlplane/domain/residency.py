"""Residency: where the work of a project and the content of a store may be, and where clusters and stores are.

A rule names providers, regions and clusters; what it leaves out may be anything. A region is whatever an administrator
calls it: `eu-central-1`, or the jurisdiction that it lies in, `eu`. A place may be in several at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.domain.ids import ProjectId


class Subject(StrEnum):
    """What a residency is of."""

    PROJECT = "project"
    """A rule: where its work and its copies may be."""

    DATA = "data"
    """A rule: where what lies in a store may be copied, and read by jobs."""

    CLUSTER = "cluster"
    """Where it is."""

    STORE = "store"
    """Where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """Of a rule: what is allowed, and empty is everything. Of a place: its regions alone, sorted."""

    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    """By name. Stores are in none, and a rule's clusters say nothing of them."""

    @property
    def is_anywhere(self) -> bool:
        return not (self.providers or self.regions or self.clusters)


ANYWHERE = Residency()


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """A cluster or a store, as rules see it."""

    called: str
    """For people: `cluster 'lab'`."""

    provider: str
    regions: tuple[str, ...]
    """All that it lies in, one within another."""

    spread: tuple[str, ...] = ()
    """Regions of which its machines may be in any: a rule has to allow each of them."""

    cluster: str | None = None
    """Its name; None: it is a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing that a job reads, and the store where it lies."""

    field: str
    """Of the spec."""

    called: str
    """For people: `input 'corpus'`."""

    uri: str
    store: str
    region: str = ""
    """Of the store; empty: nobody said."""

    milli_gib: int = 0
    """How large it is, as far as its user said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What an ask should know of all that its job reads."""

    stores: tuple[str, ...] = ()
    """Names, sorted."""

    data: tuple[tuple[str, int], ...] = ()
    """(region, GiB), sorted; begun ones count whole."""


READS_NOTHING = Reads()


def refusal(rule: Residency, owner: str, place: Whereabouts) -> str | None:
    """Which part of the rule keeps its owner out of that place, in words; None: it may be there."""
    if rule.providers and place.provider not in rule.providers:
        return (
            f"{owner} may only be with {_listed(rule.providers)}; {place.called} is with {place.provider!r}"
        )
    if rule.regions and not _is_within(place, frozenset(rule.regions)):
        known = (*place.regions, *place.spread)
        where = f"in {_listed(known)}" if known else "in no known region"
        return f"{owner} may only be in {_listed(rule.regions)}; {place.called} is {where}"
    if rule.clusters and place.cluster is not None and place.cluster not in rule.clusters:
        return f"{owner} may only be on {_listed(rule.clusters)}, and not on {place.called}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules and places, of one moment. What is not named is free to be anywhere."""

    projects: Mapping[ProjectId, Residency] = field(default_factory=dict)
    data: Mapping[str, Residency] = field(default_factory=dict)
    """By name of the store."""

    clusters: Mapping[str, Residency] = field(default_factory=dict)
    """By id."""

    stores: Mapping[str, Residency] = field(default_factory=dict)

    def of_project(self, project_id: ProjectId) -> Residency:
        return self.projects.get(project_id, ANYWHERE)


def in_words(rule: Residency) -> str:
    """`with 'aws', in 'de', 'eu'`: where it lets things be."""
    parts = (("with", rule.providers), ("in", rule.regions), ("on", rule.clusters))
    return ", ".join(f"{word} {_listed(names)}" for word, names in parts if names)


def _is_within(place: Whereabouts, allowed: frozenset[str]) -> bool:
    return not allowed.isdisjoint(place.regions) or (bool(place.spread) and allowed.issuperset(place.spread))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))
