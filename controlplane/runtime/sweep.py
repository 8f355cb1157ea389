"""The sweep: pokes everything that is not settled, so that no lost wake-up lasts longer than its period."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from controlplane.domain.clusters import ClusterState
from controlplane.domain.errors import Unavailable
from controlplane.runtime.bell import Bell
from controlplane.store import Store, Tx

PERIOD_SECONDS = 60.0
IDEMPOTENCY_DAYS = 7
BATCH = 200

Unwatched = Callable[[Tx, str], Sequence[str]]

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
        for noun, unwatched in UNWATCHED.items():
            self._poke_all(noun, unwatched)
        self._store.write(lambda tx: tx.idempotency.prune(tx.now - timedelta(days=IDEMPOTENCY_DAYS)))

    def _poke_all(self, noun: str, unwatched: Unwatched) -> None:
        """Page by page: what is poked first may be settled and unwatched again before the last page is read."""
        after = ""
        while not self._bell.is_stopping:
            with self._store.read() as tx:
                ids = unwatched(tx, after)
            if not ids:
                return
            self._store.write(partial(_poke, noun=noun, ids=ids))
            after = ids[-1]


def _poke(tx: Tx, *, noun: str, ids: Sequence[str]) -> None:
    tx.work.poke_many(noun, ids)


def _clusters(tx: Tx, after: str) -> Sequence[str]:
    """All of them in one page: there are few."""
    every = [] if after else tx.clusters.list(None, None)
    return [each.id for each in every if each.state is not ClusterState.DETACHED]


UNWATCHED: Final[Mapping[str, Unwatched]] = {
    "cluster": _clusters,
    "claim": lambda tx, after: tx.claims.unwatched(after, BATCH),
    "copy": lambda tx, after: tx.copies.unwatched(after, BATCH),
    "input": lambda tx, after: tx.inputs.unwatched(after, BATCH),
    "service": lambda tx, after: tx.services.unwatched(after, BATCH),
    "attempt": lambda tx, after: tx.attempts.unwatched(after, BATCH),
    "job": lambda tx, after: tx.jobs.unwatched(after, BATCH),
    "execution": lambda tx, after: tx.executions.unwatched(after, BATCH),
    "schedule": lambda tx, after: tx.schedules.unwatched(after, BATCH),
}
"""By noun, the ids behind `after` of what must still be looked at and, clusters apart, is on no list to be."""
