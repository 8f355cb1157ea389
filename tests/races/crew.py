"""A crew: sixteen threads that submit, schedule, reconcile, run and cancel at the same time, on one real database.

One thread cannot show what happens inside transactions, so here nothing is simulated but the executor. Leaders hold
their lease for a fraction of a second and never give it back, so that every few plans somebody takes over.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from cloud_adapters.base import ClusterRef, Inventory, Machine
from controlplane.domain.amounts import Amounts
from controlplane.domain.errors import Conflict, Gone
from controlplane.domain.events import Event
from controlplane.domain.ids import AttemptId, JobId, TokenId
from controlplane.domain.jobs import Job
from controlplane.executors.base import Phase
from controlplane.executors.fake import FakeExecutor
from controlplane.identity.attempt_tokens import attempt_token
from controlplane.identity.principals import Principal, Role
from controlplane.operations import jobs, records, submission
from controlplane.operations.context import Context
from controlplane.operations.idempotency import Once, Replay
from controlplane.runtime.process import Loops
from controlplane.wire.jobspec import JobSpec
from controlplane.wire.protocol import RecordBatch
from schedulers.priority import Priority
from tests.inline_pool import InlinePool

ADMIN: Final = Principal(token_id=TokenId("token"), name="admin", role=Role.ADMIN, project_id=None)
MACHINE: Final = Amounts(cpu_milli=8000, gpu_milli=8000)
SUBMITTERS, REPLICAS, RUNNERS, CANCELLERS = 6, 6, 2, 1
JOBS: Final = 60
LEADER_SECONDS: Final = 0.15
NOUNS: Final = ("cluster", "attempt", "job")
STAMP: Final = "2026-01-01T00:00:00+00:00"


class Lab:
    """Lends three machines, always."""

    def inventory(self, cluster: ClusterRef, *, deadline: float) -> Inventory:
        del cluster, deadline
        machines = tuple(Machine(name=f"m{n}", host="127.0.0.1", allocatable=MACHINE) for n in range(3))
        return Inventory(machines=machines, complete=True, session="life-1")


@dataclass(slots=True)
class Crew:
    context: Context
    executor: FakeExecutor = field(default_factory=FakeExecutor)
    accepted: list[tuple[int, JobId]] = field(default_factory=list)
    """(request, job) for every answer that a submitter got."""

    followed: list[Event] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def work(self, *, timeout_seconds: float) -> None:
        """Until every job has ended. Raises what any thread raised."""
        parts: list[Callable[[], None]] = [self._follow, *[self._cancel] * CANCELLERS]
        parts += [lambda n=n: self._replicate(f"replica-{n}") for n in range(REPLICAS)]  # type: ignore[misc]
        parts += [lambda n=n: self._run(n) for n in range(RUNNERS)]  # type: ignore[misc]
        with ThreadPoolExecutor(SUBMITTERS + len(parts)) as threads:
            running: list[Future[None]] = [threads.submit(part) for part in parts]
            try:
                for submitted in [threads.submit(self._submit) for _ in range(SUBMITTERS)]:
                    submitted.result(timeout=timeout_seconds)
                self._wait(running, timeout_seconds)
            finally:
                self._is_over.set()
            for each in running:
                each.result(timeout=timeout_seconds)

    def all_jobs(self) -> list[JobId]:
        with self.context.store.read() as tx:
            return tx.audits.job_ids(None, 10_000)

    def _wait(self, running: list[Future[None]], timeout_seconds: float) -> None:
        until = threading.Event()
        timer = threading.Timer(timeout_seconds, until.set)
        timer.daemon = True
        timer.start()
        unfinished: list[Job] = []
        while not until.is_set():
            if any(each.done() for each in running):
                return  # it raised
            with self.context.store.read() as tx:
                found = tx.jobs.many(tx.audits.job_ids(None, 10_000))
            unfinished = [job for job in found if not job.is_finished]
            if not unfinished:
                return
            until.wait(0.05)  # poll
        raise TimeoutError(f"not finished: {unfinished}")

    def _submit(self) -> None:
        """Every request is sent by two threads, each unaware of the other."""
        while (number := next(self._numbers)) < 2 * JOBS:
            request = number // 2
            spec = JobSpec.model_validate(
                {"name": f"job-{request}", "entrypoint": "true", "tasks": 1 + request % 3}
            )
            once: Once[object] = Once(
                token_id=ADMIN.token_id, key=str(request), request_hash=b"same", code=201, render=_id_of
            )
            try:
                view = submission.submit(
                    self.context,
                    ADMIN,
                    spec,
                    spec.model_dump_json(),
                    once=once,  # type: ignore[arg-type]
                )
                self.accepted.append((request, view.job.id))
            except Replay as replay:
                self.accepted.append((request, JobId(replay.remembered.body)))

    def _replicate(self, name: str) -> None:
        settings = replace(self.context.settings, leader_seconds=LEADER_SECONDS)
        loops = Loops(
            replace(self.context, settings=settings),
            adapters={"ray": Lab()},
            executor=self.executor,
            policy=Priority(),
            holder=name,
        )
        while not self._is_over.is_set():
            loops.scheduling.turn()
            for noun in NOUNS:
                loops.reconciling[noun].drain(InlinePool())

    def _run(self, number: int) -> None:
        """Plays the wrappers of every second attempt: hello, and when it may run, exit."""
        done: set[AttemptId] = set()
        while not self._is_over.is_set():
            orders = [order for order in list(self.executor.orders.values()) if order.attempt_id not in done]
            mine = [order for order in orders if sum(order.attempt_id.encode()) % RUNNERS == number]
            for order in mine:
                done.add(order.attempt_id)
                self.executor.phases[order.attempt_id] = Phase.RUNNING
                try:
                    for rank in range(len(order.seats)):
                        self._say(order.attempt_id, rank, {"seq": 1, "kind": "hello", "host": "h", "pid": 1})
                    last: dict[str, object] = {
                        "seq": 1 if len(order.seats) > 1 else 2,
                        "kind": "exit",
                        "code": 0,
                    }
                    rank = -1 if len(order.seats) > 1 else 0
                    self._say(order.attempt_id, rank, last | {"reason": "completed", "final": True})
                except (Gone, Conflict):
                    self.executor.phases[order.attempt_id] = Phase.DIED
            self._is_over.wait(0.01)  # poll

    def _say(self, attempt_id: AttemptId, rank: int, record: dict[str, object]) -> None:
        batch = RecordBatch.model_validate({"rank": rank, "records": [record | {"at": STAMP}]})
        token = attempt_token(self.context.server_key, attempt_id)
        records.ingest(self.context, attempt_id, token, batch)

    def _cancel(self) -> None:
        """Every ninth job, whatever it is doing."""
        cancelled: set[JobId] = set()
        while not self._is_over.is_set():
            for request, job_id in list(self.accepted):
                if request % 9 == 0 and job_id not in cancelled:
                    cancelled.add(job_id)
                    with suppress(Conflict):  # it was over
                        jobs.cancel(self.context, ADMIN, job_id)
            self._is_over.wait(0.02)  # poll

    def _follow(self) -> None:
        """Reads the feed as it grows, in small pages."""
        cursor = None
        while True:
            was_over = self._is_over.is_set()
            with self.context.store.read() as tx:
                rows, cursor = tx.events.after(cursor, 17)
            self.followed += [event for _, event in rows]
            if was_over and not rows:
                return


def _id_of(view: object) -> str:
    return str(view.job.id)  # type: ignore[attr-defined]
