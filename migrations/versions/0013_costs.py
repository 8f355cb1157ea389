"""Costs: rates, what archived attempts have cost, budgets, and for which queue a claim was bought."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "rates",
        *_texts("cluster_id", "flavor", "per"),
        *_wholes("valid_from"),
        *_texts("currency"),
        *_wholes("price_millionths"),
        sa.CheckConstraint("price_millionths >= 0", name=op.f("ck_rates_price")),
        sa.PrimaryKeyConstraint("cluster_id", "flavor", "per", "valid_from", name=op.f("pk_rates")),
    )
    op.create_table(
        "charges",
        *_texts("attempt_id"),
        *_wholes("ordinal"),
        *_texts("project_id", "queue_id", "job_id", "cluster_id"),
        *_texts("claim_id", nullable=True),
        *_wholes("started_at", "ended_at"),
        *_texts("currency", nullable=True),
        *_wholes("rate_millionths", "tasks"),
        sa.CheckConstraint("ended_at >= started_at AND rate_millionths >= 0", name=op.f("ck_charges_span")),
        sa.PrimaryKeyConstraint("attempt_id", "ordinal", name=op.f("pk_charges")),
    )
    op.create_index("ix_charges_ended_at", "charges", ["ended_at"])
    op.create_table(
        "budgets",
        *_texts("queue_id", "currency", "window"),
        *_wholes("limit_millionths"),
        sa.CheckConstraint("limit_millionths >= 0", name=op.f("ck_budgets_limit")),
        sa.PrimaryKeyConstraint("queue_id", "currency", "window", name=op.f("pk_budgets")),
    )
    op.add_column("claims", sa.Column("queue_id", sa.Text(), nullable=True))
    op.add_column("claims", sa.Column("expected_millionths", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("claims", "expected_millionths")
    op.drop_column("claims", "queue_id")
    op.drop_table("budgets")
    op.drop_table("charges")
    op.drop_table("rates")


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]
