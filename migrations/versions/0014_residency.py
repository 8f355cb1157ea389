"""Residency: where work and data may be, and where clusters and stores are."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "residencies",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("subject", "id", "residency")),
        sa.PrimaryKeyConstraint("subject", "id", name=op.f("pk_residencies")),
    )


def downgrade() -> None:
    op.drop_table("residencies")
