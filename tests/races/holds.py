"""Holds: what is under way at the same moment, each held up at a table that another connection locked."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from tests.store.planting import Raw, raw

SECONDS = 30
WAITING = """SELECT 1 FROM pg_locks WHERE NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@dataclass(slots=True, kw_only=True)
class Hold:
    watcher: Raw
    threads: ThreadPoolExecutor
    deeds: list[Future[None]] = field(default_factory=list)

    def begin(self, *deeds: Callable[[], object]) -> None:
        """Each when the one before waits for a lock, or is over."""
        for deed in deeds:
            self.deeds.append(self.threads.submit(_no_answer, deed))
            while len(self.watcher.execute(WAITING)) < len(self.deeds) and not self.deeds[-1].done():
                pass


@contextmanager
def held_up(url: str, table: str) -> Iterator[Hold]:
    """Until the end nobody writes to the table; raises then what any deed raised."""
    with ThreadPoolExecutor() as threads, raw(url) as watcher, psycopg.connect(url) as other:
        other.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(table)))
        hold = Hold(watcher=watcher, threads=threads)
        yield hold
        other.commit()
        for deed in hold.deeds:
            deed.result(timeout=SECONDS)


def _no_answer(deed: Callable[[], object]) -> None:
    deed()
