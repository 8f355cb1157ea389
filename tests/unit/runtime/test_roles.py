"""Gangs with roles, on both databases: what each task is given, and what becomes of them when they are resized."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import ValidationError

from controlplane.domain.attempts import Attempt, Outcome
from controlplane.runtime.pictures import Sight, snapshot
from controlplane.wire.jobspec import JobSpec
from tests.unit.runtime.fair_world import World, opened, share

Fields = dict[str, Any]  # of a spec, as JSON

HEAD: Final[Fields] = {"name": "head", "resources": {"cpus": 4}}
REST: Final[Fields] = {
    "name": "rest",
    "tasks": 3,
    "resources": {"cpus": 1, "gpus": 2},
    "flavors": ["default"],
}


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    with opened(tmp_path, database_url) as made:
        share(made)
        yield made


def sizes(world: World, attempt: Attempt) -> list[tuple[int, int]]:
    """By rank, milli-CPUs and milli-GPUs."""
    with world.context.store.read() as tx:
        seats = sorted(tx.attempts.seats(attempt.id), key=lambda seat: seat.rank)
    return [(seat.amounts.cpu_milli, seat.amounts.gpu_milli) for seat in seats]


def in_roles(*roles: Fields, **fields: object) -> Fields:
    return {"resources": {}, "roles": list(roles)} | fields


def test_each_task_gets_what_its_role_needs_and_is_told_its_role(world: World) -> None:
    job = world.submit("blue", **in_roles(HEAD, REST))
    (attempt,) = world.attempts(job)
    assert sizes(world, attempt) == [(4000, 0), *[(1000, 2000)] * 3]
    order = world.executor.orders[attempt.id]
    assert [(seat.rank, seat.role) for seat in order.seats] == [
        (0, "head"),
        *[(n, "rest") for n in (1, 2, 3)],
    ]


def test_the_policy_sees_the_roles_and_only_the_last_one_may_be_smaller(world: World) -> None:
    world.submit("blue", **in_roles(HEAD, REST, min_tasks=2))
    with world.context.store.read() as tx:
        seen = snapshot(tx, Sight(is_simple=False, min_runtime=timedelta()))
    (its,) = seen.classes.values()
    told = [(role.name, role.tasks_min, role.tasks, role.flavors) for role in its.roles]
    assert told == [("head", 1, 1, ()), ("rest", 1, 3, ("default",))]


def test_a_borrower_gives_back_tasks_of_its_last_role_and_keeps_its_head(world: World) -> None:
    job = world.submit("blue", **in_roles(HEAD, REST, min_tasks=2))
    attempt = world.run(job)
    world.pass_time(62)
    owner = world.submit("green", tasks=2)
    stopped = world.attempts(job)[0]
    assert stopped.stop_outcome is Outcome.PREEMPTED
    world.stop(stopped)
    assert sizes(world, world.attempts(job)[-1]) == [(4000, 0), *[(1000, 2000)] * 2]
    assert attempt.id != world.attempts(job)[-1].id
    assert len(world.attempts(owner)) == 1


def test_what_is_promised_to_a_gang_is_kept_free_role_by_role(world: World) -> None:
    first = world.submit("blue", tasks=4)
    world.run(first)
    world.pass_time(62)
    owner = world.submit("green", **in_roles(HEAD, REST | {"tasks": 2}))
    assert world.why(owner) == "waiting_for_seats"
    world.stop(world.attempts(first)[0])
    assert sizes(world, world.attempts(owner)[0]) == [(4000, 0), *[(1000, 2000)] * 2]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"tasks": 2}, "no tasks, no resources beside"),
        ({"resources": {"gpus": 1}}, "no tasks, no resources beside"),
        ({"roles": [HEAD, HEAD]}, "two roles are called 'head'"),
        ({"min_tasks": 1}, "only the last role 'rest' may have fewer tasks, and needs one beside the 1"),
        ({"min_tasks": 5}, "more than tasks, which is 4"),
        ({"roles": [HEAD, REST | {"tasks": 4096}]}, "roles have 4097 tasks in all, the limit is 4096"),
    ],
)
def test_roles_that_contradict_the_rest_are_refused(fields: Fields, problem: str) -> None:
    spec = {"name": "work", "entrypoint": "true", "roles": [HEAD, REST]}
    with pytest.raises(ValidationError, match=problem):
        JobSpec.model_validate(spec | fields)
