"""Copies between object stores, their objects and parts, and the stores that the server may use."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

EDGES = (
    ("copy", "-", "pending"),
    ("copy", "pending", "copying"),
    ("copy", "pending", "failed"),
    ("copy", "pending", "cancelled"),
    ("copy", "copying", "done"),
    ("copy", "copying", "failed"),
    ("copy", "copying", "cancelled"),
)

SQLITE_TRIGGER = """
CREATE TRIGGER copies_moves BEFORE UPDATE ON copies
WHEN NEW.state IS NOT OLD.state OR NEW.came_from IS NOT OLD.came_from OR NEW.noun IS NOT OLD.noun
BEGIN
  SELECT RAISE(ABORT, 'copy: illegal move')
  WHERE NEW.came_from IS NOT OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = 'copy' AND from_state = OLD.state AND to_state = NEW.state
  );
END
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER copies_moves BEFORE UPDATE ON copies FOR EACH ROW
WHEN (
  NEW.state IS DISTINCT FROM OLD.state
  OR NEW.came_from IS DISTINCT FROM OLD.came_from
  OR NEW.noun IS DISTINCT FROM OLD.noun
)
EXECUTE FUNCTION check_move('copy')
"""


def upgrade() -> None:
    op.bulk_insert(_edges(), [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])
    _object_stores()
    _copies()
    _objects()
    _parts()
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(POSTGRESQL_TRIGGER if is_postgresql else SQLITE_TRIGGER)


def downgrade() -> None:
    for table in ("copy_parts", "copy_objects", "copies", "object_stores"):
        op.drop_table(table)
    edges = _edges()
    op.execute(sa.delete(edges).where(edges.c.noun == "copy"))


def _edges() -> sa.TableClause:
    return sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))


def _object_stores() -> None:
    op.create_table(
        "object_stores",
        *_texts("name", "uri", "region"),
        *_texts("endpoint", "access_key_id", "secret_id", nullable=True),
        *_wholes("created_at"),
        sa.ForeignKeyConstraint(["secret_id"], ["secrets.id"], name=op.f("fk_object_stores_secret_id")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_object_stores")),
    )


def _copies() -> None:
    op.create_table(
        "copies",
        *_texts("id", "project_id", "source", "target", "state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'copy'"), nullable=False),
        *_wholes("since", "created_at", "rereads", "failures", "version"),
        *_wholes("bytes_per_second", "cancel_requested_at", nullable=True),
        *_texts("problem", nullable=True),
        sa.CheckConstraint("noun = 'copy'", name=op.f("ck_copies_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_copies_version")),
        sa.CheckConstraint("bytes_per_second >= 1", name=op.f("ck_copies_pace")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_copies_project_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_copies_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copies")),
    )
    is_open = sa.text("state IN ('pending', 'copying')")
    op.create_index(
        "uq_copies_open_target",
        "copies",
        ["target"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("ix_copies_of_project", "copies", ["project_id", "id"])


def _objects() -> None:
    op.create_table(
        "copy_objects",
        *_texts("copy_id"),
        *_wholes("ordinal"),
        *_texts("source_key", "target_key"),
        *_wholes("size_bytes"),
        *_texts("source_etag"),
        *_wholes("part_bytes", "created_at"),
        *_texts("upload_id", "etag", nullable=True),
        *_wholes("finished_at", nullable=True),
        sa.CheckConstraint("(etag IS NULL) = (finished_at IS NULL)", name=op.f("ck_copy_objects_finished")),
        sa.CheckConstraint("size_bytes >= 0 AND part_bytes >= 1", name=op.f("ck_copy_objects_sizes")),
        sa.ForeignKeyConstraint(["copy_id"], ["copies.id"], name=op.f("fk_copy_objects_copy_id")),
        sa.PrimaryKeyConstraint("copy_id", "ordinal", name=op.f("pk_copy_objects")),
    )


def _parts() -> None:
    op.create_table(
        "copy_parts",
        *_texts("copy_id"),
        *_wholes("ordinal", "number", "size_bytes"),
        *_texts("sha256", "etag"),
        *_texts("crc64", nullable=True),
        sa.ForeignKeyConstraint(
            ["copy_id", "ordinal"],
            ["copy_objects.copy_id", "copy_objects.ordinal"],
            name=op.f("fk_copy_parts_copy_id"),
        ),
        sa.PrimaryKeyConstraint("copy_id", "ordinal", "number", name=op.f("pk_copy_parts")),
    )


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]
