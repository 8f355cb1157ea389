"""The loops process: every loop in a thread of its own, until it is told to stop."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from cloud_adapters.base import Builds, Lends
from controlplane.executors.base import Executor
from controlplane.operations.context import Context
from controlplane.operations.purchases import Purchasing
from controlplane.runtime.alarms import Alarm, Alarms
from controlplane.runtime.attempts import AttemptStep
from controlplane.runtime.bell import Bell
from controlplane.runtime.budgets import Budgets
from controlplane.runtime.claims import ClaimStep
from controlplane.runtime.clusters import ClusterStep
from controlplane.runtime.copies import CopyStep
from controlplane.runtime.inputs import InputStep
from controlplane.runtime.jobs import JobStep
from controlplane.runtime.lanes import Pool
from controlplane.runtime.leftovers import LeftoverStep
from controlplane.runtime.offers import OfferStep
from controlplane.runtime.orphans import OrphanStep
from controlplane.runtime.pipelines import PipelineStep
from controlplane.runtime.reconcile import Noun, ReconcileLoop, Step, T
from controlplane.runtime.retention import RetentionLoop
from controlplane.runtime.schedules import ScheduleStep
from controlplane.runtime.scheduling import SchedulingLoop
from controlplane.runtime.services import ServiceStep
from controlplane.runtime.sites import SiteStep
from controlplane.runtime.sweep import Sweep
from controlplane.settings import rates_of
from controlplane.store import Store
from schedulers.base import Policy

RAY = "ray"
"""The capacity plugin that reads any Ray cluster."""

BURST_SECONDS = 4
CLUSTER_THREADS = 4
ATTEMPT_THREADS = 16
INPUT_THREADS = 2
PIPELINE_THREADS = 4
"""Each reads whole artifacts."""

log = logging.getLogger(__name__)


class Reconciles(Protocol):
    """A reconcile loop, whatever its noun."""

    @property
    def alarm(self) -> Alarm: ...

    def run(self) -> None: ...

    def drain(self, pool: Pool) -> None: ...


class Loops:
    """All loops of one replica. Who drives them by hand, in one thread, takes them from here and starts nothing."""

    def __init__(
        self,
        context: Context,
        *,
        adapters: Mapping[str, Lends],
        executor: Executor,
        policy: Policy,
        holder: str,
    ) -> None:
        store = context.store
        self._bell = bell = Bell(store.change_marker)

        rate = context.settings.cloud_calls_per_second
        budgets = Budgets(calls_per_second=rate, burst=max(1, round(BURST_SECONDS * rate)))

        def reconciles(name: str, step: Step[T], threads: int) -> Reconciles:
            noun = Noun(name=name, step=step, threads=threads)
            return ReconcileLoop(noun, store=store, bell=bell, holder=holder)

        self.scheduling = SchedulingLoop(
            store=store,
            policy=policy,
            bell=bell,
            holder=holder,
            leader_seconds=context.settings.leader_seconds,
            min_runtime=timedelta(seconds=context.settings.min_runtime_seconds),
            means=Purchasing(
                ids=context.ids,
                idle=timedelta(seconds=context.settings.idle_seconds),
                on_unverified_prices=context.settings.burst_on_unverified_prices,
                rates=rates_of(context.settings.exchange_rates),
            ),
            builders={name for name, each in adapters.items() if isinstance(each, Builds)},
        )
        self.sweep = Sweep(store=store, bell=bell)
        self.retention = RetentionLoop(context, bell=bell, holder=holder)
        self.reconciling: Mapping[str, Reconciles] = {
            "cluster": reconciles("cluster", ClusterStep(context, adapters), CLUSTER_THREADS),
            "claim": reconciles("claim", ClaimStep(context, adapters, budgets), CLUSTER_THREADS),
            "site": reconciles("site", SiteStep(context, adapters.get(RAY)), CLUSTER_THREADS),
            "orphan": reconciles("orphan", OrphanStep(context, adapters, budgets), CLUSTER_THREADS),
            "offer": reconciles("offer", OfferStep(context, adapters, budgets), CLUSTER_THREADS),
            "leftover": reconciles("leftover", LeftoverStep(context, adapters, budgets), CLUSTER_THREADS),
            "copy": reconciles("copy", CopyStep(context), 1),
            "input": reconciles("input", InputStep(context), INPUT_THREADS),
            "attempt": reconciles("attempt", AttemptStep(context, executor), ATTEMPT_THREADS),
            "job": reconciles("job", JobStep(), 1),
            "execution": reconciles("execution", PipelineStep(context), PIPELINE_THREADS),
            "schedule": reconciles("schedule", ScheduleStep(context), 1),
            "service": reconciles("service", ServiceStep(context), 1),
        }
        self._runs = self._every_run(store)
        self._threads: list[threading.Thread] = []

    def _every_run(self, store: Store) -> Sequence[tuple[str, Callable[[], None]]]:
        alarms = {name: loop.alarm for name, loop in self.reconciling.items()}
        return (
            ("bell", self._bell.run),
            ("alarms", Alarms(alarms, store=store, bell=self._bell).run),
            ("scheduling", self.scheduling.run),
            ("sweep", self.sweep.run),
            ("retention", self.retention.run),
            *((name, loop.run) for name, loop in self.reconciling.items()),
        )

    def start(self) -> None:
        for name, run in self._runs:
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        log.info("loops.started", extra={"loops": [name for name, _ in self._runs]})

    def stop(self, *, timeout_seconds: float) -> None:
        """Lets every step that is under way finish, within the time given."""
        self._bell.stop()
        for thread in self._threads:
            thread.join(timeout_seconds)

    @property
    def are_alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)
