"""Services, their revisions and replicas, where replicas listen, and what gateways see of them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

EDGES = (
    ("revision", "-", "pending"),
    ("revision", "pending", "deploying"),
    ("revision", "pending", "retired"),
    ("revision", "deploying", "ready"),
    ("revision", "deploying", "failed"),
    ("revision", "deploying", "retiring"),
    ("revision", "ready", "retiring"),
    ("revision", "retiring", "retired"),
)

SQLITE_TRIGGER = """
CREATE TRIGGER revisions_moves BEFORE UPDATE ON revisions
WHEN NEW.state IS NOT OLD.state OR NEW.came_from IS NOT OLD.came_from OR NEW.noun IS NOT OLD.noun
BEGIN
  SELECT RAISE(ABORT, 'revision: illegal move')
  WHERE NEW.came_from IS NOT OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = 'revision' AND from_state = OLD.state AND to_state = NEW.state
  );
END
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER revisions_moves BEFORE UPDATE ON revisions FOR EACH ROW
WHEN (
  NEW.state IS DISTINCT FROM OLD.state
  OR NEW.came_from IS DISTINCT FROM OLD.came_from
  OR NEW.noun IS DISTINCT FROM OLD.noun
)
EXECUTE FUNCTION check_move('revision')
"""


def upgrade() -> None:
    op.bulk_insert(_edges(), [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])
    _services()
    _revisions()
    _replicas()
    _loads()
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(POSTGRESQL_TRIGGER if is_postgresql else SQLITE_TRIGGER)


def downgrade() -> None:
    for table in ("loads", "announcements", "replicas", "revisions", "services"):
        op.drop_table(table)
    edges = _edges()
    op.execute(sa.delete(edges).where(edges.c.noun == "revision"))


def _edges() -> sa.TableClause:
    return sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))


def _services() -> None:
    op.create_table(
        "services",
        *_texts("id", "project_id", "queue_id", "name"),
        *_wholes("created_at", "min_replicas", "max_replicas", "desired", "last_number"),
        *_wholes("lower_since", nullable=True),
        *_wholes("lower_peak"),
        *_wholes("delete_requested_at", "deleted_at", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("version >= 1", name=op.f("ck_services_version")),
        sa.CheckConstraint(
            "min_replicas >= 0 AND max_replicas >= min_replicas", name=op.f("ck_services_replicas")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_services_project_id")),
        sa.ForeignKeyConstraint(["queue_id"], ["queues.id"], name=op.f("fk_services_queue_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
    )
    stands = sa.text("deleted_at IS NULL")
    op.create_index(
        "uq_services_name",
        "services",
        ["project_id", "name"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )


def _revisions() -> None:
    op.create_table(
        "revisions",
        *_texts("id", "service_id"),
        *_wholes("number"),
        *_texts("state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'revision'"), nullable=False),
        *_wholes("since", "created_at"),
        *_texts("created_by", "spec", "template"),
        *_texts("secret_id", nullable=True),
        *_texts("ca_pem"),
        *_wholes("weight_ppm"),
        *_wholes("weighed_at", "ready_at", nullable=True),
        *_texts("reason", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("noun = 'revision'", name=op.f("ck_revisions_noun")),
        sa.CheckConstraint("version >= 1 AND number >= 1", name=op.f("ck_revisions_version")),
        sa.CheckConstraint("weight_ppm = 0 OR state = 'ready'", name=op.f("ck_revisions_weight")),
        sa.CheckConstraint("state <> 'ready' OR ready_at IS NOT NULL", name=op.f("ck_revisions_ready")),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_revisions_service_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_revisions_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint("service_id", "number", name=op.f("uq_revisions_service_id_number")),
    )


def _replicas() -> None:
    op.create_table(
        "replicas",
        *_texts("job_id", "revision_id"),
        *_wholes("ordinal", "turn", "is_surplus", "created_at"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_replicas_job_id")),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_replicas_revision_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_replicas")),
        sa.UniqueConstraint(
            "revision_id", "ordinal", "turn", name=op.f("uq_replicas_revision_id_ordinal_turn")
        ),
    )
    op.create_table(
        "announcements",
        *_texts("attempt_id", "url"),
        *_texts("grpc", nullable=True),
        *_wholes("is_ready", "at"),
        *_wholes("ready_at", nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_announcements_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_announcements")),
    )


def _loads() -> None:
    op.create_table(
        "loads",
        *_texts("service_id"),
        *_wholes("until"),
        *_texts("gateway", "revision_id"),
        *_wholes("since", "in_flight", "waiting", "requests", "errors"),
        *_texts("latency"),
        sa.PrimaryKeyConstraint("service_id", "until", "gateway", "revision_id", name=op.f("pk_loads")),
    )
    op.create_index("ix_loads_until", "loads", ["until"])


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]
