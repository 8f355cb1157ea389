"""Reasons: what is said to who waits, and the words for it."""

from dataclasses import dataclass

from controlplane.domain.amounts import MILLI
from controlplane.domain.ids import ClusterId
from schedulers.base import Change, NodesAdded, ReasonCode, Role
from schedulers.fair.facts import Facts, Option, flavor_order
from schedulers.fair.world import World
from schedulers.seating import in_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    code: ReasonCode
    sentence: str
    remedy: str
    blocker: str | None = None
    change: Change | None = None


def least(world: World, facts: Facts) -> tuple[Option, ...]:
    """Every combination of flavors with the fewest tasks."""
    return facts.options(world.ledger, facts.sizes(facts.slack))


def room_for(world: World, facts: Facts, role: Role, cluster_id: ClusterId) -> Change:
    flavors = flavor_order(role, world.ledger.queues[facts.queue], world.fleet) or role.flavors
    return NodesAdded(
        cluster_id=cluster_id,
        count=max(1, role.tasks_min),
        like=None,
        amounts=role.amounts,
        accelerator=role.accelerator,
        flavor=flavors[0] if flavors else None,
    )


def cluster_name(world: World, cluster_id: ClusterId) -> str:
    return next(cluster.name for cluster in world.fleet.clusters if cluster.id == cluster_id)


def need_of(facts: Facts) -> str:
    sizes = facts.sizes(facts.slack)
    words = [
        f"{tasks} x ({in_words(each.role.amounts)})" for each, tasks in zip(facts.roles, sizes, strict=True)
    ]
    return "needs " + " and ".join(words)


def in_unit(resource: str, amount: int) -> str:
    if resource == "memory":
        return f"{amount / 1024**3:.1f} GiB of memory"
    return f"{amount / MILLI:g} {resource.removeprefix('custom:')}"
