"""Sites: the Ray clusters of claims, what their machines say, and whose attempts run there."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


# What older rows lack stands for what was usual before: so nothing is rewritten, and an older release reads on.
# `Any`: each kind of column has its own parameter.
COLUMNS: Final[tuple[tuple[str, str, sa.types.TypeEngine[Any]], ...]] = (
    ("claims", "shares", sa.Text()),
    ("claims", "trust_domain", sa.Text()),
    ("claims", "reservation", sa.Text()),
    ("claims", "tries_again", sa.BigInteger()),
    ("claims", "idle_seconds", sa.Double()),
    ("claims", "idle_since", sa.BigInteger()),
    ("attempts", "claim_id", sa.Text()),
    ("nodes", "taints", sa.Text()),
    ("nodes", "leaving_at", sa.BigInteger()),
)


def upgrade() -> None:
    for table, name, kind in COLUMNS:
        op.add_column(table, sa.Column(name, kind, nullable=True))
    on_a_claim = sa.text("claim_id IS NOT NULL AND state <> 'ended'")
    op.create_index(
        "ix_attempts_live_of_claim",
        "attempts",
        ["claim_id"],
        sqlite_where=on_a_claim,
        postgresql_where=on_a_claim,
    )
    op.create_table(
        "sites",
        sa.Column("claim_id", sa.Text(), nullable=False),
        *_texts("url", "secret_id", "head", "head_host"),
        sa.Column("members", sa.Text(), nullable=False),
        *_texts("session"),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        *_texts("problem"),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_sites_claim_id")),
        sa.PrimaryKeyConstraint("claim_id", name=op.f("pk_sites")),
    )
    op.create_table(
        "check_ins",
        sa.Column("claim_id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("launch_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *_texts("notice", "problem"),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_check_ins_claim_id")),
        sa.PrimaryKeyConstraint("claim_id", "machine", name=op.f("pk_check_ins")),
    )


def downgrade() -> None:
    op.drop_table("check_ins")
    op.drop_table("sites")
    op.drop_index("ix_attempts_live_of_claim", "attempts")
    for table, name, _ in reversed(COLUMNS):
        op.drop_column(table, name)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=True) for name in names]
