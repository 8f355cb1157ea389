"""The tables of inputs that are kept near the work, and of the attempts that read them. See schema.py."""

from typing import Final

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, text

from controlplane.store.schema import METADATA, _key, _moment, _moves, _refers, _text, _whole

INPUTS: Final = Table(
    "inputs",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _text("source"),
    _text("store"),
    *_moves("input"),
    _moment("since"),
    _moment("created_at"),
    _moment("asked_at"),
    _moment("used_at"),
    _text("address", nullable=True),
    _text("target", nullable=True),
    _whole("size_bytes"),
    _refers("copy_id", "copies.id", nullable=True),
    _whole("failures"),
    _text("problem", nullable=True),
    _whole("version"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("(address IS NULL) = (target IS NULL)", name="address"),
    CheckConstraint("state NOT IN ('copying', 'ready') OR copy_id IS NOT NULL", name="copied"),
)
NOT_GONE: Final = text("state <> 'gone'")
Index(
    "ix_inputs_of_source",
    INPUTS.c.source,
    INPUTS.c.store,
    INPUTS.c.asked_at,
    sqlite_where=NOT_GONE,
    postgresql_where=NOT_GONE,
)
Index("ix_inputs_of_target", INPUTS.c.target, sqlite_where=NOT_GONE, postgresql_where=NOT_GONE)
Index("ix_inputs_of_copy", INPUTS.c.copy_id)

ATTEMPT_INPUTS: Final = Table(
    "attempt_inputs",
    METADATA,
    _refers("attempt_id", "attempts.id"),
    _refers("input_id", "inputs.id"),
    PrimaryKeyConstraint("attempt_id", "input_id"),
)
Index("ix_attempt_inputs_of_input", ATTEMPT_INPUTS.c.input_id)
