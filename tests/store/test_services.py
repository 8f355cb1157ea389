"""Services: what is stored comes back whole, the database keeps their rules, and loads add up."""

from dataclasses import replace

import pytest

from controlplane.domain.attempts import Outcome
from controlplane.domain.errors import Conflict, IllegalTransition, StaleWrite
from controlplane.domain.ids import RevisionId
from controlplane.domain.invariants import Breach, Due, Rule
from controlplane.domain.jobs import JobState
from controlplane.domain.revisions import RevisionState
from controlplane.domain.services import ALL_PPM, Announcement, KnownReplica, Replica
from controlplane.domain.traffic import LATENCY_EDGES_MS, Load
from controlplane.operations.doctor.books import look
from controlplane.store import Store
from tests import factories
from tests.store.planting import plant, raw

SERVICE = factories.service()
FIRST = factories.revision()


@pytest.fixture
def kept(store: Store) -> Store:
    """The first service with a deploying revision and a replica, whose attempt runs."""
    plant(store, jobs=2)
    store.write(lambda tx: tx.services.add(SERVICE, by="anna"))
    store.write(lambda tx: tx.revisions.add(SERVICE, FIRST))
    deploying = FIRST.move(RevisionState.DEPLOYING, at=factories.after(1))
    store.write(lambda tx: tx.revisions.save(SERVICE, deploying))
    store.write(lambda tx: tx.replicas.add(replica(1)))
    running = factories.attempt(1)
    store.write(lambda tx: tx.jobs.save(factories.job(1).move(JobState.ACTIVE, at=factories.NOON)))
    store.write(lambda tx: tx.attempts.add(running, [factories.seat(1)]))
    started = running.start(session=None, at=factories.after(1))
    store.write(lambda tx: tx.attempts.save(started))
    store.write(lambda tx: tx.attempts.save(started.run(at=factories.after(2))))
    return store


def replica(number: int, /, **fields: int) -> Replica:
    made = factories.known_replica(number).replica
    return replace(made, **fields)  # type: ignore[arg-type] # the names are checked by `replace`


def announced(*, is_ready: bool, seconds: float) -> Announcement:
    at = factories.after(seconds)
    return Announcement(
        attempt_id=factories.attempt(1).id,
        url="http://127.0.0.2:9000",
        grpc="127.0.0.2:9001",
        is_ready=is_ready,
        at=at,
        ready_at=at if is_ready else None,
    )


def known(store: Store) -> KnownReplica:
    with store.read() as tx:
        (found,) = tx.replicas.known(SERVICE.id, factories.NOON)
    return found


def ready_revision(store: Store) -> None:
    with store.read() as tx:
        (deploying,) = tx.revisions.live(SERVICE.id)
    ready = deploying.move(RevisionState.READY, at=factories.after(3))
    store.write(lambda tx: tx.revisions.save(SERVICE, ready))
    store.write(lambda tx: tx.revisions.save(SERVICE, ready.take_all(at=factories.after(4))))


def test_a_service_comes_back_whole_by_id_by_name_and_in_pages(kept: Store) -> None:
    changed = SERVICE.changed(
        min_replicas=0, max_replicas=7, desired=3, lower_since=factories.after(1), lower_peak=2, last_number=4
    )
    kept.write(lambda tx: tx.services.save(changed))
    with kept.read() as tx:
        assert tx.services.get(SERVICE.id) == changed
        assert tx.services.by_name(SERVICE.project_id, SERVICE.name) == changed
        assert (tx.services.list(None, "", 9), tx.services.list(SERVICE.project_id, "service-1", 9)) == (
            [changed],
            [],
        )
    with pytest.raises(StaleWrite):
        kept.write(lambda tx: tx.services.save(changed))


def test_a_name_is_free_again_when_its_service_is_deleted(kept: Store) -> None:
    twin = replace(factories.service(2), name=SERVICE.name)
    with pytest.raises(Conflict, match="uq_services_name"):
        kept.write(lambda tx: tx.services.add(twin, by="anna"))
    kept.write(lambda tx: tx.services.save(SERVICE.changed(deleted_at=factories.after(1))))
    kept.write(lambda tx: tx.services.add(twin, by="anna"))
    with kept.read() as tx:
        assert tx.services.by_name(twin.project_id, twin.name) == twin


def test_a_revision_moves_along_its_edges_and_takes_no_traffic_before_it_is_ready(kept: Store) -> None:
    with kept.read() as tx:
        (deploying,) = tx.revisions.live(SERVICE.id)
    assert (deploying.state, deploying.came_from, deploying.version) == (
        RevisionState.DEPLOYING,
        "pending",
        2,
    )
    with pytest.raises(Conflict, match="weight"):
        kept.write(lambda tx: tx.revisions.save(SERVICE, deploying.take_all(at=factories.NOON)))
    with pytest.raises(IllegalTransition):
        deploying.move(RevisionState.PENDING, at=factories.NOON)
    ready_revision(kept)
    with kept.read() as tx:
        (ready,) = tx.revisions.live(SERVICE.id)
        (open_one,) = tx.revisions.open()
        assert tx.revisions.of_jobs([factories.job(1).id]) == {factories.job(1).id: ready}
    assert (ready.weight_ppm, ready.ready_at) == (ALL_PPM, factories.after(3))
    assert (open_one.project, open_one.name, open_one.revision) == ("default", SERVICE.name, ready)


def test_the_database_refuses_a_move_that_no_edge_allows(kept: Store, database_url: str) -> None:
    with raw(database_url) as other, pytest.raises(Exception, match=r"illegal move|check_move|no edge"):
        other.execute("UPDATE revisions SET came_from = 'deploying', state = 'retired'")


