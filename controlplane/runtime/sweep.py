"""The sweep: pokes everything that is not settled, so that no lost wake-up lasts longer than its period."""

import logging
from datetime import timedelta
from functools import partial

from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import Unavailable
from controlplane.runtime.bell import Bell
from controlplane.store import Store, Tx

PERIOD_SECONDS = 60.0
IDEMPOTENCY_DAYS = 7
BATCH = 200

log = logging.getLogger(__name__)


class Sweep:
    def __init__(self, *, store: Store, bell: Bell) -> None:
        self._store = store
        self._bell = bell

    def run(self) -> None:
        """The first round runs at once: it is also how a restarted server finds its work again."""
        while not self._bell.is_stopping:
            try:
                self.round()
            except Unavailable as away:
                log.warning("store.away", extra={"problem": away.message})
            self._bell.sleep(PERIOD_SECONDS)

    def round(self) -> None:
        with self._store.read() as tx:
            unsettled = [
                *(("cluster", each.id) for each in tx.clusters.list(None, None) if _counts(each.state)),
                *(("attempt", each.id) for each in tx.attempts.live(None)),
                *(("job", job_id) for job_id in tx.jobs.unsettled()),
            ]
        for start in range(0, len(unsettled), BATCH):
            batch = unsettled[start : start + BATCH]
            self._store.write(partial(_poke, batch=batch))
        self._store.write(lambda tx: tx.idempotency.prune(tx.now - timedelta(days=IDEMPOTENCY_DAYS)))


def _counts(state: ClusterState) -> bool:
    return state is not ClusterState.DETACHED


def _poke(tx: Tx, batch: list[tuple[str, str]]) -> None:
    for noun, subject in batch:
        tx.work.poke(noun, subject)
