"""First light: the nouns of the first release, with the walls around their states."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

EDGES = (
    ("job", "-", "held"),
    ("job", "held", "queued"),
    ("job", "held", "failed"),
    ("job", "held", "cancelled"),
    ("job", "queued", "held"),
    ("job", "queued", "active"),
    ("job", "queued", "failed"),
    ("job", "queued", "cancelled"),
    ("job", "active", "queued"),
    ("job", "active", "succeeded"),
    ("job", "active", "failed"),
    ("job", "active", "cancelled"),
    ("attempt", "-", "placed"),
    ("attempt", "placed", "starting"),
    ("attempt", "placed", "stopping"),
    ("attempt", "placed", "ended"),
    ("attempt", "starting", "running"),
    ("attempt", "starting", "stopping"),
    ("attempt", "starting", "ended"),
    ("attempt", "running", "stopping"),
    ("attempt", "running", "ended"),
    ("attempt", "stopping", "ended"),
    ("cluster", "-", "pending"),
    ("cluster", "pending", "ready"),
    ("cluster", "pending", "detached"),
    ("cluster", "ready", "unreachable"),
    ("cluster", "ready", "draining"),
    ("cluster", "unreachable", "ready"),
    ("cluster", "unreachable", "draining"),
    ("cluster", "unreachable", "detached"),
    ("cluster", "draining", "ready"),
    ("cluster", "draining", "detached"),
    ("lease", "-", "held"),
    ("lease", "held", "released"),
    ("lease", "held", "expired"),
)

MOVING = {"jobs": "job", "attempts": "attempt", "clusters": "cluster", "leases": "lease"}

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

POSTGRESQL_FUNCTION = """
CREATE FUNCTION check_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.came_from IS DISTINCT FROM OLD.state OR NOT EXISTS (
    SELECT 1 FROM edges WHERE noun = TG_ARGV[0] AND from_state = OLD.state AND to_state = NEW.state
  ) THEN
    RAISE EXCEPTION '%: illegal move from % to %', TG_ARGV[0], OLD.state, NEW.state
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END
$$
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

TABLES = (
    "edges",
    "events",
    "projects",
    "work",
    "clusters",
    "leases",
    "queues",
    "jobs",
    "nodes",
    "asks",
    "dependencies",
    "job_labels",
    "attempts",
    "seats",
)
"""In an order in which each finds what it refers to."""


def upgrade() -> None:
    _edges()
    _events()
    _projects()
    _work()
    _clusters()
    _leases()
    _queues()
    _jobs()
    _nodes()
    _asks()
    _dependencies()
    _job_labels()
    _attempts()
    _seats()
    _walls()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION check_move()")


