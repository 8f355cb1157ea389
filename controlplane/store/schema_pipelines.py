"""The tables of pipelines' executions, of their steps, and of schedules. See schema.py."""

from typing import Final

from sqlalchemy import CheckConstraint, Index, Table, UniqueConstraint, text

from controlplane.store.schema import METADATA, _key, _moment, _moves, _refers, _text, _whole

# Retries name an execution, and executions a schedule, that may be gone.
EXECUTIONS: Final = Table(
    "executions",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _text("name"),
    _refers("token_id", "tokens.id"),
    _text("spec"),
    _whole("schema_version"),
    _text("outputs_uri"),
    *_moves("execution"),
    _moment("since"),
    _moment("created_at"),
    _moment("paused_at", nullable=True),
    _moment("cancel_requested_at", nullable=True),
    _text("retry_of", nullable=True),
    _text("schedule_id", nullable=True),
    _moment("tick", nullable=True),
    _text("reason", nullable=True),
    _whole("version"),
    UniqueConstraint("schedule_id", "tick"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("(schedule_id IS NULL) = (tick IS NULL)", name="tick"),
)
OPEN_EXECUTIONS: Final = text("state IN ('waiting', 'running')")
Index("ix_executions_of_project", EXECUTIONS.c.project_id, EXECUTIONS.c.id)
Index(
    "ix_executions_open_of_project",
    EXECUTIONS.c.project_id,
    sqlite_where=OPEN_EXECUTIONS,
    postgresql_where=OPEN_EXECUTIONS,
)
Index("ix_executions_open", EXECUTIONS.c.id, sqlite_where=OPEN_EXECUTIONS, postgresql_where=OPEN_EXECUTIONS)
Index(
    "ix_executions_open_of_schedule",
    EXECUTIONS.c.schedule_id,
    EXECUTIONS.c.tick,
    sqlite_where=OPEN_EXECUTIONS,
    postgresql_where=OPEN_EXECUTIONS,
)

# Jobs go to the archive before their steps do.
STEPS: Final = Table(
    "steps",
    METADATA,
    _key(),
    _refers("execution_id", "executions.id"),
    _whole("position"),
    _text("name"),
    *_moves("step"),
    _moment("since"),
    _whole("number"),
    _text("job_id", nullable=True),
    _text("cache_key", nullable=True),
    _text("taken_from", nullable=True),
    _moment("not_before", nullable=True),
    _text("outputs"),
    _text("reason", nullable=True),
    _moment("begun_at", nullable=True),
    _whole("version"),
    UniqueConstraint("execution_id", "position"),
    UniqueConstraint("execution_id", "name"),
    CheckConstraint("version >= 1 AND number >= 0", name="version"),
)
WITH_A_JOB: Final = text("state = 'running' AND job_id IS NOT NULL")
Index("ix_steps_running", STEPS.c.job_id, sqlite_where=WITH_A_JOB, postgresql_where=WITH_A_JOB)
KEPT: Final = text("state = 'succeeded' AND cache_key IS NOT NULL")
Index("ix_steps_kept", STEPS.c.cache_key, STEPS.c.id, sqlite_where=KEPT, postgresql_where=KEPT)

SCHEDULES: Final = Table(
    "schedules",
    METADATA,
    _key(),
    _refers("project_id", "projects.id"),
    _text("name"),
    _text("spec"),
    _whole("schema_version"),
    _text("cron"),
    _text("zone"),
    _text("overlap"),
    _refers("token_id", "tokens.id"),
    _moment("created_at"),
    _moment("next_at"),
    _moment("last_at", nullable=True),
    _text("problem", nullable=True),
    _moment("paused_at", nullable=True),
    _whole("version"),
    UniqueConstraint("project_id", "name"),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("overlap IN ('skip', 'queue')", name="overlap"),
)
