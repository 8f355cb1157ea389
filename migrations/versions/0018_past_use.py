"""Past use in parts of a whole, finer than millionths: nobody had noted any so far."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    _made_anew("used")


def downgrade() -> None:
    _made_anew("used_ppm")


def _made_anew(column: str) -> None:
    op.drop_table("past_uses")
    op.create_table(
        "past_uses",
        sa.Column("queue_id", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)
            for name in ("epoch", column)
        ),
        sa.PrimaryKeyConstraint("queue_id", name=op.f("pk_past_uses")),
    )
