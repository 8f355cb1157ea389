"""Upkeep: what leftovers cost for an hour while they are there."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("strays", sa.Column("hourly_millionths", sa.BigInteger(), nullable=True))
    op.add_column("strays", sa.Column("currency", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("strays", "currency")
    op.drop_column("strays", "hourly_millionths")
