"""The tables of services, their revisions and replicas, and of what gateways see of them. See schema.py."""

from typing import Final

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy import UniqueConstraint as Unique

from controlplane.store.schema import METADATA, _key, _moment, _moves, _refers, _text, _whole

SERVICES: Final = Table(
    "services",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _refers("queue_id", "queues.id"),
    _text("name"),
    _moment("created_at"),
    _whole("min_replicas"),
    _whole("max_replicas"),
    _whole("desired"),
    _whole("last_number"),
    _moment("lower_since", nullable=True),
    _whole("lower_peak"),
    _moment("delete_requested_at", nullable=True),
    _moment("deleted_at", nullable=True),
    _whole("version"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("min_replicas >= 0 AND max_replicas >= min_replicas", name="replicas"),
)
STANDS: Final = text("deleted_at IS NULL")
Index(
    "uq_services_name",
    SERVICES.c.project_id,
    SERVICES.c.name,
    unique=True,
    sqlite_where=STANDS,
    postgresql_where=STANDS,
)

REVISIONS: Final = Table(
    "revisions",
    METADATA,
    _key(),
    _refers("service_id", "services.id"),
    _whole("number"),
    *_moves("revision"),
    _moment("since"),
    _moment("created_at"),
    _text("created_by"),
    _text("spec"),
    _text("template"),
    _text("secret_id", nullable=True),
    _text("ca_pem"),
    _whole("weight_ppm"),
    _moment("weighed_at", nullable=True),
    _moment("ready_at", nullable=True),
    _text("reason", nullable=True),
    _whole("version"),
    Unique("service_id", "number"),
    CheckConstraint("version >= 1 AND number >= 1", name="version"),
    CheckConstraint("weight_ppm = 0 OR state = 'ready'", name="weight"),
    CheckConstraint("state <> 'ready' OR ready_at IS NOT NULL", name="ready"),
)

REPLICAS: Final = Table(
    "replicas",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    _refers("revision_id", "revisions.id"),
    _whole("ordinal"),
    _whole("turn"),
    _whole("is_surplus"),
    _moment("created_at"),
    Unique("revision_id", "ordinal", "turn"),
)

ANNOUNCEMENTS: Final = Table(
    "announcements",
    METADATA,
    Column("attempt_id", Text, ForeignKey("attempts.id"), primary_key=True),
    _text("url"),
    _text("grpc", nullable=True),
    _whole("is_ready"),
    _moment("at"),
    _moment("ready_at", nullable=True),
)

# A load refers to nothing: what it speaks of may go, and it goes soon itself. No revision is the empty text.
LOADS: Final = Table(
    "loads",
    METADATA,
    _text("service_id"),
    _moment("until"),
    _text("gateway"),
    _text("revision_id"),
    _moment("since"),
    *(_whole(name) for name in ("in_flight", "waiting", "requests", "errors")),
    _text("latency"),
    PrimaryKeyConstraint("service_id", "until", "gateway", "revision_id"),
    Index("ix_loads_until", "until"),
)
