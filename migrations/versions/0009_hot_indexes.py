"""Hot indexes: what is counted and summed again and again is found in an index alone, and the feed by its number."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

LIVE = "state <> 'ended'"
BOOKED = "released_at IS NULL"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # All rows have the same xid there, and are numbered in the feed's order.
        op.drop_index("ix_events_feed", "events")
    _live_of_cluster("cluster_id", "state")
    _booked("node_id", "custom_milli", "cpu_milli", "memory_bytes", "gpu_milli", "released_at")
    op.create_index("ix_nodes_cluster_id", "nodes", ["cluster_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_nodes_cluster_id", "nodes")
    _booked("node_id")
    _live_of_cluster("cluster_id")
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_events_feed", "events", ["xid", "seq"])


def _live_of_cluster(*columns: str) -> None:
    _partial("ix_attempts_live_of_cluster", "attempts", columns, where=LIVE)


def _booked(*columns: str) -> None:
    _partial("ix_seats_booked", "seats", columns, where=BOOKED)


def _partial(name: str, table: str, columns: tuple[str, ...], *, where: str) -> None:
    op.drop_index(name, table)
    condition = sa.text(where)
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
