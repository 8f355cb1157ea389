"""Offers: what clouds sell, and when each was last asked."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "offers",
        *_texts("cluster_id", "machine_type", "zone", "capacity_type"),
        *_wholes("cpu_milli", "memory_bytes", "gpu_milli"),
        *_texts("custom_milli"),
        *_texts("accelerator", nullable=True),
        *_wholes("price_millionths", nullable=True),
        *_texts("currency", nullable=True),
        *_wholes("price_as_of", nullable=True),
        *_wholes("is_price_verified"),
        sa.Column("boot_seconds", sa.Double(), nullable=False),
        sa.Column("interruptions_per_hour", sa.Double(), nullable=False),
        *_wholes("refusals"),
        *_wholes("cool_until", nullable=True),
        sa.CheckConstraint(
            "cpu_milli >= 0 AND memory_bytes >= 0 AND gpu_milli >= 0", name=op.f("ck_offers_amounts")
        ),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_offers_cluster_id")),
        sa.PrimaryKeyConstraint(
            "cluster_id", "machine_type", "zone", "capacity_type", name=op.f("pk_offers")
        ),
    )
    op.create_table(
        "offer_lists",
        *_texts("cluster_id"),
        *_wholes("listed_at", nullable=True),
        *_texts("problem", nullable=True),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_offer_lists_cluster_id")),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_offer_lists")),
    )


def downgrade() -> None:
    op.drop_table("offer_lists")
    op.drop_table("offers")


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=nullable) for name in names]
