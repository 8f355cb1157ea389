"""Open executions by schedule: every look at one of them asks for the others, however many are over."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    is_open = sa.text("state IN ('waiting', 'running')")
    op.create_index(
        "ix_executions_open_of_schedule",
        "executions",
        ["schedule_id", "tick"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def downgrade() -> None:
    op.drop_index("ix_executions_open_of_schedule", "executions")
