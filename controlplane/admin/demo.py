"""`crossdock demo`: the whole system on this machine, with the server killed in the middle of the training."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from controlplane.admin.server import environment_of, init, is_in_use
from controlplane.sdk import Client, Job, JobSpec, Resources, Retry
from controlplane.settings import Settings

HOME: Final = Path(".crossdock") / "demo"
TASKS = 2
EPOCHS = 30
KILL_AFTER_EPOCHS = 3
WANTED_ACCURACY = 0.95
CLUSTER_SECONDS = 180.0
TRAINING_SECONDS = 900.0
STOP_SECONDS = 60.0

out = Console(highlight=False, soft_wrap=True)


class Disappointed(Exception):
    """The demo did not show what it promises."""


def demo(*, keep: bool) -> int:
    """Returns 0 when the model is trained, the server was killed on the way, and nothing is left behind.

    `keep` leaves the server running at the end, for a look around.
    """
    try:
        return _show(_fresh_home(), keep=keep)
    except Disappointed as disappointed:
        out.print(f"[bold red]{disappointed}[/]")
        return 1


def _show(settings: Settings, *, keep: bool) -> int:
    answer = init(settings)
    out.rule("Crossdock: a distributed training job, end to end")
    out.print(f"home [bold]{settings.home}[/], server {settings.url}, database {settings.database_url}")
    with _server(settings, keep=keep) as server, Client(settings.url, answer.admin_token) as client:
        _wait_for_cluster(client)
        job = _submit(client, settings)
        with _following(job):
            _kill_in_the_middle(job, server)
            job.wait(timeout_seconds=TRAINING_SECONDS)
        accuracy = _report(client, job, settings)
    out.print("server stopped, embedded cluster ended" if not keep else "server left running, as asked")
    return 0 if accuracy >= WANTED_ACCURACY else 1


@dataclass(slots=True)
class Server:
    """`crossdock server run` as a child, which can be killed and started again."""

    settings: Settings
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, settings: Settings) -> "Server":
        return cls(settings=settings, process=_spawn(settings))

    def kill_and_restart(self) -> list[int]:
        """SIGKILL for the supervisor and both of its processes, so nothing has time to tidy up."""
        pids = [self.process.pid, *_children_of(self.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = _spawn(self.settings)
        return pids

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def _fresh_home() -> Settings:
    """Each demo begins anew, but never under the feet of one that still runs."""
    home = HOME.absolute()
    if home.exists():
        if is_in_use(home):
            raise Disappointed(f"a server is still running in {home}: stop it first")
        shutil.rmtree(home)
    environment = {"CROSSDOCK_HOME": str(home), "CROSSDOCK_PORT": str(_free_port())}
    return Settings.read(environment)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _server(settings: Settings, *, keep: bool) -> Iterator[Server]:
    server = Server.start(settings)
    try:
        yield server
    except BaseException:
        server.stop()
        raise
    if not keep:
        server.stop()


def _spawn(settings: Settings) -> subprocess.Popen[bytes]:
    log = (settings.home / "server.log").open("ab")
    command = [sys.executable, "-m", "controlplane.cli.main", "server", "run"]
    with log:
        return subprocess.Popen(command, env=os.environ | environment_of(settings), stdout=log, stderr=log)


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_for_cluster(client: Client) -> None:
    with out.status("starting the embedded Ray cluster (head and two nodes)"):
        deadline = time.monotonic() + CLUSTER_SECONDS
        while time.monotonic() < deadline:
            cluster = client.clusters.get("local")
            if cluster.state == "ready":
                out.print(
                    f"cluster [bold]local[/] is ready: {cluster.nodes} nodes, {_words(cluster.capacity)}"
                )
                return
            time.sleep(0.5)
    raise Disappointed(f"the embedded cluster was not ready within {CLUSTER_SECONDS:g} s: see server.log")


def _submit(client: Client, settings: Settings) -> Job:
    results = settings.home / "results"
    spec = JobSpec(
        name="digits",
        kind="training",
        entrypoint=f"python -m digits --epochs {EPOCHS}",
        launch="driver",
        tasks=TASKS,
        resources=Resources(cpus=2.0, gpus=2.0),  # all GPUs of a node, so that the gang spans two
        retry=Retry(max_attempts=2),
        checkpoint_uri=(results / "checkpoints").as_uri(),
        outputs_uri=(results / "model").as_uri(),
    )
    job = client.jobs.submit(spec, working_dir=Path(str(files("controlplane.recipes"))))
    out.print(f"submitted [bold]{job.id}[/]: {TASKS} tasks with 2 cpus and 2 gpus each, so one on each node")
    return job


@contextmanager
def _following(job: Job) -> Iterator[None]:
    """Prints the log while the body goes on; a killed server only makes it pause."""

    def follow() -> None:
        for line in job.logs(follow=True):
            out.print(Text(f"  {line}", style="dim"))  # not markup: a line may hold brackets

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    yield
    follower.join(timeout=30)


def _kill_in_the_middle(job: Job, server: Server) -> None:
    deadline = time.monotonic() + TRAINING_SECONDS
    while len(job.checkpoints()) < KILL_AFTER_EPOCHS:
        job.refresh()
        if job.is_finished:
            raise Disappointed(
                f"the job ended as {job.state} before the server could be killed: {job.document.reason}"
            )
        if time.monotonic() > deadline:
            raise Disappointed(f"no {KILL_AFTER_EPOCHS} checkpoints within {TRAINING_SECONDS:g} s")
        time.sleep(0.3)
    pids = server.kill_and_restart()
    out.print(f"[bold red]killed the server[/] (kill -9 of {', '.join(map(str, pids))}) and started it again")


def _report(client: Client, job: Job, settings: Settings) -> float:
    job.refresh()
    if job.state != "succeeded":
        raise Disappointed(f"job {job.id} ended as {job.state}: {job.document.reason}")
    model = settings.home / "results" / "model"
    measured = json.loads((model / "metrics.json").read_text())
    attempts = Table("attempt", "outcome", "exit code", "nodes", "started", "ended", title="Attempts")
    for attempt in job.attempts():
        nodes = ", ".join(sorted({seat.node[:12] for seat in attempt.seats}))
        times = (f"{moment:%H:%M:%S}" if moment else "-" for moment in (attempt.started_at, attempt.ended_at))
        attempts.add_row(str(attempt.number), attempt.outcome, str(attempt.exit_code), nodes, *times)
    out.print(attempts)
    steps = sum(1 for _ in job.metrics())
    events = sum(1 for _ in client.events())
    out.print(f"in SQL: {steps} metric points, {len(job.checkpoints())} checkpoints, {events} events")
    out.print(
        f"final accuracy [bold green]{measured['accuracy']:.4f}[/] on {measured['held_out']} held-out digits"
    )
    out.print(f"model: {model / 'model.pt'}")
    return float(measured["accuracy"])


def _words(capacity: Mapping[str, float]) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in sorted(capacity.items()) if name != "memory")
