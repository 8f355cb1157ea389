"""The tables of claimed capacity: claims, their launches and sites, and machines that nobody claims. See schema.py."""

from typing import Final

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Index, Table, Text, UniqueConstraint, text

from controlplane.store.schema import METADATA, _amounts, _key, _moment, _moves, _refers, _text, _whole

CLAIMS: Final = Table(
    "claims",
    METADATA,
    _key(),
    _refers("cluster_id", "clusters.id"),
    _text("machine_type"),
    _text("capacity_type"),
    _text("zones"),
    _whole("machines_min"),
    _whole("machines_want"),
    *_moves("claim"),
    _moment("since"),
    _moment("created_at"),
    _whole("generation"),
    _whole("version"),
    _moment("release_requested_at", nullable=True),
    _moment("last_launch_at", nullable=True),
    _moment("missing_since", nullable=True),
    _text("problem", nullable=True),
    _text("shares", nullable=True),
    _text("trust_domain", nullable=True),
    _text("reservation", nullable=True),
    _whole("tries_again", nullable=True),
    Column("idle_seconds", Double, nullable=True),
    _moment("idle_since", nullable=True),
    _moment("renewed_until", nullable=True),
    _text("wanted_by", nullable=True),
    _whole("price_millionths", nullable=True),
    _text("currency", nullable=True),
    _text("queue_id", nullable=True),
    _whole("expected_millionths", nullable=True),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("machines_min >= 1 AND machines_want >= machines_min", name="machines"),
)
LIVE: Final = text("state <> 'gone'")
Index(
    "ix_claims_live_of_cluster",
    CLAIMS.c.cluster_id,
    CLAIMS.c.id,
    sqlite_where=LIVE,
    postgresql_where=LIVE,
)

LAUNCHES: Final = Table(
    "launches",
    METADATA,
    _key(),
    _refers("claim_id", "claims.id"),
    _whole("generation"),
    _whole("ordinal"),
    _text("zone"),
    _whole("machines"),
    _moment("created_at"),
    _moment("resolved_at", nullable=True),
    _text("outcome", nullable=True),
    _text("problem", nullable=True),
    CheckConstraint("machines >= 1", name="machines"),
    CheckConstraint("(outcome IS NULL) = (resolved_at IS NULL)", name="outcome"),
    UniqueConstraint("claim_id", "generation", "ordinal"),
)
OPEN: Final = text("resolved_at IS NULL")
Index("uq_launches_open", LAUNCHES.c.claim_id, unique=True, sqlite_where=OPEN, postgresql_where=OPEN)

# No reference to `claims`: an orphan's claim may be one that we never had.
ORPHANS: Final = Table(
    "orphans",
    METADATA,
    _key("cluster_id"),
    _key("name"),
    _text("zone"),
    _text("claim_id"),
    _text("launch_id"),
    _moment("seen_at"),
)

SITES: Final = Table(
    "sites",
    METADATA,
    Column("claim_id", Text, ForeignKey("claims.id"), primary_key=True),
    _text("url", nullable=True),
    _text("secret_id", nullable=True),
    _text("head", nullable=True),
    _text("head_host", nullable=True),
    _text("members"),
    _text("session", nullable=True),
    _moment("seen_at", nullable=True),
    _text("problem", nullable=True),
)

CHECK_INS: Final = Table(
    "check_ins",
    METADATA,
    Column("claim_id", Text, ForeignKey("claims.id"), primary_key=True),
    _key("machine"),
    _text("launch_id"),
    _text("host"),
    _text("phase"),
    _moment("at"),
    _text("notice", nullable=True),
    _text("problem", nullable=True),
)

# No references: what is left behind may outlive every row of its owner.
STRAYS: Final = Table(
    "strays",
    METADATA,
    _key("cluster_id"),
    _key("kind"),
    _key("zone"),
    _key("name"),
    _text("claim_id", nullable=True),
    _moment("seen_at"),
    _moment("tried_at", nullable=True),
    _text("problem", nullable=True),
    _whole("hourly_millionths", nullable=True),
    _text("currency", nullable=True),
)

OFFERS: Final = Table(
    "offers",
    METADATA,
    Column("cluster_id", Text, ForeignKey("clusters.id"), primary_key=True),
    *(_key(name) for name in ("machine_type", "zone", "capacity_type")),
    *_amounts(),
    _text("accelerator", nullable=True),
    _whole("price_millionths", nullable=True),
    _text("currency", nullable=True),
    _moment("price_as_of", nullable=True),
    _whole("is_price_verified"),
    Column("boot_seconds", Double, nullable=False),
    Column("interruptions_per_hour", Double, nullable=False),
    _whole("refusals"),
    _moment("cool_until", nullable=True),
)

OFFER_LISTS: Final = Table(
    "offer_lists",
    METADATA,
    Column("cluster_id", Text, ForeignKey("clusters.id"), primary_key=True),
    _moment("listed_at", nullable=True),
    _text("problem", nullable=True),
)
