"""Where the zones are: paths in the ledger are relative to them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "ledger_zones",
        sa.Column("zone", sa.String, primary_key=True),
        sa.Column("uri", sa.String, nullable=False),
        comment="Where each zone is that the ledger's paths are relative to",
    )
