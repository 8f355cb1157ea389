"""The tables of models, their versions and gates, and of the keys that sign manifests. See schema.py."""

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from controlplane.store.schema import METADATA, _key, _moment, _moves, _refers, _text, _whole

MODELS: Final = Table(
    "models",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _text("name"),
    _text("description"),
    _moment("created_at"),
    _whole("last_number"),
    _whole("version"),
    UniqueConstraint("project_id", "name"),
    CheckConstraint("version >= 1", name="version"),
)
Index("ix_models_of_project", MODELS.c.project_id, MODELS.c.id)

# A manifest names jobs and uploads without referring to them: they may be archived, its facts stay.
MODEL_VERSIONS: Final = Table(
    "model_versions",
    METADATA,
    _key(),
    _refers("model_id", "models.id"),
    _whole("number"),
    *_moves("model_version"),
    _moment("since"),
    _moment("created_at"),
    _text("manifest"),
    _text("signature"),
    _text("key_id"),
    _moment("promoted_at", nullable=True),
    _whole("version"),
    UniqueConstraint("model_id", "number"),
    CheckConstraint("version >= 1 AND number >= 1", name="version"),
    CheckConstraint("state <> 'production' OR promoted_at IS NOT NULL", name="promoted"),
)
SERVES: Final = text("state = 'production'")
Index(
    "uq_model_versions_production",
    MODEL_VERSIONS.c.model_id,
    unique=True,
    sqlite_where=SERVES,
    postgresql_where=SERVES,
)

MODEL_GATES: Final = Table(
    "model_gates",
    METADATA,
    _refers("model_id", "models.id"),
    *(_text(name) for name in ("name", "metric", "comparison")),
    Column("bound", Double, nullable=True),
    Column("slack", Double, nullable=True),
    PrimaryKeyConstraint("model_id", "name"),
    CheckConstraint("(bound IS NOT NULL OR slack IS NOT NULL) AND coalesce(slack, 0) >= 0", name="bound"),
)

SIGNING_KEYS: Final = Table(
    "signing_keys",
    METADATA,
    _key("purpose"),
    _text("key_id"),
    _text("public_pem"),
    _refers("secret_id", "secrets.id"),
    _moment("created_at"),
)
