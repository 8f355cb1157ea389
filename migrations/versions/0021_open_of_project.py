"""Open executions by project: each new one asks how many there are."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    is_open = sa.text("state IN ('waiting', 'running')")
    op.create_index(
        "ix_executions_open_of_project",
        "executions",
        ["project_id"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def downgrade() -> None:
    op.drop_index("ix_executions_open_of_project", "executions")