def test_one_place_holds_one_replica_a_turn(kept: Store) -> None:
    with pytest.raises(Conflict, match="uq_replicas"):
        kept.write(lambda tx: tx.replicas.add(replica(2, ordinal=0)))
    kept.write(lambda tx: tx.replicas.add(replica(2, ordinal=0, turn=2)))
    with kept.read() as tx:
        assert tx.replicas.turns([FIRST.id]) == {(FIRST.id, 0): 2}
        assert tx.replicas.services_of([factories.job(2).id]) == {factories.job(2).id: SERVICE.id}


def test_a_replica_is_ready_while_its_attempt_runs_and_says_so(kept: Store) -> None:
    assert (known(kept).is_ready, known(kept).started_at) == (False, factories.after(2))
    kept.write(lambda tx: tx.replicas.announce(announced(is_ready=True, seconds=5)))
    assert (known(kept).is_ready, known(kept).was_ready) == (True, True)
    kept.write(lambda tx: tx.replicas.announce(announced(is_ready=False, seconds=6)))
    assert (known(kept).is_ready, known(kept).was_ready) == (False, True)
    with kept.read() as tx:
        (said,) = tx.replicas.announcements([factories.attempt(1).id]).values()
    assert said == replace(announced(is_ready=False, seconds=6), ready_at=factories.after(5))


def test_a_replica_that_was_evicted_waits_as_if_it_had_never_started(kept: Store) -> None:
    with kept.read() as tx:
        attempt = tx.attempts.get(factories.attempt(1).id)
    assert attempt is not None
    kept.write(lambda tx: tx.attempts.save(attempt.end(Outcome.EVICTED, at=factories.after(3))))
    assert known(kept).started_at is None


def test_only_ready_replicas_of_ready_revisions_may_be_asked(kept: Store) -> None:
    kept.write(lambda tx: tx.replicas.announce(announced(is_ready=True, seconds=5)))
    with kept.read() as tx:
        assert tx.replicas.ready() == []
    ready_revision(kept)
    with kept.read() as tx:
        (found,) = tx.replicas.ready()
    assert (found.revision_id, found.attempt.id, found.url, found.grpc) == (
        FIRST.id,
        factories.attempt(1).id,
        "http://127.0.0.2:9000",
        "127.0.0.2:9001",
    )
    with kept.read() as tx:
        job = tx.jobs.get(factories.job(1).id)
    assert job is not None
    kept.write(lambda tx: tx.jobs.save(job.request_cancel(at=factories.after(6))))
    with kept.read() as tx:
        assert tx.replicas.ready() == []


def test_the_books_show_how_traffic_is_divided_and_which_replicas_nobody_has_a_use_for(
    kept: Store, database_url: str
) -> None:
    assert [each.rule for each in services_found(kept)] == []
    ready_revision(kept)
    assert [each.rule for each in services_found(kept)] == []
    with raw(database_url) as other:
        other.execute("UPDATE revisions SET weight_ppm = 999999")
    (short,) = services_found(kept)
    assert (short.rule, short.due) == (Rule.SHARES_ADD_UP, Due(noun="service", id=SERVICE.id))
    assert short.sentence == "999999 of 1000000 millionths go to its 1 ready revisions"
    kept.write(lambda tx: tx.services.save(SERVICE.changed(deleted_at=factories.after(9))))
    (lost,) = services_found(kept)
    assert (lost.rule, lost.subject) == (Rule.REPLICA_OF_NOBODY, factories.job(1).id)
    with kept.read() as tx:
        job = tx.jobs.get(factories.job(1).id)
    assert job is not None
    kept.write(lambda tx: tx.jobs.save(job.request_cancel(at=factories.after(9))))
    assert services_found(kept) == []


def services_found(store: Store) -> list[Breach]:
    """As `doctor` tells it."""
    rules = (Rule.SHARES_ADD_UP, Rule.REPLICA_OF_NOBODY)
    return [each for each in look(store).breaches if each.rule in rules]


def test_loads_add_up_by_revision_once_each_and_are_pruned(kept: Store) -> None:
    loads = [load(1, requests=3, errors=1), load(2, requests=4, in_flight=2), load(3, revision_id=None)]
    kept.write(lambda tx: tx.loads.add_many(loads))
    kept.write(lambda tx: tx.loads.add_many(loads))
    with kept.read() as tx:
        assert tx.loads.since(SERVICE.id, factories.after(2)) == loads[1:]
        assert tx.loads.traffic(SERVICE.id) == {FIRST.id: (7, 1)}
        assert tx.loads.last_asked(SERVICE.id) == factories.after(2)
    kept.write(lambda tx: tx.loads.prune(factories.after(3)))
    with kept.read() as tx:
        assert (tx.loads.since(SERVICE.id, factories.NOON), tx.loads.last_asked(SERVICE.id)) == (
            loads[2:],
            None,
        )


def load(seconds: float, *, revision_id: RevisionId | None = FIRST.id, **fields: int) -> Load:
    made = Load(
        gateway="gate",
        service_id=SERVICE.id,
        revision_id=revision_id,
        since=factories.after(seconds - 1),
        until=factories.after(seconds),
        in_flight=0,
        waiting=0,
        requests=0,
        errors=0,
        latency_ms=tuple(range(len(LATENCY_EDGES_MS) + 1)),
    )
    return replace(made, **fields)  # type: ignore[arg-type] # the names are checked by `replace`
