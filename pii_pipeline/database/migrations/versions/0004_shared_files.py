"""A file may hold the rows of several batches (compaction): a commit's rows of it begin with `first_row`.

Files that no commit holds any more are remembered until they are deleted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("ledger_files", sa.Column("first_row", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "ledger_unheld_files",
        sa.Column("path", sa.String, primary_key=True),
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("hour", sa.String, nullable=False),
        sa.Column("layer", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("delete_after", sa.DateTime(timezone=True), nullable=False),
        comment="Files that are there, or may be, and that no commit holds",
    )
    op.create_index("ledger_unheld_files_hour", "ledger_unheld_files", ["stream", "hour"])
