"""A lease is of whatever its name says: an hour of a stream, a queue, a schedule's work.

Those that are held are dropped: whoever holds one is refused its next commit, and works again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_table("ledger_leases")
    op.create_table(
        "ledger_leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
