"""Sharing: the policy and the tree of quotas that a seed chooses, and the administrators who change their minds."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from controlplane.domain.claims import CapacityType
from controlplane.domain.errors import NotFound, Unavailable, UserError
from controlplane.domain.flavors import Flavor
from controlplane.domain.ids import QueueId
from controlplane.domain.queues import Appetite, Cell, PreemptionRules, Queue, Quota, Reclaim, WithinQueue
from controlplane.operations import flavors, projects, quotas
from controlplane.operations.context import Context
from controlplane.operations.quotas import NodeName
from schedulers.base import DEFAULT_FLAVOR, Policy
from schedulers.fair.policy import Fair
from schedulers.priority import Priority
from tests.sim.database import Crash
from tests.sim.replicas import ROOT

if TYPE_CHECKING:
    from tests.sim.world import World

PROJECT: Final = "default"
MOST_QUEUES: Final = 3
FAIR: Final = 0.85
"""Of all seeds; the others keep the policy that only looks at what is free."""

SHAPES: Final = {
    "west": Flavor(name="west", clusters=("west",)),
    "spot": Flavor(name="spot", capacity_types=(CapacityType.SPOT,)),
}
WORDS: Final = {"change": 6.0, "stop": 1.0, "open": 2.0, "unlimit": 1.0, "cohort": 1.5, "flavor": 0.7}
LIFTS: Final = 0.5
"""How often nobody is limited any more when everything is repaired, so that all can end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a seed makes of queues."""

    policy: Policy
    flavors: tuple[str, ...] = ()
    """Beside the default."""

    cohorts: tuple[str, ...] = ()
    """The first is the root, the others stand below it."""

    queues: tuple[str, ...] = ()


class Admins:
    """Plant the tree, and change it at any moment."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = world.chance
        self.choice = self._choose()

    def plant(self, context: Context) -> None:
        """At the beginning, before anybody works."""
        for name in self.choice.flavors:
            flavors.put(context, ROOT, SHAPES[name])
        for name in self.choice.queues:
            projects.create_queue(context, ROOT, project=PROJECT, name=name)
        for name in self.choice.cohorts:
            self._put_cohort(context, name)
        for name in self.choice.queues:
            self._put_queue(context, name)

    def word(self) -> None:
        if not self.choice.queues:
            return
        kind = self._chance.weighted("admin", WORDS)
        name = self._chance.pick("admin queue", self.choice.queues)
        context = self._world.some_api("admin").context
        try:
            self._say(kind, name, context)
        except (Unavailable, Crash, UserError) as problem:
            self._world.tell(f"admin: {kind} {name}: {type(problem).__name__}")
        else:
            self._world.tell(f"admin: {kind} {name}")

    def repair(self) -> None:
        """Everything admits work again and, more often than not, no limit is left."""
        context = self._world.some_api("admin").context
        lifts = self._chance.is_so("limits are lifted", LIFTS)
        for name in self.choice.queues:
            if lifts:
                self._unlimit(context, name)
            else:
                self._put_queue(context, name)

    def _choose(self) -> Choice:
        chance = self._chance
        if not chance.is_so("policy", FAIR):
            return Choice(policy=Priority())
        below = tuple(f"pool-{number}" for number in range(chance.whole("cohorts", 0, 2)))
        return Choice(
            policy=Fair(),
            flavors=chance.pick("flavors", ((), ("west",), ("spot",), ("west", "spot"))),
            cohorts=("pool", *below),
            queues=("a", "b", "c")[: chance.whole("queues", 2, MOST_QUEUES)],
        )

    def _say(self, kind: str, name: str, context: Context) -> None:
        match kind:
            case "stop" | "open":
                self._put_queue(context, name, stopped=kind == "stop")
            case "unlimit":
                self._unlimit(context, name)
            case "cohort":
                self._put_cohort(context, self._chance.pick("admin cohort", self.choice.cohorts))
            case "flavor" if self.choice.flavors:
                self._rank(context)
            case _:
                self._put_queue(context, name)

    def _put_queue(self, context: Context, name: str, *, stopped: bool = False) -> None:
        """Everything about it is drawn anew, also where it stands."""
        chance = self._chance
        rules = PreemptionRules(
            within_queue=chance.pick("within", tuple(WithinQueue)),
            reclaim=chance.pick("reclaim", (Reclaim.ANY, Reclaim.ANY, Reclaim.LOWER_PRIORITY, Reclaim.NEVER)),
            fair_share=chance.is_so("fair share", 0.7),
            borrow_below=chance.pick("borrow below", (None, None, None, 1)),
        )
        wanted = Queue(
            id=QueueId(""),
            name="",
            weight_milli=chance.pick("weight", (0, 500, 1000, 1000, 1000, 2000)),
            quotas=tuple(self._quota(flavor, most=5) for flavor in (DEFAULT_FLAVOR, *self.choice.flavors)),
            when_can_borrow=chance.pick("borrows", tuple(Appetite)),
            when_can_preempt=chance.pick("preempts", tuple(Appetite)),
            preemption=rules,
            aging_seconds=chance.pick("aging", (None, None, 60)),
            band=chance.pick("band", (0, 0, 0, 1)),
            stopped=stopped,
        )
        quotas.put(
            context,
            ROOT,
            NodeName(cohort=None, project=PROJECT, queue=name),
            wanted,
            parent=chance.pick("parent", self.choice.cohorts),
        )

    def _put_cohort(self, context: Context, name: str) -> None:
        is_root = name == self.choice.cohorts[0]
        limits = () if is_root else (self._quota(DEFAULT_FLAVOR, most=2),)
        wanted = Queue(id=QueueId(""), name="", quotas=limits)
        parent = None if is_root else self.choice.cohorts[0]
        quotas.put(context, ROOT, NodeName(cohort=name, project="", queue=None), wanted, parent=parent)

    def _unlimit(self, context: Context, name: str) -> None:
        with suppress(NotFound):  # it had no limits
            quotas.remove(context, ROOT, NodeName(cohort=None, project=PROJECT, queue=name))

    def _rank(self, context: Context) -> None:
        """A machine that two flavors describe may be counted as the other one from now on."""
        shape = SHAPES[self._chance.pick("admin flavor", self.choice.flavors)]
        rank = self._chance.whole("rank", 0, 2)
        flavors.put(context, ROOT, replace(shape, rank=rank))

    def _quota(self, flavor: str, *, most: int) -> Quota:
        """Of GPUs, in halves."""
        chance = self._chance
        nominal = chance.whole("nominal", 0, 2 * most)
        lending = chance.pick("lends", (None, None, 0, 1, 3))
        borrowing = chance.pick("borrowing", (None, None, 0, 2, 4))
        return Quota(
            cell=Cell(flavor, "gpu"),
            nominal=500 * nominal,
            borrowing=None if borrowing is None else 500 * borrowing,
            lending=None if lending is None else min(500 * lending, 500 * nominal),
        )
