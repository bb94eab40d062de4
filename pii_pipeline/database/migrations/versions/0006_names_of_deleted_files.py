"""Who deletes a file that no commit holds says so before: it is nobody's name any more.

Of a file in a commit it is known which others have the same columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("ledger_files", sa.Column("columns", sa.String, nullable=False, server_default=""))
    op.add_column("ledger_unheld_files", sa.Column("deleted_by", sa.String, nullable=True))
