"""The tables, as the newest migration leaves them; a test compares the two on both databases.

Times are microseconds since the epoch in BIGINT columns, JSON is text, ids are text: every value crosses the driver
as it is, so rows need no type adapters on either database.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

NAMES: Final = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
METADATA: Final = MetaData(naming_convention=NAMES)

ONLY_ON: Final = "only on"
"""Names the one database that has an index, in what is said about it."""

# `Any`: a column's type parameter says nothing here; rows are typed where they become objects.
AnyColumn = Column[Any]


def _key(name: str = "id") -> AnyColumn:
    return Column(name, Text, primary_key=True)


def _text(name: str, *items: SchemaItem, nullable: bool = False) -> AnyColumn:
    return Column(name, Text, *items, nullable=nullable)


def _whole(name: str, *, nullable: bool = False) -> AnyColumn:
    return Column(name, BigInteger, nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> AnyColumn:
    """Microseconds since the epoch."""
    return Column(name, BigInteger, nullable=nullable)


def _refers(name: str, target: str, *, nullable: bool = False) -> AnyColumn:
    return Column(name, Text, ForeignKey(target), nullable=nullable)


def _amounts(prefix: str = "") -> Sequence[SchemaItem]:
    numbers = [f"{prefix}{name}" for name in ("cpu_milli", "memory_bytes", "gpu_milli")]
    positive = " AND ".join(f"{name} >= 0" for name in numbers)
    return (
        *(_whole(name) for name in numbers),
        _text(f"{prefix}custom_milli"),
        CheckConstraint(positive, name=f"{prefix}amounts"),
    )


def _moves(noun: str) -> Sequence[SchemaItem]:
    """State, and where it came from: a pair that the edges table knows. A trigger beside it watches each move."""
    return (
        _text("state"),
        _text("came_from"),
        Column("noun", Text, nullable=False, server_default=text(f"'{noun}'")),
        CheckConstraint(f"noun = '{noun}'", name="noun"),
        ForeignKeyConstraint(
            ["noun", "came_from", "state"], ["edges.noun", "edges.from_state", "edges.to_state"]
        ),
    )


EDGES: Final = Table("edges", METADATA, _key("noun"), _key("from_state"), _key("to_state"))

PROJECTS: Final = Table(
    "projects", METADATA, _key(), _text("name"), _moment("created_at"), UniqueConstraint("name")
)

QUEUES: Final = Table(
    "queues",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _text("name"),
    _moment("created_at"),
    UniqueConstraint("project_id", "name"),
)

JOBS: Final = Table(
    "jobs",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _refers("queue_id", "queues.id"),
    _text("name"),
    _text("kind"),
    _whole("priority"),
    *_moves("job"),
    _moment("since"),
    _moment("submitted_at"),
    _whole("version"),
    _text("retry"),
    Column("max_runtime_seconds", Double, nullable=True),
    _text("depends_on"),
    _refers("retry_of", "jobs.id", nullable=True),
    _moment("cancel_requested_at", nullable=True),
    _text("reason", nullable=True),
    _text("spec"),
    _whole("schema_version"),
    CheckConstraint("version >= 1", name="version"),
    Index("ix_jobs_newest", "submitted_at", "id"),
    Index("ix_jobs_newest_of_project", "project_id", "submitted_at", "id"),
    Index("ix_jobs_newest_of_bucket", "queue_id", "state", "kind", "submitted_at", "id"),
    Index("ix_jobs_newest_of_name", "name", "submitted_at", "id"),
)
IS_RETRY: Final = text("retry_of IS NOT NULL")
Index("ix_jobs_retry_of", JOBS.c.retry_of, sqlite_where=IS_RETRY, postgresql_where=IS_RETRY)
OPEN_JOBS: Final = text("state IN ('held', 'queued', 'active')")
Index("ix_jobs_open", JOBS.c.state, JOBS.c.id, sqlite_where=OPEN_JOBS, postgresql_where=OPEN_JOBS)

# Triggers keep both. SQLite, where writers queue anyway, counts in the first. PostgreSQL adds a row to the second for
# every change, so that no writer waits for another one's row; `counts` folds them into the first by and by.
JOB_COUNTS: Final = Table(
    "job_counts",
    METADATA,
    _key("project_id"),
    _key("queue_id"),
    _key("state"),
    _key("kind"),
    _whole("jobs"),
)
JOB_COUNT_CHANGES: Final = Table(
    "job_count_changes",
    METADATA,
    _text("project_id"),
    _text("queue_id"),
    _text("state"),
    _text("kind"),
    _whole("jobs"),
)

JOB_LABELS: Final = Table(
    "job_labels",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    _key("name"),
    _text("value"),
    _moment("submitted_at"),
    Index("ix_job_labels_newest", "name", "value", "submitted_at", "job_id"),
)

DEPENDENCIES: Final = Table(
    "dependencies",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("needs_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Index("ix_dependencies_needs_id", "needs_id"),
)

ASKS: Final = Table(
    "asks",
    METADATA,
    _key(),
    _refers("job_id", "jobs.id"),
    _refers("queue_id", "queues.id"),
    _whole("ordinal"),
    _whole("tasks"),
    *_amounts(),
    _text("accelerator", nullable=True),
    _text("class_id"),
    _whole("priority"),
    _moment("submitted_at"),
    _moment("not_before", nullable=True),
    _text("traits", nullable=True),
    CheckConstraint("tasks >= 1", name="tasks"),
    UniqueConstraint("job_id", "ordinal"),
)

CLUSTERS: Final = Table(
    "clusters",
    METADATA,
    _key(),
    _text("name"),
    _text("adapter"),
    *_moves("cluster"),
    _moment("since"),
    _moment("created_at"),
    _whole("version"),
    _text("url", nullable=True),
    _text("secret_id", nullable=True),
    _text("gpu_resource"),
    _text("session", nullable=True),
    _text("trust_domain"),
    _text("settings"),
    _moment("cordoned_at", nullable=True),
    _moment("drain_requested_at", nullable=True),
    _moment("detach_requested_at", nullable=True),
    _moment("last_seen_at", nullable=True),
    _text("problem", nullable=True),
    _text("warnings", nullable=True),
    CheckConstraint("version >= 1", name="version"),
)
ATTACHED: Final = text("state <> 'detached'")
Index("uq_clusters_name", CLUSTERS.c.name, unique=True, sqlite_where=ATTACHED, postgresql_where=ATTACHED)

NODES: Final = Table(
    "nodes",
    METADATA,
    _key(),
    _refers("cluster_id", "clusters.id"),
    _text("name"),
    _text("host"),
    *_amounts("allocatable_"),
    *_amounts("foreign_"),
    _text("accelerator", nullable=True),
    _text("labels"),
    _moment("seen_at"),
    _moment("cordoned_at", nullable=True),
    _moment("gone_at", nullable=True),
    _text("taints", nullable=True),
    _moment("leaving_at", nullable=True),
)
Index("ix_nodes_cluster_id", NODES.c.cluster_id, NODES.c.id)
PRESENT: Final = text("gone_at IS NULL")
Index(
    "uq_nodes_name",
    NODES.c.cluster_id,
    NODES.c.name,
    unique=True,
    sqlite_where=PRESENT,
    postgresql_where=PRESENT,
)

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    _key(),
    _refers("job_id", "jobs.id"),
    _refers("ask_id", "asks.id"),
    _refers("project_id", "projects.id"),
    _refers("cluster_id", "clusters.id"),
    _whole("number"),
    *_moves("attempt"),
    _moment("since"),
    _moment("placed_at"),
    _whole("version"),
    _text("outcome", nullable=True),
    _whole("exit_code", nullable=True),
    _text("reason", nullable=True),
    _moment("started_at", nullable=True),
    _moment("ended_at", nullable=True),
    _moment("lease_until", nullable=True),
    _text("stop_outcome", nullable=True),
    _moment("stop_requested_at", nullable=True),
    _text("session", nullable=True),
    _text("claim_id", nullable=True),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("(outcome IS NOT NULL) = (state = 'ended')", name="outcome"),
    CheckConstraint("(ended_at IS NOT NULL) = (state = 'ended')", name="ended_at"),
    UniqueConstraint("job_id", "number"),
    Index("ix_attempts_ask_id", "ask_id"),
)
LIVE: Final = text("state <> 'ended'")
Index("uq_attempts_live", ATTEMPTS.c.ask_id, unique=True, sqlite_where=LIVE, postgresql_where=LIVE)
# Starts in flight are counted in the index alone.
Index(
    "ix_attempts_live_of_cluster",
    ATTEMPTS.c.cluster_id,
    ATTEMPTS.c.state,
    sqlite_where=LIVE,
    postgresql_where=LIVE,
)
ON_A_CLAIM: Final = text("claim_id IS NOT NULL AND state <> 'ended'")
Index("ix_attempts_live_of_claim", ATTEMPTS.c.claim_id, sqlite_where=ON_A_CLAIM, postgresql_where=ON_A_CLAIM)

SEATS: Final = Table(
    "seats",
    METADATA,
    Column("attempt_id", Text, ForeignKey("attempts.id"), primary_key=True),
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    _refers("node_id", "nodes.id"),
    *_amounts(),
    _refers("heir", "asks.id", nullable=True),
    _moment("released_at", nullable=True),
    Index("ix_seats_node_id", "node_id"),
)
INHERITED: Final = text("heir IS NOT NULL")
Index("ix_seats_heir", SEATS.c.heir, sqlite_where=INHERITED, postgresql_where=INHERITED)
BOOKED: Final = text("released_at IS NULL")
# Every placing asks what is booked: the sums are made of the index alone.
Index(
    "ix_seats_booked",
    SEATS.c.node_id,
    SEATS.c.custom_milli,
    SEATS.c.cpu_milli,
    SEATS.c.memory_bytes,
    SEATS.c.gpu_milli,
    SEATS.c.released_at,  # SQLite looks for it in the row otherwise, although the condition says what it is
    sqlite_where=BOOKED,
    postgresql_where=BOOKED,
)

LEASES: Final = Table(
    "leases",
    METADATA,
    _key(),
    _text("name"),
    _text("holder"),
    _whole("token"),
    _moment("until"),
    *_moves("lease"),
    _text("address", nullable=True),
    UniqueConstraint("name", "token"),
)
HELD: Final = text("state = 'held'")
Index("uq_leases_held", LEASES.c.name, unique=True, sqlite_where=HELD, postgresql_where=HELD)

WORK: Final = Table(
    "work",
    METADATA,
    _key("noun"),
    _key("id"),
    _moment("due_at"),
    _moment("poked_for", nullable=True),
    _text("holder", nullable=True),
    _whole("token"),
    _moment("until", nullable=True),
    CheckConstraint("(holder IS NULL) = (until IS NULL)", name="claim"),
    Index("ix_work_due", "noun", "due_at", "id"),
)
CLAIMED: Final = text("holder IS NOT NULL")
Index("ix_work_claimed", WORK.c.noun, WORK.c.until, sqlite_where=CLAIMED, postgresql_where=CLAIMED)

EVENTS: Final = Table(
    "events",
    METADATA,
    # SQLite numbers rows by itself only where the type is exactly INTEGER.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _whole("xid"),
    _text("kind"),
    _text("subject"),
    _moment("at"),
    _text("project_id", nullable=True),
    _text("job_id", nullable=True),
    _text("data"),
    sqlite_autoincrement=True,
)
OF_A_JOB: Final = text("job_id IS NOT NULL")
Index(
    "ix_events_job_id",
    EVENTS.c.job_id,
    EVENTS.c.xid,
    EVENTS.c.seq,
    sqlite_where=OF_A_JOB,
    postgresql_where=OF_A_JOB,
)
# SQLite's rows are numbered in the feed's order.
Index("ix_events_feed", EVENTS.c.xid, EVENTS.c.seq, info={ONLY_ON: "postgresql"})

# One row: everything up to this place was pruned.
FEED_FLOOR: Final = Table(
    "feed_floor",
    METADATA,
    Column("name", Text, primary_key=True),
    _whole("xid"),
    _whole("seq"),
)

TOKENS: Final = Table(
    "tokens",
    METADATA,
    _key(),
    _text("name"),
    _text("role"),
    _refers("project_id", "projects.id", nullable=True),
    Column("hash", LargeBinary, nullable=False),
    _moment("created_at"),
    _moment("expires_at", nullable=True),
    _moment("revoked_at", nullable=True),
    UniqueConstraint("hash"),
)

SECRETS: Final = Table(
    "secrets",
    METADATA,
    _key(),
    _text("key_id"),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
)

IDEMPOTENCY: Final = Table(
    "idempotency",
    METADATA,
    _key("token_id"),
    _key("key"),
    Column("request_hash", LargeBinary, nullable=False),
    _whole("code"),
    _text("body"),
    _moment("created_at"),
    Index("ix_idempotency_created_at", "created_at"),
)

RANKS: Final = Table(
    "ranks",
    METADATA,
    Column("attempt_id", Text, ForeignKey("attempts.id"), primary_key=True),
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    _whole("acked_seq"),
    _whole("log_offset"),
    _moment("heartbeat_at", nullable=True),
    _whole("exit_code", nullable=True),
    _text("exit_reason", nullable=True),
    _moment("exited_at", nullable=True),
    Column("progress", Double, nullable=True),
    _text("progress_message", nullable=True),
)


def _of_a_record() -> Sequence[SchemaItem]:
    return (
        Column("attempt_id", Text, ForeignKey("attempts.id"), nullable=False),
        _whole("rank"),
        _whole("seq"),
        PrimaryKeyConstraint("attempt_id", "rank", "seq"),
    )


METRICS: Final = Table(
    "metrics", METADATA, *_of_a_record(), _whole("step"), _moment("at"), _text("values_json")
)

CHECKPOINTS: Final = Table(
    "checkpoints",
    METADATA,
    *_of_a_record(),
    _whole("step"),
    _text("uri"),
    _text("sha256", nullable=True),
    _moment("at"),
)

LOG_CHUNKS: Final = Table(
    "log_chunks",
    METADATA,
    Column("attempt_id", Text, ForeignKey("attempts.id"), primary_key=True),
    Column("rank", BigInteger, primary_key=True, autoincrement=False),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

UPLOADS: Final = Table("uploads", METADATA, _key("digest"), _whole("size_bytes"), _moment("created_at"))

REASONS: Final = Table(
    "reasons",
    METADATA,
    _key("class_id"),
    _text("code"),
    _text("sentence"),
    _text("remedy"),
    _moment("at"),
)
