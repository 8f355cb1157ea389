"""Brings the tables to a revision. Alembic is imported only when there is something to do."""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, NullPool, create_engine, event, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import OperationalError, ProgrammingError

from controlplane.domain.errors import Bug, Unavailable

NEWEST: Final = "head"
NONE: Final = "base"


def upgrade(url: str, revision: str = NEWEST) -> None:
    """Several processes may do it at once: the first one migrates, the others wait and find it done."""
    engine = connectable(url)
    try:
        with engine.connect() as connection:
            if revision == NEWEST and _revision(connection) == newest_revision():
                return
        _run("upgrade", engine, revision)
    except OperationalError as raised:
        raise Unavailable(f"the database is away: {raised.orig}") from raised


def downgrade(url: str, revision: str = NONE) -> None:
    _run("downgrade", connectable(url), revision)


def folder() -> Path:
    """Beside this file in an installed server; at the top of a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "migrations"


def newest_revision() -> str:
    """Revisions are numbered, and a file is called `<number>_<what>.py`."""
    scripts = sorted((folder() / "versions").glob("[0-9]*.py"))
    if not scripts:
        raise Bug(f"no migrations in {folder()}")
    return scripts[-1].name.partition("_")[0]


def connectable(url: str) -> Engine:
    """Foreign keys stay off on SQLite: a table that is rebuilt would take its children's rows along."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    engine = create_engine(parsed, poolclass=NullPool)
    event.listen(engine, "connect", _take_control)
    event.listen(engine, "begin", _begin)
    return engine


def _take_control(connection: sqlite3.Connection, _record: object) -> None:
    """Else the driver commits before each change of a table, and half a migration could stay."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _revision(connection: Connection) -> str | None:
    try:
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except (OperationalError, ProgrammingError):  # there is no such table
        return None
    return found


def _run(direction: str, engine: Engine, revision: str) -> None:
    # Alembic takes memory that a running server has no use for.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        {"upgrade": command.upgrade, "downgrade": command.downgrade}[direction](config, revision)
