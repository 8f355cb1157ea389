"""The loops process: every loop in a thread of its own, until it is told to stop."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from cloud_adapters.base import Lends
from controlplane.executors.base import Executor
from controlplane.operations.services import Services
from controlplane.runtime.attempts import AttemptStep
from controlplane.runtime.bell import Bell
from controlplane.runtime.clusters import ClusterStep
from controlplane.runtime.jobs import JobStep
from controlplane.runtime.reconcile import Noun, ReconcileLoop
from controlplane.runtime.scheduling import SchedulingLoop
from controlplane.runtime.sweep import Sweep
from schedulers.base import Policy

CLUSTER_THREADS = 4
ATTEMPT_THREADS = 8

log = logging.getLogger(__name__)


class Loops:
    """All loops of one replica."""

    def __init__(
        self,
        services: Services,
        *,
        adapters: Mapping[str, Lends],
        executor: Executor,
        policy: Policy,
        holder: str,
    ) -> None:
        store = services.store
        self._bell = Bell(store.change_marker)
        nouns = (
            Noun(name="cluster", step=ClusterStep(services, adapters), threads=CLUSTER_THREADS),
            Noun(name="attempt", step=AttemptStep(services, executor), threads=ATTEMPT_THREADS),
            Noun(name="job", step=JobStep(store), threads=1),
        )
        scheduling = SchedulingLoop(
            store=store,
            policy=policy,
            bell=self._bell,
            holder=holder,
            leader_seconds=services.settings.leader_seconds,
        )
        self._runs: Sequence[tuple[str, Callable[[], None]]] = (
            ("bell", self._bell.run),
            ("scheduling", scheduling.run),
            ("sweep", Sweep(store=store, bell=self._bell).run),
            *(
                (noun.name, ReconcileLoop(noun, store=store, bell=self._bell, holder=holder).run)
                for noun in nouns
            ),
        )
        self._threads: list[threading.Thread] = []

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
