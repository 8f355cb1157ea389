"""Histories: what happens around a scheduler, drawn from a seed alone.

An event says what happens and carries a few numbers; whom it meets is found by these numbers among those who are there
when it happens. So a history stays a history when any part of it is left out, which is what makes a failing one small.
"""

from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import Any, Final, NamedTuple

Row = dict[str, Any]  # of a scene, see schedulers/testing/scenes.py

RACKS: Final = ("r1", "r2", "r3")
FLAVORS: Final = ("default", "spot")
COHORTS: Final = ("top", "mid")
QUEUES: Final = ("a", "b", "c", "d")


class Kind(StrEnum):
    SUBMITTED = "submitted"
    ENDED = "ended"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """All that were told to go have gone."""

    SAVED = "saved"
    RANKED = "ranked"
    """Somebody who waits has another priority."""

    LIMITED = "limited"
    """A queue has other limits, another weight or other rules."""

    MOVED = "moved"
    """A queue stands under another cohort."""

    HALTED = "halted"
    OPENED = "opened"
    LOST = "lost"
    """A node is gone, and what ran there waits again."""

    BACK = "back"
    SICK = "sick"
    """A node takes nothing more, or takes work again."""

    RELABELLED = "relabelled"
    """A node is of another flavor."""

    PASSED = "passed"
    """Time, and with it the work that ends when it was expected to."""

    PLANNED = "planned"
    """Not an event: the policy plans, and its plan is carried out."""

    RESTED = "rested"
    """Not an event: plans until a plan changes nothing."""


WEIGHTS: Final = {
    Kind.SUBMITTED: 24,
    Kind.ENDED: 20,
    Kind.CANCELLED: 3,
    Kind.STOPPED: 8,
    Kind.SAVED: 6,
    Kind.RANKED: 3,
    Kind.LIMITED: 3,
    Kind.MOVED: 1,
    Kind.HALTED: 1,
    Kind.OPENED: 2,
    Kind.LOST: 1,
    Kind.BACK: 2,
    Kind.SICK: 1,
    Kind.RELABELLED: 1,
    Kind.PASSED: 14,
}
EVENTS: Final = 400
"""Of a history."""

PLAIN: Final = range(1_000_000, 2_001_469)
"""Histories without bands and without roles: some of them found something as they were."""

LONG_FROM: Final = 2_000_001
LONG: Final = 2000
"""Of histories from that one on, which soaks have: to let all of it end takes as long as half a thousand events."""

MOST_BETWEEN: Final = 24
"""Events between two plans."""

REST_EVERY: Final = 6
"""Plans."""


class Event(NamedTuple):
    kind: Kind
    who: int = 0
    how: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.who} {self.how}"


class History(NamedTuple):
    seed: int
    scene: Row
    """Queues and nodes at the beginning, and the classes of what is submitted."""

    events: tuple[Event, ...]


def draw(seed: int) -> History:
    chance = Random(f"scheduling {seed}")
    queues = list(_queues(chance))
    names = [row["name"] for row in queues if row["name"] in QUEUES]
    classes = [_class(chance, number, names) for number in range(chance.randint(3, 8))]
    if seed not in PLAIN:
        later = Random(f"later {seed}")
        queues, classes = _in_bands(later, queues), [_in_roles(later, row) for row in classes]
    scene: Row = {
        "queues": queues,
        "nodes": [_node(chance, number) for number in range(chance.randint(3, 8))],
        "classes": classes,
        "flavors": list(FLAVORS),
    }
    return History(seed, scene, tuple(_events(chance, LONG if seed >= LONG_FROM else EVENTS)))


def _in_bands(chance: Random, queues: list[Row]) -> list[Row]:
    """In every third history."""
    is_flat = chance.random() < 2 / 3
    return queues if is_flat else [{**row, "band": chance.choice((0, 0, 1))} for row in queues]


def _in_roles(chance: Random, row: Row) -> Row:
    """Every fourth gang has a head that needs no GPU, and may name flavors for the rest."""
    if row["tasks"] == 1 or chance.random() < 0.75:
        return row
    rest = {"name": "rest", "tasks": row["tasks"] - 1, "min": max(1, row["min"] - 1)}
    rest |= {"gpu": row["gpu"], "cpu": row["cpu"], "flavors": chance.choice(((), FLAVORS, FLAVORS[::-1]))}
    return {**row, "roles": [{"name": "head", "cpu": 0.5}, rest]}


def limits_of(chance: Random) -> Row:
    """Of a queue: what its administrator may say at any moment."""
    quota = {}
    for flavor in FLAVORS:
        nominal = chance.randint(0, 6)
        lending = chance.choice((None, None, 0, 2, nominal))
        lent = None if lending is None else min(lending, nominal)
        quota[f"{flavor}/gpu"] = [nominal, chance.choice((None, None, 0, 1, 4)), lent]
    return {
        "quota": quota,
        "weight": chance.choice((0, 0.5, 1, 1, 1, 2)),
        "within_queue": chance.choice(("never", "lower_priority", "lower_priority", "lower_or_newer_equal")),
        "reclaim": chance.choice(("never", "lower_priority", "any", "any", "any")),
        "when_can_borrow": chance.choice(("take", "try_next")),
        "when_can_preempt": chance.choice(("take", "try_next")),
        "fair_share": chance.random() < 0.7,
        "aging_seconds": chance.choice((None, None, 300)),
    }


def _queues(chance: Random) -> Iterator[Row]:
    yield {"name": "top"}
    lends = {"default/gpu": [chance.randint(0, 3), chance.choice((None, None, 2)), None]}
    yield {"name": "mid", "parent": "top", "quota": lends}
    for name in QUEUES[: chance.randint(2, 4)]:
        yield {"name": name, "parent": chance.choice(COHORTS), **limits_of(chance)}


def _node(chance: Random, number: int) -> Row:
    rack = chance.choice(RACKS)
    row: Row = {
        "name": f"n{number}",
        "cluster": "west" if rack == "r3" else "east",
        "gpu": chance.choice((1, 2, 4)),
        "cpu": 8,
        "domains": {"rack": rack},
        "flavor": chance.choice(("default", "default", "spot")),
    }
    return row | ({"taints": {"team": "x"}} if chance.random() < 0.1 else {})


def _class(chance: Random, number: int, queues: list[str]) -> Row:
    tasks = chance.choice((1, 1, 2, 3, 4, 6))
    row: Row = {
        "class": f"class {number}",
        "queue": chance.choice(queues),
        "tasks": tasks,
        "min": chance.choice((tasks, 1, chance.randint(1, tasks))),
        "gpu": chance.choice((0, 0.5, 1, 1, 2)),
        "cpu": chance.choice((0.5, 1)),
        "tier": chance.choice(("normal", "normal", "normal", "surplus", "pinned")),
    }
    if chance.random() < 0.2:
        level, mode = chance.choice(("rack", "node")), chance.choice(("required", "preferred"))
        row["topology"] = {"level": level, "mode": mode}
    if chance.random() < 0.15:
        row["tolerations"] = {"team": "*"}
    if chance.random() < 0.5:
        row["runtime"] = chance.choice((60, 300, 1200, 9000))
    return row


def _events(chance: Random, count: int) -> Iterator[Event]:
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    due, plans = 1, 0
    for kind in chance.choices(kinds, weights, k=count):
        yield Event(kind, chance.getrandbits(30), chance.getrandbits(30))
        due -= 1
        if due == 0:
            plans += 1
            due = chance.randint(1, MOST_BETWEEN)
            yield Event(Kind.RESTED if plans % REST_EVERY == 0 else Kind.PLANNED)
    yield Event(Kind.RESTED)
