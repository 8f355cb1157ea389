"""The attempt loop's step: start, stop and observe through the executor, record what follows."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from controlplane.domain.attempts import Attempt, AttemptState, Seat
from controlplane.domain.clusters import Endpoint, Node
from controlplane.domain.errors import Ambiguous, AuthFailed, PluginError, Transient
from controlplane.domain.ids import AttemptId, ClusterId
from controlplane.executors.base import Executor
from controlplane.operations.endpoints import endpoint_of
from controlplane.operations.orders import order_for
from controlplane.operations.services import Services
from controlplane.reconcilers import attempts
from controlplane.store import Tx, WorkItem

START_SECONDS = 30.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 10.0
WOKEN_AT_ONCE = 16
"""Placed attempts that are woken when a start is over; more than may start would only queue up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    view: attempts.AttemptView
    seats: tuple[Seat, ...]
    nodes: tuple[Node, ...]


class AttemptStep:
    def __init__(self, services: Services, executor: Executor) -> None:
        self._services = services
        self._executor = executor
        self._starts = _StartsInFlight(services.settings.starts_in_flight)

    def __call__(self, item: WorkItem) -> None:
        with self._starts.room() as room:
            loaded = self._load(AttemptId(item.id), room)
            if loaded is None:
                self._services.store.write(lambda tx: tx.work.settle(item, None))
                return
            view = loaded.view
            decision = attempts.decide(view)
            while decision.call is not None:
                heard = self._act(loaded, decision.call)
                decision = attempts.decide(replace(view, heard=heard))
            self._services.store.write(lambda tx: _record(tx, item, view.attempt, decision))

    def _load(self, attempt_id: AttemptId, room: "_Room") -> _Loaded | None:
        settings = self._services.settings
        with self._services.store.read() as tx:
            attempt = tx.attempts.get(attempt_id)
            cluster = tx.clusters.get(attempt.cluster_id) if attempt else None
            if attempt is None or cluster is None:
                return None
            seats = tuple(tx.attempts.seats(attempt_id))
            nodes = tuple(tx.nodes.by_ids([seat.node_id for seat in seats]).values())
            starting = tx.attempts.count_starting(cluster.id)
            wants_start = attempt.state is AttemptState.PLACED
            view = attempts.AttemptView(
                attempt=attempt,
                cluster=cluster,
                ranks=_ranks(tx, attempt_id),
                node_gone=next((node.name for node in nodes if node.gone_at is not None), None),
                may_start=wants_start and room.take(cluster.id, starting=starting),
                lease_seconds=settings.lease_seconds,
                skew=timedelta(seconds=settings.clock_skew_seconds),
                start_timeout=timedelta(seconds=settings.start_timeout_seconds),
                poll=timedelta(seconds=settings.poll_seconds),
                now=tx.now,
            )
            return _Loaded(view=view, seats=seats, nodes=nodes)

    def _act(self, loaded: _Loaded, call: attempts.Call) -> attempts.Heard:
        endpoint = endpoint_of(self._services, loaded.view.cluster)
        if endpoint is None:
            return attempts.SawNothing(message="the cluster has no address yet")
        try:
            match call:
                case attempts.Start():
                    return self._start(loaded, endpoint)
                case attempts.TellStop():
                    return self._tell_stop(loaded.view.attempt, endpoint)
                case attempts.Look():
                    ids = [loaded.view.attempt.id]
                    seen = self._executor.observe(endpoint, ids, deadline=LOOK_SECONDS)
                    return attempts.Looked(observation=seen[0])
        except PluginError as problem:
            return attempts.SawNothing(message=problem.message)

    def _start(self, loaded: _Loaded, endpoint: Endpoint) -> attempts.Heard:
        try:
            order = order_for(self._services, loaded.view.attempt, loaded.seats, loaded.nodes, endpoint)
            return attempts.Started(session=self._executor.start(order, deadline=START_SECONDS))
        except (Transient, Ambiguous, AuthFailed) as problem:
            return attempts.StartDelayed(message=problem.message)
        except PluginError as problem:
            return attempts.StartRefused(message=problem.message)

    def _tell_stop(self, attempt: Attempt, endpoint: Endpoint) -> attempts.Heard:
        try:
            self._executor.stop(endpoint, attempt.id, deadline=STOP_SECONDS)
        except PluginError:
            return attempts.StopTold()  # asked again at the next look; evidence decides, not this answer
        return attempts.StopTold()


def _record(tx: Tx, item: WorkItem, before: Attempt, decision: attempts.AttemptDecision) -> None:
    tx.work.check(item)
    after = decision.save
    if after is not None:
        tx.attempts.save(after)
        if after.state in (AttemptState.RUNNING, AttemptState.ENDED):
            tx.work.poke("job", after.job_id)
        if (
            before.state in (AttemptState.PLACED, AttemptState.STARTING)
            and after.state is not AttemptState.STARTING
        ):
            _wake_placed(tx, after.cluster_id)
    tx.work.settle(item, decision.look_again_at)


def _wake_placed(tx: Tx, cluster_id: ClusterId) -> None:
    """A start is over, so another may begin."""
    placed = [each for each in tx.attempts.live(cluster_id) if each.state is AttemptState.PLACED]
    for attempt in sorted(placed, key=lambda each: (each.placed_at, each.id))[:WOKEN_AT_ONCE]:
        tx.work.poke("attempt", attempt.id)


def _ranks(tx: Tx, attempt_id: AttemptId) -> tuple[attempts.RankView, ...]:
    rows = sorted(tx.records.ranks(attempt_id).items())
    return tuple(
        attempts.RankView(
            rank=rank, heartbeat_at=spoke_at, exit_code=row.exit_code, exit_reason=row.exit_reason
        )
        for rank, row in rows
        if (spoke_at := row.heartbeat_at or row.exited_at) is not None
    )


class _StartsInFlight:
    """Caps the starts that this process is making at this moment; rows count those already handed over."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._counts: Counter[ClusterId] = Counter()

    @contextmanager
    def room(self) -> Iterator["_Room"]:
        room = _Room(self)
        try:
            yield room
        finally:
            room.give_back()

    def take(self, cluster_id: ClusterId, *, starting: int) -> bool:
        with self._lock:
            if self._counts[cluster_id] + starting >= self._limit:
                return False
            self._counts[cluster_id] += 1
            return True

    def give_back(self, cluster_id: ClusterId) -> None:
        with self._lock:
            self._counts[cluster_id] -= 1


class _Room:
    """One step's claim on a start; given back when the step is over, by then the row counts."""

    def __init__(self, starts: _StartsInFlight) -> None:
        self._starts = starts
        self._taken: ClusterId | None = None

    def take(self, cluster_id: ClusterId, *, starting: int) -> bool:
        if self._starts.take(cluster_id, starting=starting):
            self._taken = cluster_id
        return self._taken is not None

    def give_back(self) -> None:
        if self._taken is not None:
            self._starts.give_back(self._taken)
            self._taken = None
