"""Which vault originals were loaded into: by its audit log, wherever it is."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "ledger_vault",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("adopted", sa.String, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        comment="One row: the vault that originals are loaded into, by entries of its audit log",
    )
