"""A PostgreSQL database that tests use one after the other.

To empty it takes some milliseconds; to copy a template takes a hundred times that, and makes the server write out all
it has. Whatever a test did to the tables themselves is noticed: then the next one gets a fresh database.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Final

import psycopg
from psycopg import Cursor, sql

MOST_BYTES: Final = 64 << 20
"""Of a whole database; more than that is quicker thrown away."""

WRITTEN_BY_MIGRATIONS: Final = ("alembic_version", "edges")

# Tests tamper with rules and rows of migrations, and analysed tables are read in another way.
_PRINT: Final = sql.SQL(
    """
    SELECT
      (SELECT md5(string_agg(concat_ws(' ', oid, tgname, tgenabled), ',' ORDER BY oid)) FROM pg_trigger),
      (SELECT md5(string_agg(concat_ws(' ', oid, conname, convalidated), ',' ORDER BY oid)) FROM pg_constraint),
      (SELECT md5(string_agg(concat_ws(' ', oid, prosrc), ',' ORDER BY oid)) FROM pg_proc WHERE oid >= 16384),
      (SELECT md5(string_agg(concat_ws(' ', oid, relname, relnatts, reltuples), ',' ORDER BY oid))
       FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    """
)
_OTHERS_END: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
_SEQUENCES: Final = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY sequencename"


class Reused:
    def __init__(self, fresh: Callable[[], AbstractContextManager[str]]) -> None:
        """`fresh` gives the address of a migrated database that it drops at its end."""
        self._fresh = fresh
        self._life = ExitStack()
        self._url: str | None = None
        self._print: object = None

    def take(self) -> str:
        """The address of a database as the migrations leave it."""
        if self._url is None:
            self._url = self._life.enter_context(self._fresh())
            with psycopg.connect(self._url) as connection, connection.cursor() as cursor:
                self._print = _print_of(cursor)
        return self._url

    def give_back(self) -> None:
        """Empties it, whatever connections were left in the air, or throws it away."""
        if self._url is not None and not self._is_as_new(self._url):
            self.throw_away()

    def throw_away(self) -> None:
        self._url = None
        self._life.close()

    def _is_as_new(self, url: str) -> bool:
        with suppress(psycopg.Error), psycopg.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(_OTHERS_END)
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute("SELECT pg_database_size(current_database())")
            size = cursor.fetchone()
            if size is None or size[0] > MOST_BYTES or _print_of(cursor) != self._print:
                return False
            _empty(cursor)
            return True
        return False


def _print_of(cursor: Cursor[tuple[object, ...]]) -> object:
    """Of all that a test should leave as it was."""
    cursor.execute(_PRINT)
    prints = cursor.fetchone()
    for table in WRITTEN_BY_MIGRATIONS:
        cursor.execute(
            sql.SQL("SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t").format(
                sql.Identifier(table)
            )
        )
        prints = (*(prints or ()), *(cursor.fetchone() or ()))
    return prints


def _empty(cursor: Cursor[tuple[object, ...]]) -> None:
    cursor.execute("SET LOCAL session_replication_role = replica")  # neither triggers nor foreign keys
    cursor.execute(_TABLES)
    tables = [str(row[0]) for row in cursor.fetchall() if row[0] not in WRITTEN_BY_MIGRATIONS]
    cursor.execute(_SEQUENCES)
    sequences = [str(row[0]) for row in cursor.fetchall()]
    deletes = [sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in tables]
    restarts = [sql.SQL("SELECT setval({}, 1, false)").format(sql.Literal(name)) for name in sequences]
    cursor.execute(sql.SQL("; ").join([*deletes, *restarts]))
