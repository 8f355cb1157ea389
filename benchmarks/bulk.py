"""Bulk submits over HTTP: jobs per second of one call, and what single submits wait meanwhile, on both databases.

Beside the rate: bare rows of the same size, as many a commit as the server commits jobs. Beside the waiting: the same
single submits a moment before, when they are alone. Reached by `python -m benchmarks.submit --bulk`.
"""

import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.bare_inserts import BareDatabase, BarePostgresql, BareSqlite
from benchmarks.figures import Figure, Reference, at_least
from benchmarks.http_clients import HttpClient, Target, request_bytes
from benchmarks.servers import postgresql, true_server

HOST = "127.0.0.1"
JOBS = 10_000
ROWS_A_COMMIT = 200
ROUNDS = 3
WARM_UP = 30
ALONE = 200
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Jobs and rows per second; single submits in seconds."""

    jobs: float
    rows: float
    alone: Sequence[float]
    beside: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """One server's, each request with a key of its own."""

    port: int
    token: str
    spec: Mapping[str, object]

    def bulk(self) -> bytes:
        jobs = [{**self.spec, "name": f"train-{number}"} for number in range(JOBS)]
        return self._request("/v1/jobs/bulk", {"jobs": jobs})

    def single(self) -> bytes:
        return self._request("/v1/jobs", self.spec)

    def connect(self) -> HttpClient:
        client = HttpClient.connect(Target(host=HOST, port=self.port, make_request=self.single))
        client.connection.settimeout(SILENCE_SECONDS)
        return client

    def _request(self, path: str, body: Mapping[str, object]) -> bytes:
        return request_bytes(
            "POST",
            path,
            json.dumps(body).encode(),
            Authorization=f"Bearer {self.token}",
            Content_Type="application/json",
            Idempotency_Key=uuid.uuid4().hex,
        )


def measure(spec: Mapping[str, object]) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        home = folder / "on-sqlite"
        bare: BareDatabase = BareSqlite(folder / "bare.db")
        figures = [*figures_of("SQLite", home, f"sqlite:///{home / 'crossdock.db'}", bare, spec)]
        with postgresql(folder / "postgresql") as database:
            bare = BarePostgresql(database("bare"))
            url = database("crossdock")
            figures += figures_of("PostgreSQL", folder / "on-postgresql", url, bare, spec)
        return figures


def figures_of(
    kind: str, home: Path, url: str, bare: BareDatabase, spec: Mapping[str, object]
) -> Iterator[Figure]:
    with true_server(home, database_url=url) as server:
        calls = Calls(port=server.settings.port, token=server.admin_token, spec=spec)
        _singles(calls, WARM_UP)
        readings = [_round(calls, bare) for _ in range(ROUNDS)]
    rate = median(each.jobs for each in readings)
    rows = Reference(
        name=f"bare rows, {ROWS_A_COMMIT} a commit", value=median(each.rows for each in readings)
    )
    name = f"{kind}, one bulk call of {JOBS:,}, jobs"
    yield Figure(name=name, value=rate, unit="1/s", reference=rows, aims=(at_least(5000),))
    alone, beside = (
        [1000 * seconds for each in readings for seconds in getattr(each, which)]
        for which in ("alone", "beside")
    )
    for quantile, place in (("p50", 49), ("p99", 98)):
        reference = Reference(name=f"the same alone {quantile}", value=quantiles(alone, n=100)[place])
        waited = quantiles(beside, n=100)[place]
        yield Figure(
            name=f"{kind}, single submit beside it {quantile}", value=waited, unit="ms", reference=reference
        )


def _round(calls: Calls, bare: BareDatabase) -> Reading:
    rows = _rows_per_second(bare, json.dumps(calls.spec))
    jobs = JOBS / _bulk_seconds(calls)
    alone = _singles(calls, ALONE)
    return Reading(jobs=jobs, rows=rows, alone=alone, beside=_beside_a_bulk(calls))


def _bulk_seconds(calls: Calls) -> float:
    client = calls.connect()
    try:
        took_seconds = client.exchange(calls.bulk())
        accepted = client.answer.count(b'"state":"queued"')
        if accepted != JOBS:
            raise ValueError(f"{accepted} of {JOBS} jobs were accepted: {client.answer[:600]!r}")
        return took_seconds
    finally:
        client.connection.close()


def _rows_per_second(bare: BareDatabase, body: str) -> float:
    connection = bare.connect()
    try:
        began_at = time.perf_counter()
        for _ in range(JOBS // ROWS_A_COMMIT):
            connection.insert_all([body] * ROWS_A_COMMIT)
        return JOBS / (time.perf_counter() - began_at)
    finally:
        connection.close()


def _singles(calls: Calls, count: int) -> list[float]:
    """One after the other."""
    client = calls.connect()
    try:
        return [client.exchange(calls.single()) for _ in range(count)]
    finally:
        client.connection.close()


def _beside_a_bulk(calls: Calls) -> list[float]:
    """What single submits take for as long as a bulk call is under way."""
    with ThreadPoolExecutor(1) as thread:
        bulk = thread.submit(_bulk_seconds, calls)
        client = calls.connect()
        try:
            waited = []
            while not bulk.done():
                waited.append(client.exchange(calls.single()))
        finally:
            client.connection.close()
        bulk.result()
    return waited
