"""Inputs of jobs that are kept near where the jobs run, and the attempts that read them."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

EDGES = (
    ("input", "-", "looking"),
    ("input", "looking", "copying"),
    ("input", "looking", "failed"),
    ("input", "looking", "gone"),
    ("input", "copying", "ready"),
    ("input", "copying", "failed"),
    ("input", "copying", "leaving"),
    ("input", "ready", "copying"),
    ("input", "ready", "leaving"),
    ("input", "failed", "leaving"),
    ("input", "failed", "gone"),
    ("input", "leaving", "gone"),
)

SQLITE_TRIGGER = """
CREATE TRIGGER inputs_moves BEFORE UPDATE ON inputs
WHEN NEW.state IS NOT OLD.state OR NEW.came_from IS NOT OLD.came_from OR NEW.noun IS NOT OLD.noun
BEGIN
  SELECT RAISE(ABORT, 'input: illegal move')
  WHERE NEW.came_from IS NOT OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = 'input' AND from_state = OLD.state AND to_state = NEW.state
  );
END
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER inputs_moves BEFORE UPDATE ON inputs FOR EACH ROW
WHEN (
  NEW.state IS DISTINCT FROM OLD.state
  OR NEW.came_from IS DISTINCT FROM OLD.came_from
  OR NEW.noun IS DISTINCT FROM OLD.noun
)
EXECUTE FUNCTION check_move('input')
"""


def upgrade() -> None:
    op.bulk_insert(_edges(), [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])
    _inputs()
    op.create_table(
        "attempt_inputs",
        *_texts("attempt_id", "input_id"),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_attempt_inputs_attempt_id")),
        sa.ForeignKeyConstraint(["input_id"], ["inputs.id"], name=op.f("fk_attempt_inputs_input_id")),
        sa.PrimaryKeyConstraint("attempt_id", "input_id", name=op.f("pk_attempt_inputs")),
    )
    op.create_index("ix_attempt_inputs_of_input", "attempt_inputs", ["input_id"])
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(POSTGRESQL_TRIGGER if is_postgresql else SQLITE_TRIGGER)


def downgrade() -> None:
    for table in ("attempt_inputs", "inputs"):
        op.drop_table(table)
    edges = _edges()
    op.execute(sa.delete(edges).where(edges.c.noun == "input"))


def _edges() -> sa.TableClause:
    return sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))


def _inputs() -> None:
    op.create_table(
        "inputs",
        *_texts("id", "project_id", "source", "store", "state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'input'"), nullable=False),
        *_wholes("since", "created_at", "asked_at", "used_at"),
        *_texts("address", "target", nullable=True),
        *_wholes("size_bytes"),
        *_texts("copy_id", nullable=True),
        *_wholes("failures"),
        *_texts("problem", nullable=True),
        *_wholes("version"),
        sa.CheckConstraint("noun = 'input'", name=op.f("ck_inputs_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_inputs_version")),
        sa.CheckConstraint("(address IS NULL) = (target IS NULL)", name=op.f("ck_inputs_address")),
        sa.CheckConstraint(
            "state NOT IN ('copying', 'ready') OR copy_id IS NOT NULL", name=op.f("ck_inputs_copied")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_inputs_project_id")),
        sa.ForeignKeyConstraint(["copy_id"], ["copies.id"], name=op.f("fk_inputs_copy_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_inputs_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inputs")),
    )
    _index("ix_inputs_of_source", "source", "store", "asked_at")
    _index("ix_inputs_of_target", "target")
    op.create_index("ix_inputs_of_copy", "inputs", ["copy_id"])


def _index(name: str, *columns: str) -> None:
    is_kept = sa.text("state <> 'gone'")
    op.create_index(name, "inputs", list(columns), sqlite_where=is_kept, postgresql_where=is_kept)


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]
