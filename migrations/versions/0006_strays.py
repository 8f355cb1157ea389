"""Strays: what purchases left behind beside machines; and when a claim's machines end by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("claims", sa.Column("renewed_until", sa.BigInteger(), nullable=True))
    op.create_table(
        "strays",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("cluster_id", "kind", "zone", "name")),
        sa.Column("claim_id", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("cluster_id", "kind", "zone", "name", name=op.f("pk_strays")),
    )


def downgrade() -> None:
    op.drop_table("strays")
    op.drop_column("claims", "renewed_until")
