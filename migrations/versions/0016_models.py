"""Models, their versions and gates, and the key that signs manifests."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

EDGES = (
    ("model_version", "-", "candidate"),
    ("model_version", "candidate", "staging"),
    ("model_version", "candidate", "production"),
    ("model_version", "candidate", "archived"),
    ("model_version", "staging", "production"),
    ("model_version", "staging", "archived"),
    ("model_version", "production", "staging"),
    ("model_version", "production", "archived"),
)

SQLITE_TRIGGER = """
CREATE TRIGGER model_versions_moves BEFORE UPDATE ON model_versions
WHEN NEW.state IS NOT OLD.state OR NEW.came_from IS NOT OLD.came_from OR NEW.noun IS NOT OLD.noun
BEGIN
  SELECT RAISE(ABORT, 'model_version: illegal move')
  WHERE NEW.came_from IS NOT OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = 'model_version' AND from_state = OLD.state AND to_state = NEW.state
  );
END
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER model_versions_moves BEFORE UPDATE ON model_versions FOR EACH ROW
WHEN (
  NEW.state IS DISTINCT FROM OLD.state
  OR NEW.came_from IS DISTINCT FROM OLD.came_from
  OR NEW.noun IS DISTINCT FROM OLD.noun
)
EXECUTE FUNCTION check_move('model_version')
"""


def upgrade() -> None:
    op.bulk_insert(_edges(), [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])
    _models()
    _versions()
    _gates()
    _keys()
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(POSTGRESQL_TRIGGER if is_postgresql else SQLITE_TRIGGER)


def downgrade() -> None:
    for table in ("signing_keys", "model_gates", "model_versions", "models"):
        op.drop_table(table)
    edges = _edges()
    op.execute(sa.delete(edges).where(edges.c.noun == "model_version"))


def _edges() -> sa.TableClause:
    return sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))


def _models() -> None:
    op.create_table(
        "models",
        *_texts("id", "project_id", "name", "description"),
        *_wholes("created_at", "last_number", "version"),
        sa.CheckConstraint("version >= 1", name=op.f("ck_models_version")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_models_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_models_project_id_name")),
    )
    op.create_index("ix_models_of_project", "models", ["project_id", "id"])


def _versions() -> None:
    op.create_table(
        "model_versions",
        *_texts("id", "model_id"),
        *_wholes("number"),
        *_texts("state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'model_version'"), nullable=False),
        *_wholes("since", "created_at"),
        *_texts("manifest", "signature", "key_id"),
        *_wholes("promoted_at", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("noun = 'model_version'", name=op.f("ck_model_versions_noun")),
        sa.CheckConstraint("version >= 1 AND number >= 1", name=op.f("ck_model_versions_version")),
        sa.CheckConstraint(
            "state <> 'production' OR promoted_at IS NOT NULL", name=op.f("ck_model_versions_promoted")
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_versions_model_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_model_versions_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_model_versions_model_id_number")),
    )
    serves = sa.text("state = 'production'")
    op.create_index(
        "uq_model_versions_production",
        "model_versions",
        ["model_id"],
        unique=True,
        sqlite_where=serves,
        postgresql_where=serves,
    )


def _gates() -> None:
    op.create_table(
        "model_gates",
        *_texts("model_id", "name", "metric", "comparison"),
        sa.Column("bound", sa.Double(), nullable=True),
        sa.Column("slack", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "(bound IS NOT NULL OR slack IS NOT NULL) AND coalesce(slack, 0) >= 0",
            name=op.f("ck_model_gates_bound"),
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_gates_model_id")),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_model_gates")),
    )


def _keys() -> None:
    op.create_table(
        "signing_keys",
        *_texts("purpose", "key_id", "public_pem", "secret_id"),
        *_wholes("created_at"),
        sa.ForeignKeyConstraint(["secret_id"], ["secrets.id"], name=op.f("fk_signing_keys_secret_id")),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_signing_keys")),
    )


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]
