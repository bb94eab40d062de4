"""How far the landing objects of each stream have been listed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "ledger_listings",
        sa.Column("stream", sa.String, primary_key=True),
        sa.Column("after", sa.String, nullable=True),
        sa.Column("began", sa.DateTime(timezone=True), nullable=True),
        sa.Column("complete", sa.DateTime(timezone=True), nullable=True),
        comment="How far each stream's landing objects have been listed",
    )
