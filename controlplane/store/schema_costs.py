"""The tables of money: what owned capacity costs, what may be spent, and what archived attempts have cost."""

from typing import Final

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table

from controlplane.store.schema import METADATA, _moment, _text, _whole

# A cluster or a flavor that is left open is empty: no part of a key may be null.
RATES: Final = Table(
    "rates",
    METADATA,
    *(_text(name) for name in ("cluster_id", "flavor", "per")),
    _moment("valid_from"),
    _text("currency"),
    _whole("price_millionths"),
    PrimaryKeyConstraint("cluster_id", "flavor", "per", "valid_from"),
    CheckConstraint("price_millionths >= 0", name="price"),
)

# Written when an attempt is archived; it refers to nothing, since all that it names may go after it.
CHARGES: Final = Table(
    "charges",
    METADATA,
    _text("attempt_id"),
    _whole("ordinal"),
    _text("project_id"),
    _text("queue_id"),
    _text("job_id"),
    _text("cluster_id"),
    _text("claim_id", nullable=True),
    _moment("started_at"),
    _moment("ended_at"),
    _text("currency", nullable=True),
    _whole("rate_millionths"),
    _whole("tasks"),
    PrimaryKeyConstraint("attempt_id", "ordinal"),
    CheckConstraint("ended_at >= started_at AND rate_millionths >= 0", name="span"),
    Index("ix_charges_ended_at", "ended_at"),
)

BUDGETS: Final = Table(
    "budgets",
    METADATA,
    *(_text(name) for name in ("queue_id", "currency", "window")),
    _whole("limit_millionths"),
    PrimaryKeyConstraint("queue_id", "currency", "window"),
    CheckConstraint("limit_millionths >= 0", name="limit"),
)
