"""Advice: what a policy answers within its time, or why its answer is not followed.

A policy may be anybody's code. Whatever it raises, however long it thinks and whatever nonsense it says, nothing of
that answer is committed, what was decided before stands, and an event says so.
"""

import ctypes
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from schedulers.base import Delta, Engine, Place, Plan, Preempt

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    problem: str


class _Overdue(BaseException):
    """did not answer in time"""

    # Not an Exception, so that a policy that swallows those ends as well.


def advice(
    engine: Engine, changes: Sequence[Delta], *, version: int, now: datetime, seconds: float
) -> Plan | Fault:
    """The engine is told the changes and asked for a plan. After a fault it is not to be asked again."""

    def ask() -> Plan | Fault:
        engine.apply(changes)
        return _sound(engine.plan(version=version, now=now), version)

    return within(seconds, ask)


def within(seconds: float, do: Callable[[], T | Fault]) -> T | Fault:
    """What it returns, or the fault that it raised something or went on for longer than that.

    The time is a backstop, not a budget: it ends what would never end. Policies bound their effort in steps. With
    `math.inf` nobody watches.
    """
    try:
        with _watched(seconds):
            return do()
    except _Overdue:
        return Fault(problem=f"did not answer within {seconds:g} s")
    except Exception as problem:  # noqa: BLE001 - anybody's code
        return Fault(problem=f"raised {type(problem).__name__}: {problem}")


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    if math.isinf(seconds):
        yield
        return
    watch = _Watch(threading.get_ident())
    timer = threading.Timer(seconds, watch.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        watch.end()
        timer.cancel()


class _Watch:
    """Raises in a thread that computes, unless it is done; both know of each other by a lock."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._lock = threading.Lock()
        self._is_over = False

    def interrupt(self) -> None:
        with self._lock:
            if not self._is_over:
                raised = ctypes.py_object(_Overdue)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), raised)

    def end(self) -> None:
        with self._lock:
            self._is_over = True


def _sound(plan: object, version: int) -> Plan | Fault:
    """Only what no row has to be read for; the store judges the rest."""
    if not isinstance(plan, Plan):
        return Fault(problem=f"answered with a {type(plan).__name__}, not a plan")
    flaw = next(_flaws(plan, version), None)
    return plan if flaw is None else Fault(problem=flaw)


def _flaws(plan: Plan, version: int) -> Iterator[str]:
    if plan.version != version:
        yield f"answered for version {plan.version}, was asked for {version}"
    granted: list[Place | Preempt] = [*plan.places, *plan.preempts]
    ask_id, times = next(iter(Counter(each.ask_id for each in granted).most_common(1)), ("", 0))
    if times > 1:
        yield f"seats {ask_id} {times} times"
    for each in granted:
        ranks = [seat.rank for seat in each.seats]
        if not ranks or len(frozenset(ranks)) < len(ranks) or min(ranks) < 0:
            yield f"gives {each.ask_id} the ranks {ranks}"
    classes = Counter(defer.class_id for defer in plan.defers)
    if len(classes) < len(plan.defers):
        yield f"has more than one reason for class {classes.most_common(1)[0][0]}"
