"""Executions of pipelines, their steps, and schedules."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

EDGES = (
    ("execution", "-", "waiting"),
    ("execution", "waiting", "running"),
    ("execution", "waiting", "cancelled"),
    ("execution", "running", "succeeded"),
    ("execution", "running", "failed"),
    ("execution", "running", "cancelled"),
    ("step", "-", "pending"),
    ("step", "pending", "ready"),
    ("step", "pending", "skipped"),
    ("step", "pending", "cancelled"),
    ("step", "ready", "running"),
    ("step", "ready", "cached"),
    ("step", "ready", "failed"),
    ("step", "ready", "cancelled"),
    ("step", "running", "ready"),
    ("step", "running", "checking"),
    ("step", "running", "succeeded"),
    ("step", "running", "failed"),
    ("step", "running", "cancelled"),
    ("step", "checking", "ready"),
    ("step", "checking", "succeeded"),
    ("step", "checking", "failed"),
    ("step", "checking", "cancelled"),
)
NOUNS = {"executions": "execution", "steps": "step"}

SQLITE_TRIGGER = """
CREATE TRIGGER {table}_moves BEFORE UPDATE ON {table}
WHEN NEW.state IS NOT OLD.state OR NEW.came_from IS NOT OLD.came_from OR NEW.noun IS NOT OLD.noun
BEGIN
  SELECT RAISE(ABORT, '{noun}: illegal move')
  WHERE NEW.came_from IS NOT OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = '{noun}' AND from_state = OLD.state AND to_state = NEW.state
  );
END
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER {table}_moves BEFORE UPDATE ON {table} FOR EACH ROW
WHEN (
  NEW.state IS DISTINCT FROM OLD.state
  OR NEW.came_from IS DISTINCT FROM OLD.came_from
  OR NEW.noun IS DISTINCT FROM OLD.noun
)
EXECUTE FUNCTION check_move('{noun}')
"""


def upgrade() -> None:
    op.bulk_insert(_edges(), [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])
    _executions()
    _steps()
    _schedules()
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    trigger = POSTGRESQL_TRIGGER if is_postgresql else SQLITE_TRIGGER
    for table, noun in NOUNS.items():
        op.execute(trigger.format(table=table, noun=noun))


def downgrade() -> None:
    for table in ("schedules", "steps", "executions"):
        op.drop_table(table)
    edges = _edges()
    op.execute(sa.delete(edges).where(edges.c.noun.in_(NOUNS.values())))


def _edges() -> sa.TableClause:
    return sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))


def _executions() -> None:
    op.create_table(
        "executions",
        *_texts("id", "project_id", "name", "token_id", "spec"),
        *_wholes("schema_version"),
        *_texts("outputs_uri", "state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'execution'"), nullable=False),
        *_wholes("since", "created_at"),
        *_wholes("paused_at", "cancel_requested_at", nullable=True),
        *_texts("retry_of", "schedule_id", nullable=True),
        *_wholes("tick", nullable=True),
        *_texts("reason", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("noun = 'execution'", name=op.f("ck_executions_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_executions_version")),
        sa.CheckConstraint("(schedule_id IS NULL) = (tick IS NULL)", name=op.f("ck_executions_tick")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_executions_project_id")),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_executions_token_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_executions_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executions")),
        sa.UniqueConstraint("schedule_id", "tick", name=op.f("uq_executions_schedule_id_tick")),
    )
    op.create_index("ix_executions_of_project", "executions", ["project_id", "id"])
    _partial("ix_executions_open", "executions", ["id"], "state IN ('waiting', 'running')")


def _steps() -> None:
    op.create_table(
        "steps",
        *_texts("id", "execution_id"),
        *_wholes("position"),
        *_texts("name", "state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'step'"), nullable=False),
        *_wholes("since", "number"),
        *_texts("job_id", "cache_key", "taken_from", nullable=True),
        *_wholes("not_before", nullable=True),
        *_texts("outputs"),
        *_texts("reason", nullable=True),
        *_wholes("begun_at", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("noun = 'step'", name=op.f("ck_steps_noun")),
        sa.CheckConstraint("version >= 1 AND number >= 0", name=op.f("ck_steps_version")),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], name=op.f("fk_steps_execution_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_steps_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        sa.UniqueConstraint("execution_id", "position", name=op.f("uq_steps_execution_id_position")),
        sa.UniqueConstraint("execution_id", "name", name=op.f("uq_steps_execution_id_name")),
    )
    _partial("ix_steps_running", "steps", ["job_id"], "state = 'running' AND job_id IS NOT NULL")
    _partial("ix_steps_kept", "steps", ["cache_key", "id"], "state = 'succeeded' AND cache_key IS NOT NULL")


def _schedules() -> None:
    op.create_table(
        "schedules",
        *_texts("id", "project_id", "name", "spec"),
        *_wholes("schema_version"),
        *_texts("cron", "zone", "overlap", "token_id"),
        *_wholes("created_at", "next_at"),
        *_wholes("last_at", nullable=True),
        *_texts("problem", nullable=True),
        *_wholes("paused_at", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("version >= 1", name=op.f("ck_schedules_version")),
        sa.CheckConstraint("overlap IN ('skip', 'queue')", name=op.f("ck_schedules_overlap")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_schedules_project_id")),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_schedules_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_schedules_project_id_name")),
    )


def _partial(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]
