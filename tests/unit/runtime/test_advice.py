"""A policy that fails, answers nonsense or never answers: nothing of it is committed, and an event says so."""

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pytest

from controlplane.domain.ids import AskId, ClusterId, NodeId
from controlplane.domain.jobs import JobState
from controlplane.runtime.advice import within
from controlplane.runtime.bell import Bell
from controlplane.runtime.scheduling import SchedulingLoop
from schedulers.base import Delta, Engine, Place, Placement, Plan, Snapshot
from schedulers.priority import Priority
from tests.unit.runtime.test_flow import World, world

__all__ = ["world"]

Answer = Callable[[Engine, int, datetime], Plan]


@dataclass(slots=True)
class Moody:
    """Is asked as `priority` is, and answers as it is told."""

    answers: list[Answer]
    name: str = "moody"
    is_simple: bool = True

    def plan(self, snapshot: Snapshot) -> Plan:
        return Priority().plan(snapshot)

    def start(self, snapshot: Snapshot) -> "MoodyEngine":
        return MoodyEngine(Priority().start(snapshot), self.answers)


@dataclass(slots=True)
class MoodyEngine:
    inner: Engine
    answers: list[Answer]

    def apply(self, deltas: Sequence[Delta]) -> None:
        self.inner.apply(deltas)

    def plan(self, *, version: int, now: datetime) -> Plan:
        return self.answers.pop(0)(self.inner, version, now)


def sensible(engine: Engine, version: int, now: datetime) -> Plan:
    return engine.plan(version=version, now=now)


def raises(engine: Engine, version: int, now: datetime) -> Plan:
    del engine, version, now
    raise ZeroDivisionError("half of nothing")


def seats_twice(engine: Engine, version: int, now: datetime) -> Plan:
    del engine, now
    seat = Placement(rank=0, node_id=NodeId("n1"))
    place = Place(ask_id=AskId("a"), cluster_id=ClusterId("c"), seats=(seat,))
    return Plan(version=version, places=(place, place))


def gives_a_rank_twice(engine: Engine, version: int, now: datetime) -> Plan:
    del engine, now
    seat = Placement(rank=0, node_id=NodeId("n1"))
    place = Place(ask_id=AskId("a"), cluster_id=ClusterId("c"), seats=(seat, seat))
    return Plan(version=version, places=(place,))


def says_something_else(engine: Engine, version: int, now: datetime) -> Plan:
    del engine, version, now
    return "place them all"  # type: ignore[return-value]


def never_ends(engine: Engine, version: int, now: datetime) -> Plan:
    del engine, version, now
    for _ in itertools.count():
        pass
    raise AssertionError


WRONG: list[tuple[Answer, str]] = [
    (raises, "raised ZeroDivisionError: half of nothing"),
    (seats_twice, "seats a 2 times"),
    (gives_a_rank_twice, "gives a the ranks [0, 0]"),
    (says_something_else, "answered with a str, not a plan"),
]


@pytest.mark.parametrize(("wrong", "problem"), WRONG, ids=[answer.__name__ for answer, _ in WRONG])
def test_what_is_wrong_is_dropped_and_told_once_and_the_next_sound_plan_is_carried_out(
    world: World, wrong: Answer, problem: str
) -> None:
    first = world.submit()
    policy = Moody([wrong, wrong])
    world.loops.scheduling = _loop(world, policy)
    before = world.attempts(first)
    world.loops.scheduling.step()
    world.loops.scheduling.step()
    assert _problems(world) == [problem]
    assert world.attempts(first) == before
    policy.answers.extend([sensible] * 100)
    assert world.job(world.submit()).state is JobState.ACTIVE


def test_who_never_answers_is_interrupted(world: World) -> None:
    loop = _loop(world, Moody([never_ends]), policy_seconds=0.05)
    loop.step()
    assert _problems(world) == ["did not answer within 0.05 s"]


@pytest.mark.parametrize(("seconds", "watches"), [(60.0, 1), (math.inf, 0)])
def test_only_what_may_be_interrupted_is_watched(seconds: float, watches: int) -> None:
    before = threading.active_count()

    assert within(seconds, threading.active_count) == before + watches


def _loop(world: World, policy: Moody, *, policy_seconds: float = 60.0) -> SchedulingLoop:
    store = world.context.store
    return SchedulingLoop(
        store=store,
        policy=policy,
        bell=Bell(store.change_marker),
        holder="me",
        leader_seconds=10,
        policy_seconds=policy_seconds,
    )


def _problems(world: World) -> list[object]:
    with world.context.store.read() as tx:
        events = [event for _, event in tx.events.after(None, 1000)[0]]
    return [event.data["problem"] for event in events if event.kind == "policy.failed"]
