"""Walls: what the database refuses whoever asks, also past the store."""

import re
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import psycopg
import pytest

from controlplane.domain.attempts import ATTEMPT, AttemptState
from controlplane.domain.claims import CLAIM, ClaimState
from controlplane.domain.clusters import CLUSTER
from controlplane.domain.data_copies import COPY
from controlplane.domain.errors import Conflict, IllegalTransition, StaleWrite
from controlplane.domain.executions import EXECUTION, STEP
from controlplane.domain.inputs import INPUT
from controlplane.domain.jobs import JOB, JobState
from controlplane.domain.leases import LEASE
from controlplane.domain.lifecycles import Lifecycle
from controlplane.domain.models import MODEL_VERSION
from controlplane.domain.revisions import REVISION
from controlplane.store import Store, Tx
from tests import factories
from tests.databases import Opener
from tests.store.planting import add_job, plant, raw

REFUSED: Final = (sqlite3.IntegrityError, psycopg.IntegrityError)
LIFECYCLES: Final[tuple[Lifecycle[Any], ...]] = (
    JOB,
    ATTEMPT,
    CLAIM,
    CLUSTER,
    COPY,
    INPUT,
    LEASE,
    MODEL_VERSION,
    EXECUTION,
    REVISION,
    STEP,
)


@pytest.fixture
def planted(store: Store) -> Store:
    plant(store, jobs=2)
    return store


def test_the_edges_table_holds_the_lifecycles_and_nothing_else(database_url: str) -> None:
    wanted = sorted((life.noun, old, new) for life in LIFECYCLES for old, new in life.pairs())

    with raw(database_url) as other:
        assert sorted(other.execute("SELECT noun, from_state, to_state FROM edges")) == wanted


ILLEGAL: Final = {
    "a move that is no edge": "UPDATE jobs SET came_from = state, state = 'succeeded' WHERE id = 'job-1'",
    "a move that lies about its origin": (
        "UPDATE jobs SET came_from = 'active', state = 'failed' WHERE id = 'job-1'"
    ),
    "a move that keeps its old origin": "UPDATE jobs SET state = 'active' WHERE id = 'job-1'",
    "an origin without a move": "UPDATE jobs SET came_from = 'active' WHERE id = 'job-1'",
    "another noun's edges": "UPDATE jobs SET noun = 'cluster' WHERE id = 'job-1'",
    "a state that does not exist": "UPDATE jobs SET came_from = state, state = 'lost' WHERE id = 'job-1'",
    "a cluster that leaves ready for pending": (
        "UPDATE clusters SET came_from = state, state = 'pending' WHERE id = 'cluster-1'"
    ),
    "an attempt that goes back": (
        "UPDATE attempts SET came_from = state, state = 'placed' WHERE id = 'attempt-1'"
    ),
    "an attempt that ends without an outcome": (
        "UPDATE attempts SET came_from = state, state = 'ended', ended_at = 1 WHERE id = 'attempt-1'"
    ),
    "an attempt with an outcome that has not ended": (
        "UPDATE attempts SET outcome = 'lost' WHERE id = 'attempt-1'"
    ),
    "an attempt that ends at no time": (
        "UPDATE attempts SET came_from = state, state = 'ended', outcome = 'lost' WHERE id = 'attempt-1'"
    ),
    "a lease that is held again": "UPDATE leases SET came_from = state, state = 'held' WHERE name = 'gone'",
    "a claim that is launching and forgotten": (
        "UPDATE claims SET came_from = state, state = 'requested' WHERE id = 'claim-1'"
    ),
    "a claim for less than it needs": "UPDATE claims SET machines_want = 0 WHERE id = 'claim-1'",
    "a launch that is resolved without an outcome": (
        "UPDATE launches SET resolved_at = 1 WHERE id = 'claim-1-g1-l1'"
    ),
    "a copy that leaves its end": "UPDATE copies SET came_from = state, state = 'done' WHERE id = 'copy-1'",
    "a copy at no pace": "UPDATE copies SET bytes_per_second = 0 WHERE id = 'copy-1'",
    "an object that is finished at no time": "UPDATE copy_objects SET etag = 'x' WHERE copy_id = 'copy-1'",
    "an input that is there before it was looked at": (
        "UPDATE inputs SET came_from = state, state = 'ready' WHERE id = 'input-1'"
    ),
    "an input that nobody copies": "UPDATE inputs SET came_from = state, state = 'copying' WHERE id = 'input-1'",
    "an input that lies nowhere": "UPDATE inputs SET address = 'ab' WHERE id = 'input-1'",
    "a step that ends before it begins": (
        "UPDATE steps SET came_from = state, state = 'succeeded' WHERE id = 'execution-1.0'"
    ),
    "an execution that begins at its end": (
        "UPDATE executions SET came_from = state, state = 'succeeded' WHERE id = 'execution-1'"
    ),
    "amounts below zero": "UPDATE asks SET cpu_milli = -1 WHERE id = 'ask-1'",
    "an ask without tasks": "UPDATE asks SET tasks = 0 WHERE id = 'ask-1'",
}


@pytest.mark.parametrize("statement", ILLEGAL.values(), ids=ILLEGAL.keys())
def test_the_database_refuses(planted: Store, database_url: str, statement: str) -> None:
    def unit(tx: Tx) -> None:
        tx.attempts.add(factories.attempt(state=AttemptState.STARTING), [factories.seat()])
        tx.claims.add(factories.claim(state=ClaimState.LAUNCHING))
        tx.launches.add(factories.launch())
        tx.copies.add(factories.copy())
        tx.copied_objects.add(factories.copied_object())
        tx.inputs.add(factories.kept_input())
        tx.tokens.add(factories.token())
        tx.executions.add(factories.execution(), spec="{}", schema_version=1)
        tx.steps.add([factories.step()])
        lease = tx.leases.take("gone", "somebody", 10)
        assert lease is not None
        tx.leases.release(lease)

    planted.write(unit)

    with raw(database_url) as other, pytest.raises(REFUSED):
        other.execute(statement)


