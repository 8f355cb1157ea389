"""Explains: why the asks of a class wait, who stands in the way, and a first thing that would have to change.

The questions are asked in a fixed order: what could never work comes before what only does not work now. Every answer
is about the state at the end of the plan, so it is true also of the last ask of a class of which some were placed.
"""

from collections.abc import Callable, Sequence
from typing import Final

from schedulers.base import Defer
from schedulers.fair.barriers import clusters_blocked, no_cluster, no_nodes, queue_stopped, residency
from schedulers.fair.facts import Facts
from schedulers.fair.reasons import Reason
from schedulers.fair.shortages import never_within_quota, no_quota, no_room, reserved, too_large
from schedulers.fair.world import World

_Question = Callable[[World, Facts], Reason | None]


def explain(world: World, facts: Facts) -> Defer:
    """The first reason that holds. What does not depend on who holds seats is worked out once."""
    known = world.standing.barriers
    if facts.id not in known:
        known[facts.id] = _first(_LASTING, world, facts)
    lasting = known[facts.id]
    return lasting or _first(_PASSING, world, facts) or _told(facts, reserved(world, facts))


def _first(questions: Sequence[_Question], world: World, facts: Facts) -> Defer | None:
    for question in questions:
        if (reason := question(world, facts)) is not None:
            return _told(facts, reason)
    return None


def _told(facts: Facts, reason: Reason) -> Defer:
    return Defer(
        class_id=facts.id,
        code=reason.code,
        sentence=reason.sentence,
        remedy=reason.remedy,
        blocker=reason.blocker,
        change=reason.change,
    )


_LASTING: Final[tuple[_Question, ...]] = (
    no_cluster,
    queue_stopped,
    clusters_blocked,
    residency,
    no_nodes,
    never_within_quota,
    too_large,
)
_PASSING: Final[tuple[_Question, ...]] = (no_quota, no_room)
