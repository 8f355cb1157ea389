"""Bare lives: the rows of whole lives, by bare executemany in batches of 200, each on disk before the next.

Into the same tables, behind the same walls, so what is missing is all that decides, and all that finds out.
"""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg

from benchmarks.lives import Lives

BATCH = 200
NOW_US = 1_800_000_000_000_000

Row = dict[str, Any]
"""Columns by name; what they hold is the tables' affair."""

Writes = Sequence[tuple[str, list[Row]]]
"""Statements of one transaction, each with the rows that it is run for."""

MOVE = "UPDATE {} SET state = :state, came_from = :came_from, since = :at, version = :version WHERE id = :id"
END = (
    "UPDATE attempts SET state = 'ended', came_from = 'starting', since = :at, version = 3, outcome = 'succeeded', "
    "exit_code = 0, ended_at = :at WHERE id = :id"
)
CLAIM = "UPDATE work SET holder = 'bare', until = :at + 1, token = token + 1 WHERE noun = :noun AND id = :id"
SETTLE = "UPDATE work SET holder = NULL, until = NULL, due_at = :at WHERE noun = :noun AND id = :id"
FINISH = "DELETE FROM work WHERE noun = :noun AND id = :id"
RELEASE = "UPDATE seats SET released_at = :at WHERE attempt_id = :attempt_id"
AMOUNTS = {"cpu_milli": 1000, "memory_bytes": 0, "gpu_milli": 0, "custom_milli": "{}"}


def bare_lives_on_sqlite(path: str, home: Row, count: int) -> Lives:
    """`home`: ids of a project, a queue, a cluster and a node that are there, and a spec."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

        def write(writes: Writes) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for text, rows in writes:
                connection.executemany(text, rows)
            connection.execute("COMMIT")

        return _rate(write, home, count)


def bare_lives_on_postgresql(url: str, home: Row, count: int) -> Lives:
    with psycopg.connect(url) as connection:

        def write(writes: Writes) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                for text, rows in writes:
                    cursor.executemany(re.sub(r":(\w+)", r"%(\1)s", text), rows)

        return _rate(write, home | {"xid": 1}, count)


def _rate(write: Callable[[Writes], None], home: Row, count: int) -> Lives:
    batches = [
        list(_transactions([_life(home, number) for number in range(start, start + BATCH)]))
        for start in range(0, count, BATCH)
    ]
    began_at, used_before = time.perf_counter(), time.process_time()
    for transactions in batches:
        for writes in transactions:
            write(writes)
    took_seconds, used_seconds = time.perf_counter() - began_at, time.process_time() - used_before
    return Lives(rate=count / took_seconds, processor_us=1e6 * used_seconds / count)


def _life(home: Row, number: int) -> Row:
    return home | {
        "id": f"bare_{number:08}",
        "ask_id": f"bare_{number:08}.0",
        "attempt_id": f"bare_{number:08}-a1",
        "at": NOW_US + number,
    }


def _transactions(lives: Sequence[Row]) -> Iterator[Writes]:
    """Submit; place; start; the wrapper's word; end; the verdict."""
    yield [
        _insert("jobs", [_job(life) for life in lives]),
        _insert("asks", [_ask(life) for life in lives]),
        _events("job.queued", lives),
    ]
    yield [
        _move("jobs", "queued", "active", lives, version=2),
        _insert("attempts", [_attempt(life) for life in lives]),
        _insert("seats", [_seat(life) for life in lives]),
        _events("job.active", lives),
        _events("attempt.placed", lives),
        _insert("work", [_work("attempt", life["attempt_id"], life) for life in lives]),
    ]
    attempts = [{"noun": "attempt", "id": life["attempt_id"], "at": life["at"]} for life in lives]
    jobs = [{"noun": "job", "id": life["id"], "at": life["at"]} for life in lives]
    yield [
        (CLAIM, attempts),
        _move("attempts", "placed", "starting", attempts, version=2),
        _events("attempt.starting", lives),
        (SETTLE, attempts),
    ]
    yield [_insert("ranks", [_rank(life) for life in lives]), (SETTLE, attempts)]
    yield [
        (CLAIM, attempts),
        (END, attempts),
        (RELEASE, [{"attempt_id": life["attempt_id"], "at": life["at"]} for life in lives]),
        _events("attempt.ended", lives),
        _insert("work", [_work("job", life["id"], life) for life in lives]),
        (FINISH, attempts),
    ]
    yield [
        (CLAIM, jobs),
        _move("jobs", "active", "succeeded", lives, version=3),
        _events("job.succeeded", lives),
        (FINISH, jobs),
    ]


