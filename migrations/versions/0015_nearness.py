"""Nearness: whose checkpoints an object store keeps, and copies by where they go."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("object_stores", sa.Column("near", sa.Text(), nullable=True))
    op.create_index("ix_copies_target", "copies", ["target"])


def downgrade() -> None:
    op.drop_index("ix_copies_target", "copies")
    op.drop_column("object_stores", "near")
