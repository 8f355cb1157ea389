"""Quotas: the tree of cohorts and queues, flavors, what asks want beside amounts, and what a policy must find again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("asks", sa.Column("traits", sa.Text(), nullable=True))
    op.create_table(
        "quota_nodes",
        *_texts("id", "name"),
        *_wholes("is_cohort"),
        sa.Column("parent_id", sa.Text(), nullable=True),
        *_texts("settings"),
        *_wholes("version"),
        sa.CheckConstraint("version >= 1", name=op.f("ck_quota_nodes_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_nodes")),
        sa.UniqueConstraint("is_cohort", "name", name=op.f("uq_quota_nodes_is_cohort_name")),
    )
    op.create_table(
        "flavors",
        *_texts("name"),
        *_wholes("rank"),
        *_texts("rule"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_flavors")),
    )
    _memory()


def downgrade() -> None:
    for table in ("past_uses", "reservations", "verdicts", "nominations", "flavors", "quota_nodes"):
        op.drop_table(table)
    op.drop_column("asks", "traits")


def _memory() -> None:
    op.create_table(
        "nominations",
        *_texts("ask_id", "cluster_id", "seats"),
        *_wholes("until"),
        sa.PrimaryKeyConstraint("ask_id", name=op.f("pk_nominations")),
    )
    op.create_table(
        "verdicts",
        *_texts("winner", "loser"),
        sa.PrimaryKeyConstraint("winner", "loser", name=op.f("pk_verdicts")),
    )
    op.create_table(
        "reservations",
        *_texts("ask_id", "cluster_id", "seats"),
        *_wholes("starts_at", "ends_at"),
        sa.PrimaryKeyConstraint("ask_id", name=op.f("pk_reservations")),
    )
    op.create_table(
        "past_uses",
        *_texts("queue_id"),
        *_wholes("epoch", "used_ppm"),
        sa.PrimaryKeyConstraint("queue_id", name=op.f("pk_past_uses")),
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in names]
