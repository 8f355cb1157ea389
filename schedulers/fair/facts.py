"""Facts: what an equivalence class of asks means on this fleet and in this tree, worked out once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Final

import numpy as np

from controlplane.domain.ids import ClassId, QueueId
from controlplane.domain.queues import Queue
from schedulers.base import AskClass, ClusterView, NodeView, Role
from schedulers.fair.clock import SECOND, Clock
from schedulers.fair.fleet import NEVER, Fleet, Mask, Need
from schedulers.fair.ledger import Ledger, Request
from schedulers.fair.packing import Part

MOST_COMBINATIONS: Final = 64
"""Of flavors over the roles of one class that are tried."""


Shape = tuple[Need, bytes]
"""What one task needs, and the nodes that would do, as the bytes of their mask."""


@dataclass(frozen=True, slots=True)
class RoleFacts:
    role: Role
    need: Need
    amounts: tuple[tuple[str, int], ...]
    first_rank: int
    masks: tuple[tuple[str, Mask], ...]
    """(flavor, nodes), in the order in which flavors are tried; flavors without a node for it are left out."""

    shapes: tuple[Shape, ...]
    """Of each mask: equal ones ask for the same of the same nodes."""


@dataclass(frozen=True, slots=True)
class Option:
    choice: tuple[int, ...]
    """For each role, the place of its flavor."""

    request: Request
    """Not to be written to."""

    shape: tuple[object, ...]
    """Equal ones take the same seats."""


@dataclass(frozen=True, slots=True)
class Facts:
    ask_class: AskClass
    queue: int
    """Its queue's number in the ledger."""

    roles: tuple[RoleFacts, ...]
    band: int
    """Of its queue and its class together."""

    runs_for: int
    """Microseconds; NEVER if nobody knows."""

    slack: int
    """Tasks that it can do without."""

    _sizes: dict[int, tuple[int, ...]] = field(default_factory=dict, compare=False)
    _options: dict[tuple[int, ...], tuple["Option", ...]] = field(default_factory=dict, compare=False)

    @property
    def id(self) -> ClassId:
        return self.ask_class.id

    def sizes(self, without: int) -> tuple[int, ...]:
        """Tasks per role if so many of the dispensable ones are left out, in proportion; Kueue's partial admission."""
        known = self._sizes.get(without)
        if known is None:
            known = self._sizes[without] = tuple(
                each.role.tasks - (each.role.tasks - each.role.tasks_min) * without // max(1, self.slack)
                for each in self.roles
            )
        return known

    def combinations(self) -> Iterator[tuple[int, ...]]:
        """For each role the place of a flavor in its `masks`; the first role's flavor changes last."""
        return islice(product(*(range(len(each.masks)) for each in self.roles)), MOST_COMBINATIONS)

    def options(self, ledger: Ledger, sizes: tuple[int, ...]) -> tuple["Option", ...]:
        """Every combination of flavors in the order in which they are tried; worked out once."""
        known = self._options.get(sizes)
        if known is None:
            known = self._options[sizes] = tuple(
                Option(choice, self.request(ledger, choice, sizes), self.shape(choice, sizes))
                for choice in self.combinations()
            )
        return known

    def parts(self, choice: Sequence[int], sizes: Sequence[int]) -> list[Part]:
        return [
            Part(need=each.need, nodes=each.masks[place][1], tasks=tasks)
            for each, place, tasks in zip(self.roles, choice, sizes, strict=True)
        ]

    def shape(self, choice: Sequence[int], sizes: tuple[int, ...]) -> tuple[object, ...]:
        shapes = tuple(each.shapes[place] for each, place in zip(self.roles, choice, strict=True))
        return shapes, sizes, self.ask_class.topology

    def request(self, ledger: Ledger, choice: Sequence[int], sizes: Sequence[int]) -> Request:
        total: Request = {}
        for each, place, tasks in zip(self.roles, choice, sizes, strict=True):
            flavor = each.masks[place][0]
            for cell, amount in ledger.request(self.queue, flavor, each.amounts, tasks).items():
                total[cell] = total.get(cell, 0) + amount
        return total

    def role_of(self, rank: int) -> RoleFacts | None:
        for each in self.roles:
            if each.first_rank <= rank < each.first_rank + each.role.tasks:
                return each
        return None


def facts_of(ask_class: AskClass, fleet: Fleet, ledger: Ledger, clock: Clock) -> Facts:
    """Good until the clock's next moment, as long as the nodes and the queues are the same."""
    queue = ledger.number[QueueId(ask_class.queue_id)]
    runs_for = NEVER if ask_class.runtime_seconds is None else ask_class.runtime_seconds * SECOND
    welcome = {
        cluster.id for cluster in fleet.clusters if cluster.blocked is None and lets_in(cluster, ask_class)
    }
    roles, first_rank = [], 0
    for role in ask_class.all_roles:
        fits = [
            kind.cluster_id in welcome
            and carries(kind, role)
            and tolerates(kind, ask_class)
            and kind.healthy
            and (kind.closes_at is None or not _ends_too_late(runs_for, kind.closes_at, clock))
            for kind in fleet.kinds
        ]
        order = flavor_order(role, ledger.queues[queue], fleet)
        every = [(flavor, _mask(fleet, fits, flavor)) for flavor in order]
        masks = tuple((flavor, mask) for flavor, mask in every if mask.any())
        need = fleet.need(role.amounts)
        roles.append(
            RoleFacts(
                role=role,
                need=need,
                amounts=role.amounts.named(),
                first_rank=first_rank,
                masks=masks,
                shapes=tuple((need, mask.tobytes()) for _, mask in masks),
            )
        )
        first_rank += role.tasks
    slack = sum(each.role.tasks - each.role.tasks_min for each in roles)
    band = ledger.queues[queue].band + ask_class.band
    return Facts(ask_class, queue, tuple(roles), band, runs_for, slack)


def _ends_too_late(runs_for: int, closes_at: int, clock: Clock) -> bool:
    return runs_for == NEVER or clock.is_past(closes_at - runs_for + 1)


def lets_in(cluster: ClusterView, ask_class: AskClass) -> bool:
    """Residency and trust: whether its work may be on this cluster at all."""
    return cluster.lets_in(ask_class)


def carries(node: NodeView, role: Role) -> bool:
    return role.accelerator is None or node.accelerator == role.accelerator


def tolerates(node: NodeView, ask_class: AskClass) -> bool:
    met = ask_class.tolerations
    return all((key, value) in met or (key, "*") in met for key, value in node.taints)


def flavor_order(role: Role, queue: Queue, fleet: Fleet) -> tuple[str, ...]:
    """What the role names, in its order, out of what the queue may use; else all of the queue's; else all there are."""
    present = sorted({kind.flavor for kind in fleet.kinds})
    of_queue = queue.flavors or tuple(present)
    return tuple(flavor for flavor in role.flavors or of_queue if flavor in of_queue)


def _mask(fleet: Fleet, fits: Sequence[bool], flavor: str) -> Mask:
    chosen = [fit and kind.flavor == flavor for fit, kind in zip(fits, fleet.kinds, strict=True)]
    return np.array(chosen, np.bool_)[fleet.kind_of] if chosen else np.zeros(0, np.bool_)
