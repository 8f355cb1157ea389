"""Dispatch: from the call that submits to the first line of user code, on a warm embedded cluster.

The user code says when it began: it prints the time. Ours and Ray's own Jobs API take turns on the same cluster, and
each waits until the other's job is over. A gang counts from the call to the last rank's first line.
"""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import run

import httpx

from benchmarks import raw_gang
from benchmarks.figures import Figure, Reference, at_most_times, main
from benchmarks.servers import true_server
from controlplane import bootstrap
from controlplane.admin.server import environment_of
from controlplane.domain.clusters import Endpoint
from controlplane.operations.endpoints import endpoint_of
from controlplane.sdk import Client
from controlplane.settings import Settings
from tests.server import eventually

COMMAND = "date +%s.%N"
GANG_TASKS = 2
GANG_CPUS = 3
"""Of the four of a node: so that no two tasks share one."""

SINGLE_TURNS = 10
GANG_TURNS = 3
BOOT_SECONDS = 180.0
JOB_SECONDS = 120.0

Dispatch = Callable[[], float]
"""Runs one job to its end and returns the seconds from the call to its first line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Both ways into one cluster."""

    ours: Client
    ray: httpx.Client
    nodes: tuple[str, ...]
    """Ray's ids of the nodes that take tasks."""


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="crossdock-bench-") as folder, parties(Path(folder)) as both:
        ours, alike = in_turns(single_ways(both), SINGLE_TURNS)
        our_gang, raw = in_turns(gang_ways(both), GANG_TURNS)
    return [
        figure("one task", ours, "ray job, same cpus and node", alike, aimed=True),
        figure(f"gang of {GANG_TASKS}", our_gang, "raw gang script", raw, aimed=False),
    ]


def single_ways(both: Parties) -> tuple[Dispatch, ...]:
    alike = {"entrypoint_num_cpus": 1, "entrypoint_label_selector": {"ray.io/node-id": both.nodes[0]}}
    return (
        lambda: ours_seconds(both, tasks=1, cpus=1),
        lambda: ray_seconds(both, COMMAND, alike),
    )


def gang_ways(both: Parties) -> tuple[Dispatch, ...]:
    script = shlex.join(["python", raw_gang.__file__, COMMAND, str(GANG_CPUS), *both.nodes[:GANG_TASKS]])
    return (
        lambda: ours_seconds(both, tasks=GANG_TASKS, cpus=GANG_CPUS),
        lambda: ray_seconds(both, script, {}),
    )


@contextmanager
def parties(home: Path) -> Iterator[Parties]:
    """A server with its embedded cluster, warm: both ways were gone once."""
    with true_server(home, local_cluster=True) as server:
        try:
            with server.client() as client:
                eventually(lambda: is_ready(client), BOOT_SECONDS, "the embedded cluster did not come up")
                with ray_client(local_endpoint(server.settings)) as ray:
                    nodes = tuple(node.name for node in client.clusters.nodes())
                    both = Parties(ours=client, ray=ray, nodes=nodes)
                    for way in gang_ways(both):
                        way()
                    yield both
        finally:
            server.stop()
            clusters_down(server.settings)


def is_ready(client: Client) -> bool:
    return [cluster.state for cluster in client.clusters.list()] == ["ready"]


def local_endpoint(settings: Settings) -> Endpoint:
    """Its token is sealed, so this looks through the server's own parts."""
    context = bootstrap.context(settings)
    try:
        with context.store.read() as tx:
            (cluster,) = tx.clusters.list(None, None)
        endpoint = endpoint_of(context, cluster)
    finally:
        context.store.close()
    if endpoint is None:
        raise ValueError("the embedded cluster has no address")
    return endpoint


def ray_client(endpoint: Endpoint) -> httpx.Client:
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    return httpx.Client(base_url=endpoint.url, headers=headers, trust_env=False, timeout=30.0)


def clusters_down(settings: Settings) -> None:
    command = [sys.executable, "-m", "controlplane.admin.processes", "clusters-down"]
    run(command, env=dict(environment_of(settings)), check=True)


def in_turns(dispatches: Sequence[Dispatch], turns: int) -> list[list[float]]:
    """One list per way. Every second turn goes backwards, so that nobody always follows the same other."""
    seconds: list[list[float]] = [[] for _ in dispatches]
    for turn in range(turns):
        order = range(len(dispatches)) if turn % 2 == 0 else reversed(range(len(dispatches)))
        for each in order:
            seconds[each].append(dispatches[each]())
    return seconds


def ours_seconds(both: Parties, *, tasks: int, cpus: int) -> float:
    spec = {"name": "dispatch", "entrypoint": COMMAND, "tasks": tasks, "resources": {"cpus": cpus}}
    called_at = time.time()
    job = both.ours.jobs.submit(spec)
    eventually(lambda: job.refresh().is_finished, JOB_SECONDS, f"{job} did not end")
    if job.state != "succeeded":
        raise ValueError(f"our job ended as {job.state}: {job.document.reason}, {list(job.logs())}")
    return max(float(line) for line in job.logs()) - called_at


def ray_seconds(both: Parties, entrypoint: str, place: Mapping[str, object]) -> float:
    called_at = time.time()
    answer = both.ray.post("/api/jobs/", json={"entrypoint": entrypoint, **place}).raise_for_status()
    path = f"/api/jobs/{answer.json()['submission_id']}"

    def state() -> str:
        return str(both.ray.get(path).raise_for_status().json()["status"])

    eventually(lambda: state() not in {"PENDING", "RUNNING"}, JOB_SECONDS, f"{path} did not end")
    log = both.ray.get(f"{path}/logs").raise_for_status().json()["logs"]
    if state() != "SUCCEEDED":
        raise ValueError(f"ray's job ended as {state()}: {log}")
    return (
        max(float(line) for line in log.splitlines() if line[:1].isdecimal() and ":" not in line) - called_at
    )


def figure(what: str, ours: list[float], reference: str, theirs: list[float], *, aimed: bool) -> Figure:
    return Figure(
        name=f"{what}, submit to first user line, median",
        value=median(ours),
        unit="s",
        reference=Reference(name=reference, value=median(theirs)),
        aims=(at_most_times(1.15),) if aimed else (),
    )


if __name__ == "__main__":
    sys.exit(main("Submit to first user line, in turns with Ray's own Jobs API.", measure))
