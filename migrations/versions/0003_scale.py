"""Scale: what a million jobs need to be counted, listed and put away."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

OPEN_JOBS = "state IN ('held', 'queued', 'active')"
INDEXES = (
    ("ix_jobs_newest_of_bucket", "jobs", ("queue_id", "state", "kind", "submitted_at", "id"), None),
    ("ix_jobs_newest_of_name", "jobs", ("name", "submitted_at", "id"), None),
    ("ix_job_labels_newest", "job_labels", ("name", "value", "submitted_at", "job_id"), None),
    # A row is deleted only after nothing was found to refer to it, so those references are looked up.
    ("ix_jobs_retry_of", "jobs", ("retry_of",), "retry_of IS NOT NULL"),
    ("ix_attempts_ask_id", "attempts", ("ask_id",), None),
    ("ix_seats_node_id", "seats", ("node_id",), None),
    ("ix_seats_heir", "seats", ("heir",), "heir IS NOT NULL"),
)

COUNT_NOW = """
INSERT INTO job_counts (project_id, queue_id, state, kind, jobs)
SELECT project_id, queue_id, state, kind, count(*) FROM jobs GROUP BY project_id, queue_id, state, kind
"""

SQLITE_ADD = """
  INSERT INTO job_counts (project_id, queue_id, state, kind, jobs)
  VALUES ({row}.project_id, {row}.queue_id, {row}.state, {row}.kind, {change})
  ON CONFLICT (project_id, queue_id, state, kind) DO UPDATE SET jobs = jobs + excluded.jobs;
"""

# Moves come one by one even in a large batch, and most saves are none: a row's trigger asks first and costs less.
POSTGRESQL_MOVES = """
CREATE FUNCTION count_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO job_count_changes (project_id, queue_id, state, kind, jobs)
  VALUES (OLD.project_id, OLD.queue_id, OLD.state, OLD.kind, -1),
         (NEW.project_id, NEW.queue_id, NEW.state, NEW.kind, 1);
  RETURN NULL;
END
$$
"""
POSTGRESQL_MANY = """
CREATE FUNCTION count_{what}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO job_count_changes (project_id, queue_id, state, kind, jobs)
  SELECT project_id, queue_id, state, kind, {sign} count(*)
  FROM changed GROUP BY project_id, queue_id, state, kind;
  RETURN NULL;
END
$$
"""
POSTGRESQL_TRIGGERS = """
CREATE TRIGGER jobs_count_moves AFTER UPDATE ON jobs FOR EACH ROW
WHEN (NEW.state IS DISTINCT FROM OLD.state) EXECUTE FUNCTION count_moves();
CREATE TRIGGER jobs_count_births AFTER INSERT ON jobs REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION count_births();
CREATE TRIGGER jobs_count_ends AFTER DELETE ON jobs REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION count_ends();
"""
COUNTED = ("births", "moves", "ends")


def upgrade() -> None:
    _labels()
    _open_jobs("state", "id")
    for name, table, columns, where in INDEXES:
        condition = None if where is None else sa.text(where)
        op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)
    _feed_floor()
    _job_counts()
    if op.get_bind().dialect.name == "postgresql":
        _count_on_postgresql()
    else:
        _count_on_sqlite()


def downgrade() -> None:
    _stop_counting()
    op.drop_table("job_count_changes")
    op.drop_table("job_counts")
    op.drop_table("feed_floor")
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table)
    _open_jobs("state")
    op.drop_column("job_labels", "submitted_at")
    op.create_index("ix_job_labels_value", "job_labels", ["name", "value", "job_id"])


def _labels() -> None:
    """They are found in the order in which jobs are listed."""
    op.drop_index("ix_job_labels_value", "job_labels")
    with op.batch_alter_table("job_labels") as table:
        table.add_column(sa.Column("submitted_at", sa.BigInteger(), nullable=True))
    op.execute("UPDATE job_labels SET submitted_at = (SELECT submitted_at FROM jobs WHERE id = job_id)")
    with op.batch_alter_table("job_labels") as table:
        table.alter_column("submitted_at", nullable=False)


def _open_jobs(*columns: str) -> None:
    """With the id in it, the asks of a million queued jobs are found without a look at the jobs' own rows."""
    op.drop_index("ix_jobs_open", "jobs")
    condition = sa.text(OPEN_JOBS)
    op.create_index("ix_jobs_open", "jobs", list(columns), sqlite_where=condition, postgresql_where=condition)


def _feed_floor() -> None:
    op.create_table(
        "feed_floor",
        *_texts("name"),
        *_wholes("xid", "seq"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_feed_floor")),
    )


def _job_counts() -> None:
    op.create_table(
        "job_counts",
        *_texts("project_id", "queue_id", "state", "kind"),
        *_wholes("jobs"),
        sa.PrimaryKeyConstraint("project_id", "queue_id", "state", "kind", name=op.f("pk_job_counts")),
    )
    op.create_table("job_count_changes", *_texts("project_id", "queue_id", "state", "kind"), *_wholes("jobs"))
    op.execute(COUNT_NOW)


def _count_on_sqlite() -> None:
    gone = SQLITE_ADD.format(row="OLD", change=-1)
    come = SQLITE_ADD.format(row="NEW", change=1)
    op.execute(f"CREATE TRIGGER jobs_count_births AFTER INSERT ON jobs BEGIN {come} END")
    op.execute(
        "CREATE TRIGGER jobs_count_moves AFTER UPDATE OF state ON jobs "
        f"WHEN NEW.state IS NOT OLD.state BEGIN {gone} {come} END"
    )
    op.execute(f"CREATE TRIGGER jobs_count_ends AFTER DELETE ON jobs BEGIN {gone} END")


def _count_on_postgresql() -> None:
    op.execute(POSTGRESQL_MOVES)
    op.execute(POSTGRESQL_MANY.format(what="births", sign="+"))
    op.execute(POSTGRESQL_MANY.format(what="ends", sign="-"))
    op.execute(POSTGRESQL_TRIGGERS)


def _stop_counting() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for what in COUNTED:
        op.execute(f"DROP TRIGGER jobs_count_{what}{' ON jobs' if is_postgresql else ''}")
        if is_postgresql:
            op.execute(f"DROP FUNCTION count_{what}()")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _wholes(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in names]
