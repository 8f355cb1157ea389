"""Migrations: up, down and up again, by several at once, and the same tables as the code expects."""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen, run

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlalchemy.schema import SchemaItem

from controlplane.domain.errors import Unavailable
from controlplane.store import Store, migrating
from controlplane.store.schema import METADATA, ONLY_ON
from tests import factories
from tests.databases import Opener
from tests.store.planting import locked, plant, raw

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    engine = migrating.connectable(empty_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def migrated(database_url: str) -> Iterator[Engine]:
    engine = migrating.connectable(database_url)
    yield engine
    engine.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def is_on(dialect: str, thing: SchemaItem) -> bool:
    return bool(thing.info.get(ONLY_ON, dialect) == dialect)


def functions_and_triggers(url: str) -> list[str]:
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if url.startswith("sqlite")
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
        " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    with raw(url) as other:
        return sorted(row[0] for row in other.execute(query))


def test_up_down_and_up_again(empty_database_url: str, engine: Engine, open_store: Opener) -> None:
    migrating.upgrade(empty_database_url)
    assert tables(engine) == set(METADATA.tables)
    made = functions_and_triggers(empty_database_url)
    assert len(made) >= 4

    migrating.downgrade(empty_database_url)
    assert tables(engine) == set()
    assert functions_and_triggers(empty_database_url) == []

    migrating.upgrade(empty_database_url)
    assert tables(engine) == set(METADATA.tables)
    assert functions_and_triggers(empty_database_url) == made
    plant(open_store(empty_database_url), jobs=1)


def test_the_tables_are_the_ones_the_code_expects(migrated: Engine) -> None:
    with migrated.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_object": lambda thing, *_: is_on(migrated.dialect.name, thing),
            },
        )
        assert compare_metadata(context, METADATA) == []


def test_every_constraint_of_the_code_is_in_the_database_by_name(migrated: Engine) -> None:
    """Autogenerate does not look at checks."""
    found, dialect = inspect(migrated), migrated.dialect.name
    for table in METADATA.tables.values():
        wanted = {str(rule.name) for rule in table.constraints}
        if not table.primary_key.columns:
            wanted.remove(str(table.primary_key.name))
        named = [
            *found.get_check_constraints(table.name),
            *found.get_unique_constraints(table.name),
            *found.get_foreign_keys(table.name),
            found.get_pk_constraint(table.name),
        ]
        # SQLite keeps no name for the key of a table that numbers its rows.
        unnamed = {"pk_events"} if dialect == "sqlite" else set()
        assert {rule["name"] for rule in named} - {None} == wanted - unnamed
        assert {index.name for index in table.indexes if is_on(dialect, index)} <= {
            row["name"] for row in found.get_indexes(table.name)
        }


def test_migrating_again_changes_nothing(store: Store) -> None:
    plant(store)
    before = store.change_marker()
    store.migrate()

    assert store.change_marker() == before


def test_two_processes_may_migrate_at_once(empty_database_url: str, open_store: Opener) -> None:
    program = f"from controlplane.store import Store; Store.open({empty_database_url!r}).migrate()"
    migrating_ones = [Popen([sys.executable, "-c", program], cwd=REPOSITORY) for _ in range(2)]
    assert [each.wait(timeout=60) for each in migrating_ones] == [0, 0]

    open_store(empty_database_url).write(lambda tx: tx.projects.add(factories.project()))


def test_migrating_a_locked_database_is_unavailable(tmp_path: Path, open_store: Opener) -> None:
    url = f"sqlite:///{tmp_path / 'locked.db'}?timeout=0.05"
    with locked(url.partition("?")[0]), pytest.raises(Unavailable):
        migrating.upgrade(url)


def test_a_running_server_needs_neither_alembic_nor_the_other_databases_driver(sqlite_url: str) -> None:
    program = (
        "import sys; from controlplane.store import Store;"
        f"store = Store.open({sqlite_url!r}); store.migrate();"
        "store.write(lambda tx: tx.projects.list(None, 1)); store.close();"
        "print([name for name in ('alembic', 'mako', 'psycopg') if name in sys.modules])"
    )
    done = run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
