"""Warnings: what we may not see or do in a cluster."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("clusters", sa.Column("warnings", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("clusters", "warnings")
