"""Desks: where the requests for one service wait until a replica may be asked."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from controlplane.domain.errors import NotFound
from controlplane.domain.ids import AttemptId, RevisionId
from controlplane.domain.traffic import Backend, RevisionRoute, ServiceRoute
from controlplane.gateway.choosing import least_outstanding, revision_for
from controlplane.gateway.loads import Loads
from controlplane.gateway.outliers import Outliers
from controlplane.gateway.refusals import NoReplica, TooMany
from controlplane.gateway.retries import Budget

RETRY_AFTER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Leave to ask this replica, once."""

    revision: RevisionRoute
    backend: Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which replica a request would like."""

    draw_ppm: int
    """Chance, drawn once: all tries of a request fall on one revision as long as it has replicas."""

    avoided_attempts: frozenset[AttemptId] = frozenset()
    avoided_revisions: frozenset[RevisionId] = frozenset()
    """Those that failed this request before, if there are others."""


@dataclass(slots=True, eq=False)
class _Waiter:
    wish: Wish
    turn: asyncio.Future[Turn]


@dataclass(slots=True)
class Desk:
    """Of one service; lives in one event loop. Nobody waits while a replica of the chosen revision has room."""

    route: ServiceRoute
    loads: Loads
    clock: Callable[[], float]
    call_for_replicas: Callable[[], None] = lambda: None
    """Called when a request finds no replica at all: somebody has to hear of it at once."""

    outliers: Outliers = field(default_factory=Outliers)
    budget: Budget = field(default_factory=Budget)
    _outstanding: dict[AttemptId, int] = field(default_factory=dict)
    _lines: dict[RevisionId | None, deque[_Waiter]] = field(default_factory=dict)
    _turns: int = 0

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def name(self) -> str:
        return f"{self.route.project}/{self.route.name}"

    @property
    def has_replica(self) -> bool:
        now = self.clock()
        return any(self.outliers.usable(each.backends, now) for each in self.route.revisions)

    async def turn(self, wish: Wish, *, until: float) -> Turn:
        """Raises `TooMany` when too many wait, `NoReplica` at `until`, or when none woke up in time."""
        revision = self._revision(wish)
        if revision is not None and not self._lines.get(revision.revision_id):
            turn = self._turn(revision, wish)
            if turn is not None:
                return turn
        most = self.route.limits.queue_requests
        if self.waiting >= most:
            raise TooMany(
                f"{self.waiting} requests for {self.name} wait already",
                limit=most,
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        if revision is None:
            until = min(until, self.clock() + self.route.limits.wake_seconds)
        return await self._wait(_Waiter(wish, asyncio.get_running_loop().create_future()), revision, until)

    def finished(self, turn: Turn) -> None:
        """The replica has room for another."""
        attempt_id, revision_id = turn.backend.attempt_id, turn.revision.revision_id
        left = self._outstanding[attempt_id] - 1
        if left:
            self._outstanding[attempt_id] = left
        else:
            del self._outstanding[attempt_id]
        self.loads.tally(self.route.service_id, revision_id).in_flight -= 1
        self._serve(revision_id)

    def follow(self, route: ServiceRoute) -> None:
        """The service is another one now; who waits is told at once if that helps."""
        self.route = route
        self.outliers.forget_but([each.attempt_id for one in route.revisions for each in one.backends])
        self.look_again()

    def look_again(self) -> None:
        """Replicas come back by time alone, too."""
        if not self._lines:
            return
        before, self._lines = self._lines, {}
        for revision_id, line in before.items():
            for waiter in line:
                self._count_waiter(revision_id, -1)
                if not waiter.turn.done():  # else it goes away, and will find itself in no line
                    revision = self._revision(waiter.wish)
                    self._line_up(waiter, None if revision is None else revision.revision_id)
        for revision_id in list(self._lines):
            self._serve(revision_id)

    def close(self) -> None:
        """The service is gone."""
        for line in self._lines.values():
            for waiter in line:
                if not waiter.turn.done():
                    waiter.turn.set_exception(NotFound(f"service {self.name} is gone"))

    async def _wait(self, waiter: _Waiter, revision: RevisionRoute | None, until: float) -> Turn:
        self._line_up(waiter, None if revision is None else revision.revision_id)
        if revision is None:
            self.call_for_replicas()
        try:
            async with asyncio.timeout(max(0.0, until - self.clock())):
                return await waiter.turn
        except BaseException as problem:
            self._leave(waiter)
            if not isinstance(problem, TimeoutError):
                raise
            wanted = "had room" if self.has_replica else "was there"
            raise NoReplica(
                f"no replica of {self.name} {wanted} in time", retry_after_seconds=RETRY_AFTER_SECONDS
            ) from None

    def _leave(self, waiter: _Waiter) -> None:
        """Whoever was given a turn in the very moment of giving up hands it back."""
        if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            self.finished(waiter.turn.result())
        for revision_id, line in self._lines.items():
            if waiter in line:
                line.remove(waiter)
                self._count_waiter(revision_id, -1)
                break

    def _line_up(self, waiter: _Waiter, revision_id: RevisionId | None) -> None:
        self._lines.setdefault(revision_id, deque()).append(waiter)
        self._count_waiter(revision_id, 1)

    def _serve(self, revision_id: RevisionId | None) -> None:
        line = self._lines.get(revision_id)
        while line:
            waiter = line[0]
            if not waiter.turn.done():
                revision = self._revision(waiter.wish)
                turn = None if revision is None else self._turn(revision, waiter.wish)
                if turn is None:
                    return
                waiter.turn.set_result(turn)
            line.popleft()
            self._count_waiter(revision_id, -1)
        self._lines.pop(revision_id, None)

    def _count_waiter(self, revision_id: RevisionId | None, one: int) -> None:
        tally = self.loads.tally(self.route.service_id, revision_id)
        tally.waiting += one
        tally.in_flight += one

    def _revision(self, wish: Wish) -> RevisionRoute | None:
        now = self.clock()
        able = [each for each in self.route.revisions if self.outliers.usable(each.backends, now)]
        better = [each for each in able if each.revision_id not in wish.avoided_revisions]
        return revision_for(better or able, wish.draw_ppm)

    def _turn(self, revision: RevisionRoute, wish: Wish) -> Turn | None:
        now = self.clock()
        usable = self.outliers.usable(revision.backends, now)
        better = tuple(each for each in usable if each.attempt_id not in wish.avoided_attempts)
        self._turns += 1
        roomy = tuple(each for each in better or usable if self.outliers.has_room(each.attempt_id, now))
        backend = least_outstanding(
            roomy, self._outstanding, concurrency=revision.concurrency, turn=self._turns
        )
        if backend is None:
            return None
        self._outstanding[backend.attempt_id] = self._outstanding.get(backend.attempt_id, 0) + 1
        self.loads.tally(self.route.service_id, revision.revision_id).in_flight += 1
        return Turn(revision=revision, backend=backend)
