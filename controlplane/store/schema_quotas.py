"""The tables of quotas and flavors, and of all that a policy must find again. See schema.py."""

from typing import Final

from sqlalchemy import CheckConstraint, Table, UniqueConstraint

from controlplane.store.schema import METADATA, _key, _moment, _text, _whole

# A queue without a row has no limits and no cohort.
QUOTA_NODES: Final = Table(
    "quota_nodes",
    METADATA,
    _key(),
    _text("name"),
    _whole("is_cohort"),
    _text("parent_id", nullable=True),
    _text("settings"),
    _whole("version"),
    CheckConstraint("version >= 1", name="version"),
    UniqueConstraint("is_cohort", "name"),
)

FLAVORS: Final = Table("flavors", METADATA, _key("name"), _whole("rank"), _text("rule"))

# What a policy remembers refers to nothing: rows of asks that are over are left behind for a while, and then pruned.
NOMINATIONS: Final = Table(
    "nominations",
    METADATA,
    _key("ask_id"),
    _text("cluster_id"),
    _text("seats"),
    _moment("until"),
)

VERDICTS: Final = Table(
    "verdicts",
    METADATA,
    _key("winner"),
    _key("loser"),
)

RESERVATIONS: Final = Table(
    "reservations",
    METADATA,
    _key("ask_id"),
    _text("cluster_id"),
    _text("seats"),
    _moment("starts_at"),
    _moment("ends_at"),
)

PAST_USES: Final = Table(
    "past_uses",
    METADATA,
    _key("queue_id"),
    _whole("epoch"),
    _whole("used"),
)