def test_terminal_states_are_never_left(planted: Store, database_url: str) -> None:
    with raw(database_url) as other:
        other.execute("UPDATE jobs SET came_from = state, state = 'cancelled' WHERE id = 'job-1'")
        for state in JobState:
            if state is not JobState.CANCELLED:
                with pytest.raises(REFUSED):
                    other.execute(f"UPDATE jobs SET came_from = state, state = '{state}' WHERE id = 'job-1'")  # noqa: S608


def test_each_wall_stands_without_the_other(planted: Store, database_url: str) -> None:
    illegal = "UPDATE jobs SET came_from = state, state = 'succeeded' WHERE id = 'job-1'"
    with raw(database_url) as other:
        if database_url.startswith("sqlite"):
            other.execute("PRAGMA foreign_keys = OFF")
        else:
            other.execute("ALTER TABLE jobs DROP CONSTRAINT fk_jobs_noun")
        with pytest.raises(REFUSED, match="illegal move"):
            other.execute(illegal)

        if database_url.startswith("sqlite"):
            other.execute("PRAGMA foreign_keys = ON")
            other.execute("DROP TRIGGER jobs_moves")
        else:
            other.execute(
                "ALTER TABLE jobs ADD CONSTRAINT fk_jobs_noun"
                " FOREIGN KEY (noun, came_from, state) REFERENCES edges"
            )
            other.execute("DROP TRIGGER jobs_moves ON jobs")
        with pytest.raises(REFUSED, match=re.compile("foreign key", re.IGNORECASE)):
            other.execute(illegal)


def test_a_birth_in_a_state_that_has_no_such_origin_is_refused(planted: Store) -> None:
    odd = factories.job(9, state=JobState.ACTIVE, came_from="-")

    with pytest.raises(Conflict, match="fk_jobs"):
        planted.write(lambda tx: add_job(tx, odd, factories.ask(9)))


def test_an_object_that_lies_about_its_origin_is_refused(planted: Store) -> None:
    """The domain would not make one: this is what the third wall is for."""
    job = factories.job(1, state=JobState.SUCCEEDED, version=3)

    with pytest.raises(IllegalTransition):
        planted.write(lambda tx: tx.jobs.save(job))


def test_a_second_live_attempt_of_an_ask_is_refused(planted: Store) -> None:
    planted.write(lambda tx: tx.attempts.add(factories.attempt(1), []))
    second = factories.attempt(2, job_id="job-1", ask_id="ask-1", number=2)

    with pytest.raises(Conflict, match="uq_attempts_live"):
        planted.write(lambda tx: tx.attempts.add(second, []))

    ended = factories.attempt(1, state=AttemptState.ENDED, version=2)
    planted.write(lambda tx: tx.attempts.save(ended))
    planted.write(lambda tx: tx.attempts.add(second, []))


VIOLATIONS: Final[dict[str, Callable[[Tx], None]]] = {
    "pk_projects|uq_projects_name": lambda tx: tx.projects.add(factories.project()),
    "uq_projects_name": lambda tx: tx.projects.add(factories.project(5, name="default")),
    "uq_queues_project_id_name": lambda tx: tx.queues.add(factories.queue(5, name="default")),
    "fk_queues": lambda tx: tx.queues.add(factories.queue(5, project_id="nobody")),
    "uq_clusters_name": lambda tx: tx.clusters.add(factories.cluster(5, name="cluster-1")),
    "uq_nodes_name": lambda tx: tx.nodes.put(factories.node(5, name="ray-node-1")),
    "ck_asks_tasks": lambda tx: add_job(tx, factories.job(5), factories.ask(5, tasks=0)),
    "fk_seats": lambda tx: tx.attempts.add(factories.attempt(), [factories.seat(node_id="nowhere")]),
}


@pytest.mark.parametrize("constraint", VIOLATIONS)
def test_a_conflict_names_the_constraint(planted: Store, constraint: str) -> None:
    with pytest.raises(Conflict, match=constraint):
        planted.write(VIOLATIONS[constraint])


def test_a_stale_write_is_refused_and_changes_nothing(planted: Store) -> None:
    def loaded(tx: Tx) -> None:
        job = tx.jobs.get(factories.job().id)
        assert job is not None
        tx.jobs.save(job.request_cancel(at=factories.after(1)))

    stale = factories.job().move(JobState.ACTIVE, at=factories.after(2))
    planted.write(loaded)

    with pytest.raises(StaleWrite, match="job job-1: changed by another writer"):
        planted.write(lambda tx: tx.jobs.save(stale))

    with planted.read() as tx:
        job = tx.jobs.get(stale.id)
        assert job is not None
        assert (job.state, job.version) == (JobState.QUEUED, 3)


def test_of_two_writers_with_the_same_version_one_is_stale(database_url: str, open_store: Opener) -> None:
    first, second = open_store(database_url), open_store(database_url)
    plant(first, jobs=1)
    active = factories.job().move(JobState.ACTIVE, at=factories.after(2))
    cancelled = factories.job().move(JobState.CANCELLED, at=factories.after(2))

    first.write(lambda tx: tx.jobs.save(active))

    with pytest.raises(StaleWrite):
        second.write(lambda tx: tx.jobs.save(cancelled))


def test_saving_what_was_never_added_is_stale(planted: Store) -> None:
    with pytest.raises(StaleWrite):
        planted.write(lambda tx: tx.clusters.save(factories.cluster(7, version=2)))
