"""The tables of copies between object stores, and of the stores that the server may use. See schema.py."""

from typing import Final

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, text

from controlplane.store.schema import METADATA, _key, _moment, _moves, _refers, _text, _whole

OBJECT_STORES: Final = Table(
    "object_stores",
    METADATA,
    _key("name"),
    _text("uri"),
    _text("region"),
    _text("endpoint", nullable=True),
    _text("access_key_id", nullable=True),
    _refers("secret_id", "secrets.id", nullable=True),
    _moment("created_at"),
    _text("near", nullable=True),
)

COPIES: Final = Table(
    "copies",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _text("source"),
    _text("target"),
    *_moves("copy"),
    _moment("since"),
    _moment("created_at"),
    _whole("bytes_per_second", nullable=True),
    _whole("rereads"),
    _moment("cancel_requested_at", nullable=True),
    _whole("failures"),
    _text("problem", nullable=True),
    _whole("version"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("bytes_per_second >= 1", name="pace"),
)
OPEN: Final = text("state IN ('pending', 'copying')")
Index("uq_copies_open_target", COPIES.c.target, unique=True, sqlite_where=OPEN, postgresql_where=OPEN)
Index("ix_copies_target", COPIES.c.target)
Index("ix_copies_of_project", COPIES.c.project_id, COPIES.c.id)

COPY_OBJECTS: Final = Table(
    "copy_objects",
    METADATA,
    _refers("copy_id", "copies.id"),
    _whole("ordinal"),
    _text("source_key"),
    _text("target_key"),
    _whole("size_bytes"),
    _text("source_etag"),
    _whole("part_bytes"),
    _moment("created_at"),
    _text("upload_id", nullable=True),
    _text("etag", nullable=True),
    _moment("finished_at", nullable=True),
    CheckConstraint("(etag IS NULL) = (finished_at IS NULL)", name="finished"),
    CheckConstraint("size_bytes >= 0 AND part_bytes >= 1", name="sizes"),
    PrimaryKeyConstraint("copy_id", "ordinal"),
)

# A checksum is text: it needs all 64 bits, and the databases' whole numbers are signed.
COPY_PARTS: Final = Table(
    "copy_parts",
    METADATA,
    _text("copy_id"),
    _whole("ordinal"),
    _whole("number"),
    _whole("size_bytes"),
    _text("sha256"),
    _text("etag"),
    _text("crc64", nullable=True),
    PrimaryKeyConstraint("copy_id", "ordinal", "number"),
    ForeignKeyConstraint(["copy_id", "ordinal"], ["copy_objects.copy_id", "copy_objects.ordinal"]),
)
