"""What retention is deleting, and what it has deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "ledger_expiring",
        sa.Column("stream", sa.String, primary_key=True),
        sa.Column("dataset", sa.String, primary_key=True),
        sa.Column("path", sa.String, primary_key=True),
        sa.Column("etag", sa.String, primary_key=True),
        sa.Column("hour", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        comment="What retention has decided to delete and is not known to be gone yet",
    )
    op.create_table(
        "ledger_deletions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("hour", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        comment="What retention has deleted, as numbers; rows are never changed",
    )
