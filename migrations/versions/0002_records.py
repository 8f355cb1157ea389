"""Records: what attempts report, who may ask, and what was answered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = (
    "idempotency",
    "reasons",
    "secrets",
    "uploads",
    "tokens",
    "checkpoints",
    "log_chunks",
    "metrics",
    "ranks",
)
"""In an order in which each finds what it refers to."""


def upgrade() -> None:
    _idempotency()
    _reasons()
    _secrets()
    _uploads()
    _tokens()
    _checkpoints()
    _log_chunks()
    _metrics()
    _ranks()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        *_texts("token_id", "key"),
        *_bytes("request_hash"),
        *_wholes("code"),
        *_texts("body"),
        *_wholes("created_at"),
        sa.PrimaryKeyConstraint("token_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _reasons() -> None:
    op.create_table(
        "reasons",
        *_texts("class_id", "code", "sentence", "remedy"),
        *_wholes("at"),
        sa.PrimaryKeyConstraint("class_id", name=op.f("pk_reasons")),
    )


def _secrets() -> None:
    op.create_table(
        "secrets",
        *_texts("id", "key_id"),
        *_bytes("wrapped_key", "nonce", "ciphertext"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
    )


def _uploads() -> None:
    op.create_table(
        "uploads",
        *_texts("digest"),
        *_wholes("size_bytes", "created_at"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_uploads")),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        *_texts("id", "name", "role"),
        *_texts("project_id", nullable=True),
        *_bytes("hash"),
        *_wholes("created_at"),
        *_wholes("expires_at", "revoked_at", nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tokens_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )


def _checkpoints() -> None:
    op.create_table(
        "checkpoints",
        *_texts("attempt_id"),
        *_wholes("rank", "seq", "step"),
        *_texts("uri"),
        *_texts("sha256", nullable=True),
        *_wholes("at"),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_checkpoints_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "rank", "seq", name=op.f("pk_checkpoints")),
    )


def _log_chunks() -> None:
    op.create_table(
        "log_chunks",
        *_texts("attempt_id"),
        *_wholes("rank", "start"),
        *_bytes("data"),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_log_chunks_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "rank", "start", name=op.f("pk_log_chunks")),
    )


def _metrics() -> None:
    op.create_table(
        "metrics",
        *_texts("attempt_id"),
        *_wholes("rank", "seq", "step", "at"),
        *_texts("values_json"),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_metrics_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "rank", "seq", name=op.f("pk_metrics")),
    )


def _ranks() -> None:
    op.create_table(
        "ranks",
        *_texts("attempt_id"),
        *_wholes("rank", "acked_seq", "log_offset"),
        *_wholes("heartbeat_at", "exit_code", nullable=True),
        *_texts("exit_reason", nullable=True),
        *_wholes("exited_at", nullable=True),
        *_numbers("progress", nullable=True),
        *_texts("progress_message", nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_ranks_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "rank", name=op.f("pk_ranks")),
    )


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _wholes(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=nullable) for name in names]


def _numbers(*names: str, nullable: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=nullable) for name in names]


def _bytes(*names: str, nullable: bool = False) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary(), nullable=nullable) for name in names]
