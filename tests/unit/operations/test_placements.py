"""Placings: a plan is committed in one go, and each placing is whole or refused alone."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from controlplane.domain.amounts import total
from controlplane.domain.attempts import AttemptState, Outcome
from controlplane.domain.errors import StaleWrite
from controlplane.domain.ids import AskId, AttemptId, ClassId, ClusterId, JobId, NodeId
from controlplane.domain.jobs import AskRole, JobState, Traits
from controlplane.domain.leases import Lease
from controlplane.operations.placements import Refusal, apply_places, note_defers
from controlplane.store import Store, Tx
from schedulers.base import Defer, Nomination, Place, Placement, ReasonCode, microseconds
from tests import factories
from tests.databases import Opener
from tests.store.planting import plant, raw

ROOM = 8
"""One-CPU tasks that fit the node of the factories."""

WHOLE_NODE = total([factories.ONE_CPU] * ROOM)


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=ROOM + 2)
    return store


@pytest.fixture
def lease(planted: Store) -> Lease:
    lease = planted.write(lambda tx: tx.leases.take("scheduler", "me", 60))
    assert lease is not None
    return lease


def place(number: int, tasks: int = 1, **fields: object) -> Place:
    seats = tuple(Placement(rank=rank, node_id=factories.node().id) for rank in range(tasks))
    made = Place(ask_id=AskId(f"ask-{number}"), cluster_id=factories.cluster().id, seats=seats)
    return replace(made, **fields)  # type: ignore[arg-type] # the names are checked by `replace`


def apply(store: Store, lease: Lease, *places: Place) -> list[tuple[str, str]]:
    refusals: tuple[Refusal, ...] = store.write(lambda tx: apply_places(tx, lease, places))
    return [(each.place.ask_id, each.why) for each in refusals]


def widen(store: Store, number: int) -> None:
    """Its only task is of a role that takes the whole node."""
    role = AskRole(name="wide", tasks=1, amounts=WHOLE_NODE)
    wide = replace(factories.ask(number), traits=Traits(roles=(role,)))
    store.write(lambda tx: tx.asks.reclass([wide]))
    with store.read() as tx:
        assert tx.asks.get(wide.id) == wide


def active(store: Store) -> list[JobId]:
    with store.read() as tx:
        jobs = tx.jobs.many([factories.job(number).id for number in range(1, ROOM + 3)])
    return [job.id for job in jobs if job.state is JobState.ACTIVE]


def test_a_plan_is_committed_whole(planted: Store, lease: Lease) -> None:
    assert apply(planted, lease, place(1), place(2)) == []

    with planted.read() as tx:
        attempts = [(each.id, each.job_id, each.number, each.state) for each in tx.attempts.live()]
        assert tx.nodes.booked() == {"node-1": factories.ONE_CPU.plus(factories.ONE_CPU)}
    placed = AttemptState.PLACED
    assert attempts == [("job-1-a1", "job-1", 1, placed), ("job-2-a1", "job-2", 1, placed)]
    due = planted.write(lambda tx: tx.work.claim("attempt", "me", 10, 60))
    assert [item.id for item in due] == ["job-1-a1", "job-2-a1"]
    assert active(planted) == ["job-1", "job-2"]


def test_each_placing_is_judged_by_what_those_before_it_left(planted: Store, lease: Lease) -> None:
    places = [place(number) for number in range(1, ROOM + 3)]

    no_room = "node node-1 has no room any more"
    assert apply(planted, lease, *places) == [(f"ask-{n}", no_room) for n in (ROOM + 1, ROOM + 2)]
    assert len(active(planted)) == ROOM


def test_what_is_promised_to_an_heir_is_kept_from_all_others_and_counted_once(
    planted: Store, lease: Lease
) -> None:
    last = ROOM + 2
    promise = Nomination(
        ask_id=AskId(f"ask-{last}"),
        cluster_id=factories.cluster().id,
        seats=((0, factories.node().id),),
        until=microseconds(factories.NOON + timedelta(days=36_500)),
    )
    planted.write(lambda tx: tx.memories.nominate(promise))

    others = [place(number) for number in range(1, ROOM + 1)]

    assert apply(planted, lease, *others[:3], place(last), *others[3:]) == [
        (f"ask-{ROOM}", "node node-1 has no room any more")
    ]


def test_a_seat_is_as_large_as_its_role_says(planted: Store, lease: Lease) -> None:
    widen(planted, 1)
    no_room = "node node-1 has no room any more"
    assert apply(planted, lease, place(1), place(2)) == [("ask-2", no_room)]
    with planted.read() as tx:
        assert tx.nodes.booked() == {"node-1": WHOLE_NODE}


def test_a_promise_is_as_large_as_its_role_says(planted: Store, lease: Lease) -> None:
    widen(planted, 1)
    promise = Nomination(
        ask_id=AskId("ask-1"),
        cluster_id=factories.cluster().id,
        seats=((0, factories.node().id),),
        until=microseconds(factories.NOON + timedelta(days=36_500)),
    )
    planted.write(lambda tx: tx.memories.nominate(promise))
    no_room = "node node-1 has no room any more"
    assert apply(planted, lease, place(2), place(1)) == [("ask-2", no_room)]


def test_one_that_may_not_be_placed_is_refused_alone(planted: Store, lease: Lease) -> None:
    def unit(tx: Tx) -> None:
        tx.jobs.save(factories.job(1).request_cancel(at=factories.NOON))
        tx.jobs.save(factories.job(2).move(JobState.CANCELLED, at=factories.NOON))

    planted.write(unit)
    elsewhere = (Placement(rank=0, node_id=NodeId("node-9")),)

    refused = apply(
        planted,
        lease,
        place(1),
        place(2),
        place(3, cluster_id=ClusterId("cluster-9")),
        place(4, tasks=2),
        place(5, seats=elsewhere),
        place(6),
        place(77),
    )

    assert refused == [
        ("ask-1", "it is no longer queued"),
        ("ask-2", "it is no longer queued"),
        ("ask-3", "there is no such cluster"),
        ("ask-4", "2 seats for 1 tasks"),
        ("ask-5", "node node-9 is gone or cordoned"),
        ("ask-77", "it is no longer queued"),
    ]
    assert active(planted) == ["job-6"]


def test_a_plan_that_places_one_ask_twice_places_it_once(planted: Store, lease: Lease) -> None:
    assert apply(planted, lease, place(1), place(2), place(1)) == [("ask-1", "it is no longer queued")]
    assert active(planted) == ["job-1", "job-2"]


def test_a_second_attempt_has_the_next_number(planted: Store, lease: Lease) -> None:
    apply(planted, lease, place(1))

    def unit(tx: Tx) -> None:
        (attempt,) = tx.attempts.live()
        tx.attempts.save(attempt.end(Outcome.EVICTED, at=factories.NOON))
        job = tx.jobs.get(JobId("job-1"))
        assert job is not None
        tx.jobs.save(job.move(JobState.QUEUED, at=factories.NOON))

    planted.write(unit)
    apply(planted, lease, place(1))

    with planted.read() as tx:
        assert [each.id for each in tx.attempts.live()] == [AttemptId("job-1-a2")]


def test_who_lost_the_lease_places_nothing(planted: Store, lease: Lease) -> None:
    planted.write(lambda tx: tx.leases.release(lease))

    with pytest.raises(StaleWrite):
        apply(planted, lease, place(1))
    assert active(planted) == []


def test_reasons_are_noted_together(planted: Store, lease: Lease) -> None:
    defers = [
        Defer(class_id=ClassId(f"class-{n}"), code=ReasonCode.NO_ROOM, sentence=f"no. {n}", remedy="wait")
        for n in (1, 2)
    ]
    planted.write(lambda tx: note_defers(tx, lease, defers))

    with planted.read() as tx:
        rows = [tx.reasons.get(defer.class_id) for defer in defers]
    assert [row.sentence for row in rows if row is not None] == ["no. 1", "no. 2"]


def test_a_job_that_somebody_else_changes_meanwhile_drops_out_alone(
    postgresql_url: str, open_store: Opener
) -> None:
    """The others of its batch are placed, and its room goes to the one behind it."""
    store = open_store(postgresql_url)
    plant(store, jobs=ROOM + 2)
    lease = store.write(lambda tx: tx.leases.take("scheduler", "me", 60))
    assert lease is not None
    places = [place(number) for number in range(1, ROOM + 2)]

    with raw(postgresql_url) as watcher, psycopg.connect(postgresql_url) as other:
        other.execute("UPDATE jobs SET version = version + 1, cancel_requested_at = 1 WHERE id = 'job-2'")
        with ThreadPoolExecutor(1) as threads:
            placing: Future[list[tuple[str, str]]] = threads.submit(apply, store, lease, *places)
            while not watcher.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert not placing.done()
            other.commit()
            refused = placing.result(timeout=30)

    assert refused == [("ask-2", "it is no longer queued")]
    assert active(store) == [f"job-{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)]
