"""A small world of asks and nodes in which plans come true: what a policy is tried on without a control plane.

Plans are carried out exactly, as by an executor that never fails. Preempted work stops when `stop_leaving` is called,
and goes back into its queue with the moment at which it was first submitted. Every change is also kept as a delta, so
an engine can be led along.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from controlplane.domain.amounts import Amounts
from controlplane.domain.ids import AskId, ClassId, NodeId
from controlplane.domain.queues import Queue
from schedulers.base import (
    PROMISE_SECONDS,
    AskClass,
    AskLeft,
    AskQueued,
    AskRuns,
    AskStopped,
    Budget,
    CapacityChanged,
    ClaimView,
    ClusterView,
    Delta,
    HeldSeat,
    MarketChanged,
    Memory,
    MemoryChanged,
    NodeView,
    Nomination,
    Offer,
    Place,
    Plan,
    Preempt,
    QueuedAsks,
    QueuesChanged,
    RunningAsk,
    Snapshot,
    Verdict,
    microseconds,
    moved,
    resized,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Simulation:
    now: datetime = START
    queues: tuple[Queue, ...] = ()
    clusters: tuple[ClusterView, ...] = ()
    nodes: dict[NodeId, NodeView] = field(default_factory=dict)
    """`free` is what nobody of ours holds; seats are taken off in `snapshot`."""

    queued: dict[AskId, AskQueued] = field(default_factory=dict)
    running: dict[AskId, RunningAsk] = field(default_factory=dict)
    classes: dict[ClassId, AskClass] = field(default_factory=dict)
    offers: tuple[Offer, ...] = ()
    claims: tuple[ClaimView, ...] = ()
    budgets: tuple[Budget, ...] = ()
    memory: Memory = field(default_factory=Memory)
    preemptions: dict[AskId, int] = field(default_factory=dict)
    """How often each ask was told to stop."""

    min_runtime_seconds: int = 0
    """How long whatever is placed is protected."""

    deltas: list[Delta] = field(default_factory=list)

    def furnish(self, nodes: Iterable[NodeView], clusters: Sequence[ClusterView]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.clusters = tuple(clusters)
        self._capacity()

    def plant(self, queues: Sequence[Queue]) -> None:
        self.queues = tuple(queues)
        self.deltas.append(QueuesChanged(queues=self.queues))

    def sell(
        self, offers: Sequence[Offer], budgets: Sequence[Budget] = (), claims: Sequence[ClaimView] = ()
    ) -> None:
        self.offers, self.budgets, self.claims = tuple(offers), tuple(budgets), tuple(claims)
        market = MarketChanged(offers=self.offers, claims=self.claims, budgets=self.budgets)
        self.deltas.append(market)

    def submit(self, ask: AskQueued) -> None:
        self.classes[ask.ask_class.id] = ask.ask_class
        self.queued[ask.id] = ask
        self.deltas.append(ask)

    def seat(self, ask: RunningAsk, ask_class: AskClass) -> None:
        """As if it had been placed before the story begins."""
        self.classes[ask_class.id] = ask_class
        self._runs(ask)
        self._capacity()

    def finish(self, ask_id: AskId) -> None:
        """It is over, wherever it was."""
        if self.queued.pop(ask_id, None) is not None:
            self.deltas.append(AskLeft(id=ask_id))
        if self.running.pop(ask_id, None) is not None:
            self.deltas.append(AskStopped(id=ask_id))
            self._capacity()
        self._forget()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def commit(self, plan: Plan) -> None:
        kept = (each for each in self.memory.nominations if each.ask_id not in plan.lapsed)
        self.memory = replace(self.memory, nominations=tuple(kept))
        for place in plan.places:
            self._place(place)
        for ask_id, ranks in resized(plan).items():
            self._resize(ask_id, ranks)
        for preempt in plan.preempts:
            self._preempt(preempt)
        self.memory = replace(
            self.memory,
            reservations=plan.reserves,
            past_uses=plan.past_uses or self.memory.past_uses,
        )
        self._forget()
        self._capacity()

    def stop_leaving(self) -> None:
        """All that was told to stop has stopped and is queued again, whoever is resized with a promise of its seats."""
        for ask in sorted(self.running.values(), key=lambda ask: ask.id):
            staying = tuple(seat for seat in ask.seats if not seat.leaving)
            if len(staying) == len(ask.seats):
                continue
            if staying:
                self._runs(replace(ask, seats=staying))
                continue
            del self.running[ask.id]
            self.deltas.append(AskStopped(id=ask.id))
            again = AskQueued(
                id=ask.id,
                ask_class=self.classes[ask.ask_class],
                priority=ask.priority,
                submitted=ask.submitted,
                not_before=0,
            )
            self.submit(again)
        self._capacity()

    def snapshot(self, *, version: int = 0, backwards: bool = False) -> Snapshot:
        """`backwards` turns every row order round, which must not matter."""
        order = -1 if backwards else 1
        asks = sorted(self.queued.values(), key=lambda ask: ask.id)[::order]
        memory = self.memory
        return Snapshot(
            version=version,
            now=self.now,
            asks=QueuedAsks(
                ids=[ask.id for ask in asks],
                classes=[ask.ask_class.id for ask in asks],
                priorities=[ask.priority for ask in asks],
                submitted=[ask.submitted for ask in asks],
                not_before=[ask.not_before for ask in asks],
            ),
            classes=dict(self.classes),
            nodes=self.present_nodes()[::order],
            clusters=self.clusters[::order],
            running=sorted(self.running.values(), key=lambda ask: ask.id)[::order],
            queues=self.queues[::order],
            offers=self.offers[::order],
            claims=self.claims[::order],
            budgets=self.budgets[::order],
            memory=Memory(
                nominations=tuple(memory.nominations)[::order],
                verdicts=tuple(memory.verdicts)[::order],
                reservations=tuple(memory.reservations)[::order],
                past_uses=tuple(memory.past_uses)[::order],
            ),
        )

    def present_nodes(self) -> tuple[NodeView, ...]:
        taken: dict[NodeId, Amounts] = {}
        for ask in self.running.values():
            for seat in ask.seats:
                amounts = task_amounts(self.classes[ask.ask_class], seat.rank)
                taken[seat.node_id] = taken.get(seat.node_id, Amounts()).plus(amounts)
        return tuple(
            replace(node, free=node.free.minus(taken[node.id])) if node.id in taken else node
            for node in sorted(self.nodes.values(), key=lambda node: node.id)
        )

    def _place(self, place: Place) -> None:
        ask = self.queued.pop(place.ask_id)
        self.deltas.append(AskLeft(id=ask.id))
        moment = microseconds(self.now)
        seats = tuple(HeldSeat(rank=seat.rank, node_id=seat.node_id) for seat in place.seats)
        self._runs(
            RunningAsk(
                id=ask.id,
                ask_class=ask.ask_class.id,
                priority=ask.priority,
                submitted=ask.submitted,
                cluster_id=place.cluster_id,
                seats=seats,
                admitted_at=moment,
                started_at=moment,
                protected_until=moment + self.min_runtime_seconds * 1_000_000,
            )
        )

    def _preempt(self, preempt: Preempt) -> None:
        for victim in preempt.victims:
            left = dict.fromkeys(victim.ranks or [seat.rank for seat in self.running[victim.ask_id].seats])
            self._resize(victim.ask_id, left)
            self.preemptions[victim.ask_id] = self.preemptions.get(victim.ask_id, 0) + 1
        for ask_id, ranks in moved(preempt).items():
            self._resize(ask_id, ranks)
        seats_promised = tuple((seat.rank, seat.node_id) for seat in preempt.seats)
        self._promise(
            Nomination(
                ask_id=preempt.ask_id,
                cluster_id=preempt.cluster_id,
                seats=seats_promised,
                until=preempt.until,
            )
        )
        verdicts = [Verdict(winner=preempt.ask_id, loser=victim.ask_id) for victim in preempt.victims]
        self.memory = replace(self.memory, verdicts=(*self.memory.verdicts, *verdicts))

    def _resize(self, ask_id: AskId, ranks: Mapping[int, NodeId | None]) -> None:
        """All of it is leaving; what it is to have afterwards, if anything, is promised to it."""
        ask = self.running[ask_id]
        self._runs(replace(ask, seats=tuple(replace(seat, leaving=True) for seat in ask.seats)))
        seats = {**{seat.rank: seat.node_id for seat in ask.seats}, **ranks}
        kept = _renumbered(self.classes[ask.ask_class], seats)
        until = microseconds(self.now) + PROMISE_SECONDS * 1_000_000
        if kept:
            self._promise(Nomination(ask_id=ask_id, cluster_id=ask.cluster_id, seats=kept, until=until))

    def _promise(self, nomination: Nomination) -> None:
        others = [each for each in self.memory.nominations if each.ask_id != nomination.ask_id]
        self.memory = replace(self.memory, nominations=(*others, nomination))

    def _runs(self, ask: RunningAsk) -> None:
        self.running[ask.id] = ask
        self.deltas.append(AskRuns(ask=ask, ask_class=self.classes[ask.ask_class]))

    def _forget(self) -> None:
        """Rows of asks that are over are pruned, nominations also of those that were placed."""
        live = self.queued.keys() | self.running.keys()
        self.memory = replace(
            self.memory,
            nominations=tuple(
                each
                for each in self.memory.nominations
                if each.ask_id in self.queued or self._is_stopping(each.ask_id)
            ),
            verdicts=tuple(
                each for each in self.memory.verdicts if each.winner in live and each.loser in live
            ),
            reservations=tuple(each for each in self.memory.reservations if each.ask_id in self.queued),
        )
        self.deltas.append(MemoryChanged(memory=self.memory))

    def _is_stopping(self, ask_id: AskId) -> bool:
        return ask_id in self.running and all(seat.leaving for seat in self.running[ask_id].seats)

    def _capacity(self) -> None:
        self.deltas.append(CapacityChanged(nodes=self.present_nodes(), clusters=self.clusters))


def _renumbered(ask_class: AskClass, seats: Mapping[int, NodeId | None]) -> tuple[tuple[int, NodeId], ...]:
    """Ranks of each role without gaps: who starts again has no memory of who is missing."""
    kept: list[tuple[int, NodeId]] = []
    first = 0
    for role in ask_class.all_roles:
        ranks = range(first, first + role.tasks)
        nodes = [node_id for rank in ranks if (node_id := seats.get(rank)) is not None]
        kept.extend(zip(ranks, nodes, strict=False))
        first += role.tasks
    return tuple(kept)


def task_amounts(ask_class: AskClass, rank: int) -> Amounts:
    """Of the task with this rank."""
    first = 0
    for role in ask_class.all_roles:
        if rank < first + role.tasks:
            return role.amounts
        first += role.tasks
    return Amounts()