def _edges() -> None:
    op.create_table(
        "edges",
        *_texts("noun", "from_state", "to_state"),
        sa.PrimaryKeyConstraint("noun", "from_state", "to_state", name=op.f("pk_edges")),
    )
    table = sa.table("edges", sa.column("noun"), sa.column("from_state"), sa.column("to_state"))
    op.bulk_insert(table, [{"noun": noun, "from_state": old, "to_state": new} for noun, old, new in EDGES])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        *_wholes("xid"),
        *_texts("kind", "subject"),
        *_wholes("at"),
        *_texts("project_id", "job_id", nullable=True),
        *_texts("data"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_feed", "events", ["xid", "seq"])
    op.create_index(
        "ix_events_job_id",
        "events",
        ["job_id", "xid", "seq"],
        sqlite_where=sa.text("job_id IS NOT NULL"),
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        *_texts("id", "name"),
        *_wholes("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )


def _work() -> None:
    op.create_table(
        "work",
        *_texts("noun", "id"),
        *_wholes("due_at"),
        *_wholes("poked_for", nullable=True),
        *_texts("holder", nullable=True),
        *_wholes("token"),
        *_wholes("until", nullable=True),
        sa.CheckConstraint("(holder IS NULL) = (until IS NULL)", name=op.f("ck_work_claim")),
        sa.PrimaryKeyConstraint("noun", "id", name=op.f("pk_work")),
    )
    op.create_index(
        "ix_work_claimed",
        "work",
        ["noun", "until"],
        sqlite_where=sa.text("holder IS NOT NULL"),
        postgresql_where=sa.text("holder IS NOT NULL"),
    )
    op.create_index("ix_work_due", "work", ["noun", "due_at", "id"])


def _clusters() -> None:
    op.create_table(
        "clusters",
        *_texts("id", "name", "adapter", "state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'cluster'"), nullable=False),
        *_wholes("since", "created_at", "version"),
        *_texts("url", "secret_id", nullable=True),
        *_texts("gpu_resource"),
        *_texts("session", nullable=True),
        *_texts("trust_domain", "settings"),
        *_wholes("cordoned_at", "drain_requested_at", "detach_requested_at", "last_seen_at", nullable=True),
        *_texts("problem", nullable=True),
        sa.CheckConstraint("noun = 'cluster'", name=op.f("ck_clusters_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_clusters_version")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_clusters_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clusters")),
    )
    op.create_index(
        "uq_clusters_name",
        "clusters",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state <> 'detached'"),
        postgresql_where=sa.text("state <> 'detached'"),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        *_texts("id", "name", "holder"),
        *_wholes("token", "until"),
        *_texts("state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'lease'"), nullable=False),
        *_texts("address", nullable=True),
        sa.CheckConstraint("noun = 'lease'", name=op.f("ck_leases_noun")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_leases_noun"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        sa.UniqueConstraint("name", "token", name=op.f("uq_leases_name_token")),
    )
    op.create_index(
        "uq_leases_held",
        "leases",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state = 'held'"),
        postgresql_where=sa.text("state = 'held'"),
    )


def _queues() -> None:
    op.create_table(
        "queues",
        *_texts("id", "project_id", "name"),
        *_wholes("created_at"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_queues_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queues")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_queues_project_id_name")),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        *_texts("id", "project_id", "queue_id", "name", "kind"),
        *_wholes("priority"),
        *_texts("state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'job'"), nullable=False),
        *_wholes("since", "submitted_at", "version"),
        *_texts("retry"),
        *_numbers("max_runtime_seconds", nullable=True),
        *_texts("depends_on"),
        *_texts("retry_of", nullable=True),
        *_wholes("cancel_requested_at", nullable=True),
        *_texts("reason", nullable=True),
        *_texts("spec"),
        *_wholes("schema_version"),
        sa.CheckConstraint("noun = 'job'", name=op.f("ck_jobs_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_jobs_version")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_jobs_noun"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id")),
        sa.ForeignKeyConstraint(["queue_id"], ["queues.id"], name=op.f("fk_jobs_queue_id")),
        sa.ForeignKeyConstraint(["retry_of"], ["jobs.id"], name=op.f("fk_jobs_retry_of")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_newest", "jobs", ["submitted_at", "id"])
    op.create_index("ix_jobs_newest_of_project", "jobs", ["project_id", "submitted_at", "id"])
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["state"],
        sqlite_where=sa.text("state IN ('held', 'queued', 'active')"),
        postgresql_where=sa.text("state IN ('held', 'queued', 'active')"),
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        *_texts("id", "cluster_id", "name", "host"),
        *_wholes("allocatable_cpu_milli", "allocatable_memory_bytes", "allocatable_gpu_milli"),
        *_texts("allocatable_custom_milli"),
        *_wholes("foreign_cpu_milli", "foreign_memory_bytes", "foreign_gpu_milli"),
        *_texts("foreign_custom_milli"),
        *_texts("accelerator", nullable=True),
        *_texts("labels"),
        *_wholes("seen_at"),
        *_wholes("cordoned_at", "gone_at", nullable=True),
        sa.CheckConstraint(
            "allocatable_cpu_milli >= 0 AND allocatable_memory_bytes >= 0 AND allocatable_gpu_milli >= 0",
            name=op.f("ck_nodes_allocatable_amounts"),
        ),
        sa.CheckConstraint(
            "foreign_cpu_milli >= 0 AND foreign_memory_bytes >= 0 AND foreign_gpu_milli >= 0",
            name=op.f("ck_nodes_foreign_amounts"),
        ),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_nodes_cluster_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_index(
        "uq_nodes_name",
        "nodes",
        ["cluster_id", "name"],
        unique=True,
        sqlite_where=sa.text("gone_at IS NULL"),
        postgresql_where=sa.text("gone_at IS NULL"),
    )


def _asks() -> None:
    op.create_table(
        "asks",
        *_texts("id", "job_id", "queue_id"),
        *_wholes("ordinal", "tasks", "cpu_milli", "memory_bytes", "gpu_milli"),
        *_texts("custom_milli"),
        *_texts("accelerator", nullable=True),
        *_texts("class_id"),
        *_wholes("priority", "submitted_at"),
        *_wholes("not_before", nullable=True),
        sa.CheckConstraint(
            "cpu_milli >= 0 AND memory_bytes >= 0 AND gpu_milli >= 0", name=op.f("ck_asks_amounts")
        ),
        sa.CheckConstraint("tasks >= 1", name=op.f("ck_asks_tasks")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_asks_job_id")),
        sa.ForeignKeyConstraint(["queue_id"], ["queues.id"], name=op.f("fk_asks_queue_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_asks")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("uq_asks_job_id_ordinal")),
    )


def _dependencies() -> None:
    op.create_table(
        "dependencies",
        *_texts("job_id", "needs_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_dependencies_job_id")),
        sa.ForeignKeyConstraint(["needs_id"], ["jobs.id"], name=op.f("fk_dependencies_needs_id")),
        sa.PrimaryKeyConstraint("job_id", "needs_id", name=op.f("pk_dependencies")),
    )
    op.create_index("ix_dependencies_needs_id", "dependencies", ["needs_id"])


def _job_labels() -> None:
    op.create_table(
        "job_labels",
        *_texts("job_id", "name", "value"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_labels_job_id")),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_labels")),
    )
    op.create_index("ix_job_labels_value", "job_labels", ["name", "value", "job_id"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        *_texts("id", "job_id", "ask_id", "project_id", "cluster_id"),
        *_wholes("number"),
        *_texts("state", "came_from"),
        sa.Column("noun", sa.Text(), server_default=sa.text("'attempt'"), nullable=False),
        *_wholes("since", "placed_at", "version"),
        *_texts("outcome", nullable=True),
        *_wholes("exit_code", nullable=True),
        *_texts("reason", nullable=True),
        *_wholes("started_at", "ended_at", "lease_until", nullable=True),
        *_texts("stop_outcome", nullable=True),
        *_wholes("stop_requested_at", nullable=True),
        *_texts("session", nullable=True),
        sa.CheckConstraint("(ended_at IS NOT NULL) = (state = 'ended')", name=op.f("ck_attempts_ended_at")),
        sa.CheckConstraint("(outcome IS NOT NULL) = (state = 'ended')", name=op.f("ck_attempts_outcome")),
        sa.CheckConstraint("noun = 'attempt'", name=op.f("ck_attempts_noun")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_attempts_version")),
        sa.ForeignKeyConstraint(["ask_id"], ["asks.id"], name=op.f("fk_attempts_ask_id")),
        sa.ForeignKeyConstraint(["cluster_id"], ["clusters.id"], name=op.f("fk_attempts_cluster_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id")),
        sa.ForeignKeyConstraint(
            ["noun", "came_from", "state"],
            ["edges.noun", "edges.from_state", "edges.to_state"],
            name=op.f("fk_attempts_noun"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_attempts_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_attempts_job_id_number")),
    )
    op.create_index(
        "ix_attempts_live_of_cluster",
        "attempts",
        ["cluster_id"],
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(
        "uq_attempts_live",
        "attempts",
        ["ask_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )


def _seats() -> None:
    op.create_table(
        "seats",
        *_texts("attempt_id"),
        *_wholes("rank"),
        *_texts("node_id"),
        *_wholes("cpu_milli", "memory_bytes", "gpu_milli"),
        *_texts("custom_milli"),
        *_texts("heir", nullable=True),
        *_wholes("released_at", nullable=True),
        sa.CheckConstraint(
            "cpu_milli >= 0 AND memory_bytes >= 0 AND gpu_milli >= 0", name=op.f("ck_seats_amounts")
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_seats_attempt_id")),
        sa.ForeignKeyConstraint(["heir"], ["asks.id"], name=op.f("fk_seats_heir")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_seats_node_id")),
        sa.PrimaryKeyConstraint("attempt_id", "rank", name=op.f("pk_seats")),
    )
    op.create_index(
        "ix_seats_booked",
        "seats",
        ["node_id"],
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )


def _walls() -> None:
    """The foreign key knows which moves are legal; the trigger knows that a move was really made."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(POSTGRESQL_FUNCTION)
        trigger = POSTGRESQL_TRIGGER
    else:
        trigger = SQLITE_TRIGGER
    for table, noun in MOVING.items():
        op.execute(trigger.format(table=table, noun=noun))


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]


def _numbers(*names: str, nullable: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=nullable) for name in names]
