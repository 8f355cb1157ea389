"""Claims: bought capacity, the calls that bought it, and the machines that nobody claims."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

EDGES = (
    ("claim", "-", "requested"),
    ("claim", "requested", "launching"),
    ("claim", "requested", "gone"),
    ("claim", "launching", "ready"),
    ("claim", "launching", "terminating"),
    ("claim", "launching", "gone"),
    ("claim", "ready", "draining"),
    ("claim", "ready", "terminating"),
    ("claim", "draining", "ready"),
    ("claim", "draining", "terminating"),
    ("claim", "terminating", "gone"),
)

SQLITE_TRIGGER = """
CREATE TRIGGER claims_moves BEFORE UPDATE ON claims
WHEN NEW.state IS NOT OLD.state OR NEW.came_from IS NOT OLD.came_from OR NEW.noun IS NOT OLD.noun
BEGIN
  SELECT RAISE(ABORT, 'claim: illegal move')
  WHERE NEW.came_from IS NOT OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = 'claim' AND from_state = OLD.state AND to_state = NEW.state
  );
END
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER claims_moves BEFORE UPDATE ON claims FOR EACH ROW
WHEN (
  NEW.state IS DISTINCT FROM OLD.state
  OR NEW.came_from IS DISTINCT FROM OLD.came_from
  OR NEW.noun IS DISTINCT FROM OLD.noun
)
EXECUTE FUNCTION check_move('claim')
"""


def upgrade() -> None:
    op.bulk_insert(_edges(), [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])
    _claims()
    _launches()
    _orphans()
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(POSTGRESQL_TRIGGER if is_postgresql else SQLITE_TRIGGER)


def downgrade() -> None:
    for table in ("orphans", "launches", "claims"):
        op.drop_table(table)
    edges = _edges()
    op.execute(sa.delete(edges).where(edges.c.noun == "claim"))


def _edges() -> sa.TableClause:
    return sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))


def _claims() -> None:
    op.create_table(
        "claims",
        *_texts("id", "cluster_id", "machine_type", "capacity_type", "zones"),
        *_wholes("machines_min", "machines_want"),
        *_texts("state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'claim'"), nullable=False),
        *_wholes("since", "created_at", "generation", "version"),
        *_wholes("release_requested_at", "last_launch_at", "missing_since", nullable=True),
        *_texts("problem", nullable=True),
        sa.CheckConstraint("noun = 'claim'", name=op.f("ck_claims_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_claims_version")),
        sa.CheckConstraint(
            "machines_min >= 1 AND machines_want >= machines_min", name=op.f("ck_claims_machines")
        ),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_claims_cluster_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_claims_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
    )
    live = sa.text("state <> 'gone'")
    op.create_index(
        "ix_claims_live_of_cluster", "claims", ["cluster_id", "id"], sqlite_where=live, postgresql_where=live
    )


def _launches() -> None:
    op.create_table(
        "launches",
        *_texts("id", "claim_id"),
        *_wholes("generation", "ordinal"),
        *_texts("zone"),
        *_wholes("machines", "created_at"),
        *_wholes("resolved_at", nullable=True),
        *_texts("outcome", "problem", nullable=True),
        sa.CheckConstraint("machines >= 1", name=op.f("ck_launches_machines")),
        sa.CheckConstraint("(outcome IS NULL) = (resolved_at IS NULL)", name=op.f("ck_launches_outcome")),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_launches_claim_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_launches")),
        sa.UniqueConstraint(
            "claim_id", "generation", "ordinal", name=op.f("uq_launches_claim_id_generation_ordinal")
        ),
    )
    is_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_launches_open",
        "launches",
        ["claim_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def _orphans() -> None:
    op.create_table(
        "orphans",
        *_texts("cluster_id", "name", "zone", "claim_id", "launch_id"),
        *_wholes("seen_at"),
        sa.PrimaryKeyConstraint("cluster_id", "name", name=op.f("pk_orphans")),
    )


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]