def _insert(table: str, rows: list[Row]) -> tuple[str, list[Row]]:
    columns = list(rows[0])
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows  # noqa: S608 - names of ours


def _move(table: str, old: str, new: str, lives: Sequence[Row], *, version: int) -> tuple[str, list[Row]]:
    moved = {"came_from": old, "state": new, "version": version}
    return MOVE.format(table), [{"id": life["id"], "at": life["at"], **moved} for life in lives]


def _events(kind: str, lives: Sequence[Row]) -> tuple[str, list[Row]]:
    data = json.dumps({"from": "queued", "reason": None, "number": 1, "cluster_id": lives[0]["cluster_id"]})
    return _insert(
        "events",
        [
            {
                "xid": life.get("xid", 0),
                "kind": kind,
                "subject": life["id"],
                "at": life["at"],
                "project_id": life["project_id"],
                "job_id": life["id"],
                "data": data,
            }
            for life in lives
        ],
    )


def _job(life: Row) -> Row:
    return {
        "id": life["id"],
        "project_id": life["project_id"],
        "queue_id": life["queue_id"],
        "name": "train-digits",
        "kind": "command",
        "priority": 0,
        "state": "queued",
        "came_from": "held",
        "since": life["at"],
        "submitted_at": life["at"],
        "version": 2,
        "retry": "{}",
        "max_runtime_seconds": None,
        "depends_on": "[]",
        "retry_of": None,
        "cancel_requested_at": None,
        "reason": None,
        "spec": life["spec"],
        "schema_version": 1,
    }


def _ask(life: Row) -> Row:
    return AMOUNTS | {
        "id": life["ask_id"],
        "job_id": life["id"],
        "queue_id": life["queue_id"],
        "ordinal": 0,
        "tasks": 1,
        "accelerator": None,
        "class_id": "class",
        "priority": 0,
        "submitted_at": life["at"],
        "not_before": None,
    }


def _attempt(life: Row) -> Row:
    nothing = (
        "outcome",
        "exit_code",
        "reason",
        "started_at",
        "ended_at",
        "lease_until",
        "stop_outcome",
        "session",
    )
    return dict.fromkeys((*nothing, "stop_requested_at")) | {
        "id": life["attempt_id"],
        "job_id": life["id"],
        "ask_id": life["ask_id"],
        "project_id": life["project_id"],
        "cluster_id": life["cluster_id"],
        "number": 1,
        "state": "placed",
        "came_from": "-",
        "since": life["at"],
        "placed_at": life["at"],
        "version": 1,
    }


def _seat(life: Row) -> Row:
    seat = {"attempt_id": life["attempt_id"], "rank": 0, "node_id": life["node_id"], "heir": None}
    return AMOUNTS | seat | {"released_at": None}


def _work(noun: str, id_: str, life: Row) -> Row:
    return {"noun": noun, "id": id_, "due_at": life["at"], "token": 1}


def _rank(life: Row) -> Row:
    nothing = ("heartbeat_at", "progress", "progress_message")
    return dict.fromkeys(nothing) | {
        "attempt_id": life["attempt_id"],
        "rank": -1,
        "acked_seq": 0,
        "log_offset": 0,
        "exit_code": 0,
        "exit_reason": "completed",
        "exited_at": life["at"],
    }
