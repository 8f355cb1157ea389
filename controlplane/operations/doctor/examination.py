"""Examinations: the books once, the world outside twice where the first look found something."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from controlplane.domain.invariants import Breach
from controlplane.operations.context import Context
from controlplane.operations.doctor import books, outside
from controlplane.operations.doctor.outside import Outside
from controlplane.operations.doctor.reports import Ports, Report
from controlplane.operations.explain import scheduler_is_away

PAUSE_POLLS = 2.0
"""Between two looks, in polls: by then the loops have seen what has changed."""


def examine(
    context: Context, ports: Ports, *, pause: Callable[[float], None], clock: Callable[[], float]
) -> Report:
    """Reads only. `pause` waits so many seconds; `clock` counts them. Raises `Unavailable` without a database."""
    began = clock()
    told = books.look(context.store)
    seen = _look_outside(context, ports, pause)
    return Report(
        breaches=(*told.breaches, *seen.breaches),
        unseen=seen.unseen,
        notes=_notes(context, seen),
        jobs=told.jobs,
        claims=told.claims,
        clusters=seen.clusters,
        seconds=clock() - began,
    )


def lasting(first: Sequence[Breach], second: Sequence[Breach]) -> tuple[Breach, ...]:
    """What both looks found, as the second one tells it."""
    known = {(breach.rule, breach.subject) for breach in first}
    return tuple(breach for breach in second if (breach.rule, breach.subject) in known)


def _look_outside(context: Context, ports: Ports, pause: Callable[[float], None]) -> Outside:
    first = outside.look(context, ports)
    if not first.breaches:
        return first
    pause(PAUSE_POLLS * context.settings.poll_seconds)
    second = outside.look(context, ports)
    return replace(second, breaches=lasting(first.breaches, second.breaches))


def _notes(context: Context, seen: Outside) -> tuple[str, ...]:
    with context.store.read() as tx:
        is_away = scheduler_is_away(tx)
    sleeping = [f"cluster {name} is down with the server, and was not asked" for name in seen.asleep]
    away = "no scheduling loop is running: what waits for one, and the nodes of clusters, were not judged"
    return (away, *sleeping) if is_away else tuple(sleeping)
