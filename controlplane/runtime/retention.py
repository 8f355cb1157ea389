"""The retention loop: one replica puts old jobs away, a little at a time; each folds counts that have piled up."""

import logging
from collections.abc import Callable
from time import monotonic

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.leases import Lease
from controlplane.operations import old_copies, retention
from controlplane.operations.context import Context
from controlplane.operations.retention import Walk
from controlplane.runtime.bell import Bell

FOLD_SECONDS = 5.0
FOLD_AT = 500
"""Changes that are added up at each reading until they are folded."""

PASS_SECONDS = 3600.0
LEASE_SECONDS = 120.0
"""Longer than a step takes, the writing of its archive included."""

RETENTION_LEASE = "retention"

log = logging.getLogger(__name__)


class RetentionLoop:
    def __init__(
        self,
        context: Context,
        *,
        bell: Bell,
        holder: str,
        pause: Callable[[float], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`pause` takes the place of a sleep that ends when everything stops."""
        self._context = context
        self._bell = bell
        self._holder = holder
        self._pause = pause or bell.sleep
        self._clock = clock

    def run(self) -> None:
        passed_at = self._clock() - PASS_SECONDS
        while not self._bell.is_stopping:
            try:
                self.fold()
                if self._clock() - passed_at >= PASS_SECONDS:
                    passed_at = self._clock()
                    self.round()
            except ControlPlaneError as problem:
                log.warning("retention.paused", extra={"problem": problem.message})
            except Exception:
                log.exception("retention.failed")
            self._bell.sleep(FOLD_SECONDS)

    def fold(self) -> None:
        store = self._context.store
        with store.read() as tx:
            has_many = tx.counts.changes(FOLD_AT) == FOLD_AT
        if has_many:
            store.write(lambda tx: tx.counts.fold())

    def round(self) -> None:
        """One pass over all that is old, unless another replica is at it. Rests after each step as long as it took."""
        store = self._context.store
        lease = store.write(lambda tx: tx.leases.take(RETENTION_LEASE, self._holder, LEASE_SECONDS))
        if lease is None:
            return
        try:
            self._pass(lease)
        finally:
            store.write(lambda tx: tx.leases.release(lease))

    def _pass(self, lease: Lease) -> None:
        self._context.store.write(lambda tx: tx.memories.prune())
        walk, archived, pruned = Walk(), 0, 1
        while not (walk.is_over and not pruned) and not self._bell.is_stopping:
            started_at = self._clock()
            lease = self._renewed(lease)
            if not walk.is_over:
                walk = retention.step(self._context, lease, walk)
                archived += walk.archived
            if pruned:
                pruned = retention.prune(self._context, lease)
            self._pause(self._clock() - started_at)
        lease = self._renewed(lease)
        retention.collect_inputs(self._context, lease)
        retention.forget_reasons(self._context, lease)
        self._forget_copies(lease)
        if archived:
            log.info("retention.archived", extra={"jobs": archived})

    def _forget_copies(self, lease: Lease) -> None:
        after: str | None = ""
        while after is not None and not self._bell.is_stopping:
            started_at, lease = self._clock(), self._renewed(lease)
            after = old_copies.prune(self._context, lease, after)
            self._pause(self._clock() - started_at)

    def _renewed(self, lease: Lease) -> Lease:
        return self._context.store.write(lambda tx: tx.leases.renew(lease, LEASE_SECONDS))
