"""Query plans: what is asked often finds its rows by an index, however the statement is compiled."""

import re
from contextlib import closing
from sqlite3 import SQLITE_OK, connect
from typing import Final

import pytest

from controlplane.store import (
    asks,
    attempts,
    audits,
    events,
    executions,
    job_pages,
    job_views,
    jobs,
    nodes,
    reasons,
    records,
    schedules,
    steps,
    work,
)
from controlplane.store.statements import Statement

HOT: Final[dict[str, Statement]] = {
    "jobs by ids": jobs._MANY,
    "jobs held on another": jobs._HELD_ON,
    "unsettled jobs": jobs._UNSETTLED,
    "queued asks": asks._QUEUED,
    "queued asks of jobs": asks._QUEUED_OF_JOBS,
    "labels of a page": job_views._LABELS,
    "jobs of a page": job_views._MANY,
    "page of one project": job_pages._page("project", frozenset(), frozenset()),
    "next page of one project": job_pages._page("project", frozenset({"after_id"}), frozenset()),
    "next page of all": job_pages._page("all", frozenset({"after_id"}), frozenset()),
    "page of a name": job_pages._page("name", frozenset({"since"}), frozenset({"states", "label"})),
    "page of a label": job_pages._page("label", frozenset({"after_id"}), frozenset({"project_ids", "name"})),
    "end of a walk": job_pages._reached("label", frozenset({"after_id"})),
    "merged buckets": job_pages._merge(2, frozenset({"after_id"}), frozenset({"label"})),
    "jobs with a name": job_pages._count("name"),
    "live attempts of jobs": attempts._LIVE_OF_JOBS,
    "live attempts of a cluster": attempts._live(of_a_cluster=True),
    "attempts by ids": attempts._MANY,
    "attempts of jobs": attempts._OF_JOBS,
    "newest attempts of jobs": attempts._NUMBERS,
    "attempts that wait for their start": attempts._WAITING,
    "attempts that nobody looks at": attempts._UNWATCHED,
    "attempts on a node": attempts._ON_NODE,
    "leases of attempts": attempts._LEASES,
    "seats of attempts": attempts._SEATS,
    "jobs that nobody looks at": jobs._UNWATCHED,
    "states before a move": jobs._MOVES._states,
    "specs of jobs": jobs._SPECS,
    "deferred asks of jobs": asks._DEFERRED,
    "rank that reports": records._REPORTER,
    "ranks of attempts": records._RANKS_OF_MANY,
    "starts in flight": attempts._STARTING,
    "outcomes of a job": attempts._OUTCOMES,
    "due work": work._DUE,
    "claimed work": work._CLAIM,
    "claims that are over": work._FINISH,
    "claims that stand": work._CLAIMS,
    "next due work": work._NEXT,
    "next due work of all nouns": work._next_of(("attempt", "job")),
    "feed": events._after(of_projects=False, of_a_job=False),
    "story of a job": events._after(of_projects=False, of_a_job=True),
    "metrics of a job": records._metrics(is_continued=True),
    "log": records._READ_LOG,
    "end of a log": records._LOG_END,
    "nodes by ids": nodes._BY_IDS,
    "nodes with a label": nodes._LABELLED,
    "moves of jobs": audits._MOVES_OF_JOBS,
    "seats booked in a cluster": nodes._booked(of_a_cluster=True),
    "reason of a class": reasons._GET,
    "executions that wait for jobs": steps._WAITING_FOR,
    "steps of executions": steps._OF_EXECUTIONS,
    "kept outputs": steps._KEPT,
    "executions that nobody looks at": executions._UNWATCHED,
    "open executions of a schedule": executions._OPEN_OF_SCHEDULE,
    "open executions of a project": executions._OPEN_OF_PROJECT,
    "executions of a project": executions._page(of_a_project=True, is_first=False),
    "schedule of a name": schedules._BY_NAME,
}
SMALL: Final = ("json_each", "CONSTANT ROW", "walked", "run0", "run1", "bucket0", "bucket1", "counted")
"""May be scanned: the list that was asked for, no table at all, and what a limit bounds."""


@pytest.mark.parametrize("name", HOT)
def test_an_index_finds(sqlite_url: str, name: str) -> None:
    assert [
        step
        for step in plan(sqlite_url, HOT[name])
        if step.startswith("SCAN") and not any(small in step for small in SMALL)
    ] == []


@pytest.mark.parametrize("name", HOT)
def test_no_value_has_a_statement_compiled_anew(sqlite_url: str, name: str) -> None:
    text, constants = HOT[name].text("sqlite")
    names = re.findall(r":(\w+)", text)
    looked_up: list[object] = []

    def look_up(*parts: object) -> int:
        looked_up.append(parts)
        return SQLITE_OK

    with closing(connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.set_authorizer(look_up)
        connection.execute(text, dict.fromkeys(names, 1) | constants).fetchall()
        assert looked_up
        looked_up.clear()
        connection.execute(text, dict.fromkeys(names, 2) | constants).fetchall()

    assert looked_up == []


@pytest.mark.parametrize(
    "statement",
    [
        events._SUBJECTS,
        events._after(of_projects=True, of_a_job=False),
        events._after(of_projects=False, of_a_job=True),
    ],
)
def test_a_reader_of_the_feed_does_not_walk_what_it_has_read(sqlite_url: str, statement: Statement) -> None:
    step = plan(sqlite_url, statement)[0]

    assert "seq>?" in step or "rowid>?" in step


@pytest.mark.parametrize("name", ["starts in flight", "seats booked in a cluster"])
def test_what_is_counted_for_every_step_is_read_in_an_index_alone(sqlite_url: str, name: str) -> None:
    steps = plan(sqlite_url, HOT[name])

    assert "COVERING INDEX" in steps[0]
    assert not [step for step in steps if "TEMP B-TREE" in step]


def test_executions_that_are_over_are_not_looked_at_for_those_that_are_open(sqlite_url: str) -> None:
    assert "ix_executions_open_of_schedule" in plan(sqlite_url, HOT["open executions of a schedule"])[0]
    assert "ix_executions_open_of_project" in plan(sqlite_url, HOT["open executions of a project"])[0]


def plan(url: str, statement: Statement) -> list[str]:
    """How SQLite would run it."""
    text, constants = statement.text("sqlite")
    params: dict[str, object] = dict.fromkeys(re.findall(r":(\w+)", text), "[]")
    with closing(connect(url.removeprefix("sqlite:///"))) as connection:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", params | constants)]
