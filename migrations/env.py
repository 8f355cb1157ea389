"""Runs migrations on the connection that the store opened for them."""

from alembic import context
from sqlalchemy import text

from controlplane.store.schema import METADATA

LOCK_NUMBER = 7_203_915
"""Migrations' own among PostgreSQL's advisory locks; object stores and quotas have others. SQLite's transaction has
locked everything already."""

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK_NUMBER})
context.configure(connection=connection, target_metadata=METADATA, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
