"""The table of residencies. See schema.py."""

from typing import Final

from sqlalchemy import PrimaryKeyConstraint, Table

from controlplane.store.schema import METADATA, _text

# It refers to nothing: what it names is of four kinds.
RESIDENCIES: Final = Table(
    "residencies",
    METADATA,
    *(_text(name) for name in ("subject", "id", "residency")),
    PrimaryKeyConstraint("subject", "id"),
)
