"""Submits over HTTP: how long one takes, and how many a second 16 clients get through, on both databases.

Beside each: a bare insert with its wait for the disk into a database of the same kind in the same folder, and a bare
HTTP echo. With one client the three take turns request by request, with 16 clients burst by burst.
"""

import itertools
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from benchmarks import bulk
from benchmarks.bare_inserts import BareConnection, BareDatabase, BarePostgresql, BareSqlite, rate_of_threads
from benchmarks.figures import Aim, Figure, Reference, at_least, at_least_times, at_most, main
from benchmarks.http_clients import HttpClient, Target, rate_of_burst, request_bytes
from benchmarks.servers import postgresql, true_server, uvicorn

HOST = "127.0.0.1"
CLIENTS = 16
WARM_UP = 30
TURNS = 250
ROUNDS = 4
SUBMIT_SECONDS, INSERT_SECONDS, ECHO_SECONDS = 1.5, 1.0, 0.5
SPEC = {
    "name": "train-digits",
    "kind": "training",
    "entrypoint": "python train.py --epochs 10 --batch-size 64",
    "resources": {"cpus": 2, "memory": "4GiB", "gpus": 1},
    "retry": {"max_attempts": 3},
    "environment": {"OMP_NUM_THREADS": "2"},
    "labels": {"team": "vision"},
}
BODY = json.dumps(SPEC)

Kind = Literal["SQLite", "PostgreSQL"]
AIMS_OF_16: dict[Kind, tuple[Aim, ...]] = {
    "SQLite": (at_least(500), at_least_times(0.3)),
    "PostgreSQL": (at_least_times(0.3),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trio:
    """The same payload three ways: submitted, inserted, echoed."""

    submit: Target
    bare: BareDatabase
    echo: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    submit: float
    insert: float
    echo: float


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as folder:
        return [*on_sqlite(Path(folder)), *on_postgresql(Path(folder))]


def on_sqlite(folder: Path) -> list[Figure]:
    home = folder / "on-sqlite"
    return figures_of("SQLite", home, f"sqlite:///{home / 'crossdock.db'}", BareSqlite(folder / "bare.db"))


def on_postgresql(folder: Path) -> list[Figure]:
    with postgresql(folder / "postgresql") as database:
        bare = BarePostgresql(database("bare"))
        return figures_of("PostgreSQL", folder / "on-postgresql", database("crossdock"), bare)


def figures_of(kind: Kind, home: Path, url: str, bare: BareDatabase) -> list[Figure]:
    with ExitStack() as stack:
        _, echo_port = stack.enter_context(uvicorn("benchmarks.echo:app", "--lifespan", "off"))
        server = stack.enter_context(true_server(home, database_url=url))
        trio = Trio(
            submit=submit_target(server.settings.port, server.admin_token),
            bare=bare,
            echo=Target(
                host=HOST, port=echo_port, make_request=lambda: request_bytes("POST", "/", BODY.encode())
            ),
        )
        one = one_client(trio)
        sixteen = [many_clients(trio) for _ in range(ROUNDS)]
    return [*latency_figures(kind, one), *rate_figures(kind, sixteen)]


def submit_target(port: int, token: str) -> Target:
    """Every request has a key of its own, as the SDK's have."""
    numbers, run = itertools.count(), uuid.uuid4().hex

    def make_request() -> bytes:
        return request_bytes(
            "POST",
            "/v1/jobs",
            BODY.encode(),
            Authorization=f"Bearer {token}",
            Content_Type="application/json",
            Idempotency_Key=f"{run}-{next(numbers)}",
        )

    return Target(host=HOST, port=port, make_request=make_request)


def one_client(trio: Trio) -> list[Reading]:
    """In seconds."""
    submit, echo, bare = HttpClient.connect(trio.submit), HttpClient.connect(trio.echo), trio.bare.connect()
    try:
        turns = (
            Reading(
                submit=submit.exchange(trio.submit.make_request()),
                insert=_insert_seconds(bare),
                echo=echo.exchange(trio.echo.make_request()),
            )
            for _ in range(WARM_UP + TURNS)
        )
        return list(itertools.islice(turns, WARM_UP, None))
    finally:
        submit.connection.close()
        echo.connection.close()
        bare.close()


def many_clients(trio: Trio) -> Reading:
    """In requests per second."""
    return Reading(
        submit=rate_of_burst(trio.submit, clients=CLIENTS, seconds=SUBMIT_SECONDS),
        insert=rate_of_threads(trio.bare, BODY, threads=CLIENTS, seconds=INSERT_SECONDS),
        echo=rate_of_burst(trio.echo, clients=CLIENTS, seconds=ECHO_SECONDS),
    )


def latency_figures(kind: Kind, readings: list[Reading]) -> Iterator[Figure]:
    submit, insert, echo = (
        [1000 * getattr(reading, name) for reading in readings] for name in ("submit", "insert", "echo")
    )
    name = f"{kind}, 1 client, submit"
    bare = Reference(name="bare insert p50", value=median(insert))
    yield Figure(name=f"{name} p50", value=median(submit), unit="ms", reference=bare, aims=(at_most(10),))
    bare = Reference(name="bare insert p99", value=_p99(insert))
    yield Figure(name=f"{name} p99", value=_p99(submit), unit="ms", reference=bare)
    bare = Reference(name="http echo p50", value=median(echo))
    yield Figure(name=f"{name} p50", value=median(submit), unit="ms", reference=bare)


def rate_figures(kind: Kind, readings: list[Reading]) -> Iterator[Figure]:
    name, rate = f"{kind}, {CLIENTS} clients, submits", median(reading.submit for reading in readings)
    bare = Reference(name=f"bare inserts, {CLIENTS} threads", value=median(each.insert for each in readings))
    yield Figure(name=name, value=rate, unit="1/s", reference=bare, aims=AIMS_OF_16[kind])
    bare = Reference(name=f"http echo, {CLIENTS} clients", value=median(each.echo for each in readings))
    yield Figure(name=name, value=rate, unit="1/s", reference=bare)


def _insert_seconds(connection: BareConnection) -> float:
    started_at = time.perf_counter()
    connection.insert(BODY)
    return time.perf_counter() - started_at


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


if __name__ == "__main__":
    if "--bulk" in sys.argv:
        others = [argument for argument in sys.argv[1:] if argument != "--bulk"]
        sys.exit(main("Bulk submits over HTTP, beside bare rows.", partial(bulk.measure, SPEC), others))
    sys.exit(main("Submits over HTTP, beside bare inserts and a bare HTTP echo.", measure))
