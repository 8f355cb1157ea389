"""Purchases: for whom a claim was bought, and at which price."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

# `Any`: each kind of column has its own parameter.
COLUMNS: Final[tuple[tuple[str, sa.types.TypeEngine[Any]], ...]] = (
    ("wanted_by", sa.Text()),
    ("price_millionths", sa.BigInteger()),
    ("currency", sa.Text()),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("claims", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name, _ in reversed(COLUMNS):
        op.drop_column("claims", name)
