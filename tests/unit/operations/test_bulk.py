"""Thousands of jobs in one call: each by itself, in bounded writes, and each once however often the call breaks off."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from controlplane.domain.errors import Conflict, Forbidden, Invalid, KeyReused
from controlplane.domain.ids import JobId, TokenId
from controlplane.domain.jobs import Job, JobState
from controlplane.identity.principals import Role
from controlplane.operations import bulk, jobs, object_stores, projects
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once
from controlplane.store import Store, Tx
from controlplane.wire.data import StoreCreate
from controlplane.wire.jobspec import JobSpec
from tests.databases import DIALECTS
from tests.store.planting import raw
from tests.unit.operations.world import World, other_project, world

UNIT = bulk.UNIT
BOTH = pytest.mark.parametrize("plane", DIALECTS, indirect=True)


@pytest.fixture
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url")) as made:
        yield made


class Crash(BaseException):
    """The process is gone."""


@dataclass(slots=True, kw_only=True)
class WatchedStore:
    """A store whose door for writes may be broken."""

    store: Store
    before_write: Callable[[int], None] = lambda _number: None
    """Called with the number of the write, from 1."""

    writes: list[int] = field(default_factory=list)

    def read(self) -> AbstractContextManager[Tx]:
        return self.store.read()

    def write(self, unit: Callable[[Tx], Any]) -> Any:  # noqa: ANN401 - what the unit returns
        self.writes.append(len(self.writes) + 1)
        self.before_write(self.writes[-1])
        return self.store.write(unit)


def watched(plane: World, before_write: Callable[[int], None] = lambda _number: None) -> Context:
    return replace(
        plane.context, store=cast("Store", WatchedStore(store=plane.store, before_write=before_write))
    )


def entry(name: str, **given: object) -> tuple[JobSpec, str]:
    made = JobSpec.model_validate({"name": name, "entrypoint": "true", **given})
    return made, made.model_dump_json(exclude_unset=True)


def entries(count: int) -> list[bulk.Entry]:
    return [entry(f"job-{number}") for number in range(count)]


def told(verdicts: Sequence[bulk.Verdict]) -> str:
    return json.dumps(
        [
            [each.id, each.name] if isinstance(each, Job) else [type(each).__name__, each.message]
            for each in verdicts
        ]
    )


def submit(
    plane: World, asked: Sequence[bulk.Entry], *, context: Context | None = None, key: str | None = None
) -> list[list[str]]:
    once = None if key is None else once_of(key)
    parts = bulk.submit_each(context or plane.context, plane.root, asked, told, once=once)
    return [item for part in parts for item in json.loads(part)]


def once_of(key: str, request_hash: bytes = b"request") -> Once[str]:
    return Once(token_id=TokenId("token_1"), key=key, request_hash=request_hash, code=200, render=str)


def names(plane: World) -> list[str]:
    """Of all jobs, in the order in which a policy would take them."""
    with plane.store.read() as tx:
        queued = tx.asks.queued()
        found = sorted(zip(queued.submitted_us, queued.ids, strict=True))
        return [job.name for job in tx.jobs.many([JobId(ask_id.removesuffix(".0")) for _, ask_id in found])]


@BOTH
def test_jobs_are_accepted_in_the_order_of_the_request(plane: World) -> None:
    answers = submit(plane, entries(2 * UNIT + 7))
    expected = [f"job-{number}" for number in range(2 * UNIT + 7)]
    assert [name for _, name in answers] == expected
    assert names(plane) == expected


def test_no_write_holds_more_than_a_unit(plane: World) -> None:
    context = watched(plane)
    submit(plane, entries(2 * UNIT + 1), context=context)
    assert cast("WatchedStore", context.store).writes == [1, 2, 3]


@BOTH
def test_a_bad_job_hurts_no_other(plane: World) -> None:
    plane.cluster("lab", nodes=1)
    gone = plane.submit(name="gone").job
    jobs.cancel(plane.context, plane.root, gone.id)
    asked: list[bulk.Entry] = [
        entry("good"),
        Invalid("is no spec", field="name"),
        entry("lost", queue="nowhere"),
        entry("vast", tasks=500),
        entry("vast-too", tasks=500),
        entry("late", depends_on=[gone.id]),
        entry("bare", working_dir=f"sha256:{'0' * 64}"),
        entry("fine"),
    ]
    answers = submit(plane, asked)
    assert [first if first.isalpha() else "accepted" for first, _ in answers] == [
        *("accepted", "Invalid", "NotFound", "Invalid", "Invalid", "Invalid", "Invalid", "accepted")
    ]
    assert answers[4][1] == answers[3][1] == "needs 500 x {cpu 1}, the largest cluster 'lab' holds 4"
    assert names(plane) == ["good", "fine"]


def test_names_of_the_same_call_are_no_jobs(plane: World) -> None:
    first = plane.submit(name="first").job
    other_project(plane)
    theirs = plane.submit(project="other").job
    asked = [
        entry("a"),
        entry("b", depends_on=["a"]),
        entry("c", depends_on=[theirs.id]),
        entry("d", depends_on=[first.id]),
    ]
    (_, b, c, d) = submit(plane, asked)
    assert b == [
        "Invalid",
        "there is no job 'a' in this project; a bulk call knows jobs by their ids alone, a batch knows its own by name",
    ]
    assert c[0] == "Invalid"
    assert plane.job(d[0]).state is JobState.HELD
    assert plane.is_poked("job", d[0])


def test_nothing_is_written_for_a_call_of_bad_jobs_alone(plane: World) -> None:
    before = plane.counts()
    context = watched(plane)
    submit(plane, [entry("lost", queue="nowhere")], context=context)
    assert (plane.counts(), cast("WatchedStore", context.store).writes) == (before, [])


def test_a_viewer_may_not_submit(plane: World) -> None:
    viewer = plane.principal(Role.VIEWER, "default")
    with pytest.raises(Forbidden):
        bulk.submit_each(plane.context, viewer, entries(1), told)


@BOTH
def test_a_call_that_broke_off_goes_on_where_it_stopped(plane: World) -> None:
    asked = [*entries(4 * UNIT), entry("lost", queue="nowhere")]

    def crash_at_the_fourth(number: int) -> None:
        if number == 4:
            raise Crash

    with pytest.raises(Crash):
        submit(plane, asked, context=watched(plane, crash_at_the_fourth), key="once")
    written = names(plane)
    assert len(written) == 3 * UNIT
    with plane.store.read() as tx:
        ids = {ask_id.removesuffix(".0") for ask_id in tx.asks.queued().ids}

    answers = submit(plane, asked, key="once")

    assert names(plane) == [name for _, name in answers[:-1]] == [f"job-{each}" for each in range(4 * UNIT)]
    assert {job_id for job_id, _ in answers[: 3 * UNIT]} == ids
    assert answers[-1][0] == "NotFound"
    assert submit(plane, asked, key="once") == answers


def test_a_unit_whose_answer_was_lost_is_not_written_again(plane: World) -> None:
    class Forgetful(WatchedStore):
        def write(self, unit: Callable[[Tx], Any]) -> Any:  # noqa: ANN401 - what the unit returns
            self.store.write(unit)
            raise Crash

    forgetful = cast("Store", Forgetful(store=plane.store))
    with pytest.raises(Crash):
        submit(plane, entries(3), key="once", context=replace(plane.context, store=forgetful))
    answers = submit(plane, entries(3), key="once")
    assert names(plane) == [name for _, name in answers] == ["job-0", "job-1", "job-2"]


def test_a_refusal_is_remembered_with_its_unit(plane: World) -> None:
    asked = [entry("lost", queue="later"), entry("good")]
    answers = submit(plane, asked, key="once")
    projects.create_queue(plane.context, plane.root, project="default", name="later")
    assert submit(plane, asked, key="once") == answers
    assert names(plane) == ["good"]


def test_a_store_that_comes_between_look_and_write_binds_who_reads_from_it(
    plane: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("raw").as_uri()

    def register(_number: int) -> None:
        object_stores.add(plane.context, plane.root, StoreCreate(name="raw", uri=folder))

    asked = [entry("reads", inputs={"corpus": f"{folder}/corpus/"}), entry("reads-not")]
    accepted = submit(plane, asked, context=watched(plane, register))
    with plane.store.read() as tx:
        asks = [tx.asks.of_job(JobId(job_id)) for job_id, _ in accepted]
    assert [ask.traits.stores for ask in asks if ask is not None] == [("raw",), ()]


def test_a_key_stands_for_one_call(plane: World) -> None:
    submit(plane, entries(1), key="once")
    with pytest.raises(KeyReused):
        bulk.submit_each(
            plane.context, plane.root, entries(2), told, once=once_of("once", request_hash=b"other")
        )
    assert names(plane) == ["job-0"]


@BOTH
def test_what_the_database_refuses_drops_out_singly(plane: World) -> None:
    first, second = plane.submit(name="first").job, plane.submit(name="second").job
    asked: list[bulk.Entry] = [
        entry("a"),
        entry("b", depends_on=[first.id]),
        entry("c", depends_on=[second.id]),
        entry("d"),
    ]

    def forget_the_first(number: int) -> None:
        if number == 1:
            forget(plane, first.id)

    answers = submit(plane, asked, context=watched(plane, forget_the_first), key="once")
    assert [answer[0] == "Conflict" for answer in answers] == [False, True, False, False]
    assert plane.job(answers[2][0]).depends_on == (second.id,)
    assert names(plane) == ["second", "a", "d"]
    assert submit(plane, asked, key="once") == answers


def test_when_nobody_is_to_blame_the_call_fails_and_keeps_nothing(plane: World) -> None:
    def refuse_the_unit(number: int) -> None:
        if number in {1, 4}:  # in between, each of the two is tried alone
            raise Conflict("not now")

    with pytest.raises(Conflict, match="not now"):
        submit(plane, entries(2), context=watched(plane, refuse_the_unit))
    assert names(plane) == []


def forget(plane: World, job_id: str) -> None:
    """Takes a job away, as retention does."""
    with raw(plane.context.settings.database_url) as console:
        for table, column in (("asks", "job_id"), ("jobs", "id")):
            console.execute(f"DELETE FROM {table} WHERE {column} = '{job_id}'")  # noqa: S608 - ours
