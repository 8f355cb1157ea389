"""The one reconcile loop: claims what is due of one noun and hands each item to a thread."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from controlplane.domain.errors import StaleWrite, Unavailable
from controlplane.runtime.bell import Bell
from controlplane.store import Store, Tx, WorkItem

IDLE_SECONDS = 1.0
"""Longest wait without looking: the net below the bell."""

CLAIM_SECONDS = 120.0
"""Longer than any step: another replica takes over an item only when its claimer is gone."""

RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """What a loop looks after, and the step that looks after one of them."""

    name: str
    step: Callable[[WorkItem], None]
    threads: int


class ReconcileLoop:
    def __init__(self, noun: Noun, *, store: Store, bell: Bell, holder: str) -> None:
        self._noun = noun
        self._store = store
        self._bell = bell
        self._holder = holder
        self._busy: set[Future[None]] = set()

    def run(self) -> None:
        heard = -1
        with ThreadPoolExecutor(self._noun.threads, thread_name_prefix=self._noun.name) as pool:
            while not self._bell.is_stopping:
                heard = self._bell.wait(heard, IDLE_SECONDS)
                self._drain(pool)

    def _drain(self, pool: ThreadPoolExecutor) -> None:
        while not self._bell.is_stopping:
            self._busy = {future for future in self._busy if not future.done()}
            free = self._noun.threads - len(self._busy)
            items = self._claim(free) if free else []
            for item in items:
                future = pool.submit(self._step, item)
                self._busy.add(future)
                future.add_done_callback(lambda _: self._bell.ring())  # a free thread may have work
            if not items:
                return

    def _claim(self, limit: int) -> list[WorkItem]:
        def unit(tx: Tx) -> list[WorkItem]:
            return tx.work.claim(self._noun.name, self._holder, limit, CLAIM_SECONDS)

        try:
            if not self._is_due():
                return []
            return self._store.write(unit)
        except Unavailable as away:
            log.warning("store.away", extra={"noun": self._noun.name, "problem": away.message})
            return []

    def _is_due(self) -> bool:
        """Looks before it writes: an idle loop must not cost a transaction on disk."""
        with self._store.read() as tx:
            due_at = tx.work.next_due(self._noun.name)
            return due_at is not None and due_at <= tx.now

    def _step(self, item: WorkItem) -> None:
        try:
            self._noun.step(item)
        except StaleWrite as stale:
            log.info("step.stale", extra={"noun": item.noun, "id": item.id, "problem": stale.message})
            self._later(item, 0.0)
        except Exception:
            log.exception("step.failed", extra={"noun": item.noun, "id": item.id})
            self._later(item, RETRY_SECONDS)

    def _later(self, item: WorkItem, seconds: float) -> None:
        """Gives the item back. When even that fails, its claim runs out and somebody takes it over."""

        def unit(tx: Tx) -> None:
            tx.work.settle(item, tx.now + timedelta(seconds=seconds))

        try:
            self._store.write(unit)
        except (StaleWrite, Unavailable) as problem:
            log.info("settle.dropped", extra={"noun": item.noun, "id": item.id, "problem": problem.message})
