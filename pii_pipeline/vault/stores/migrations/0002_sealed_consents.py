"""Consents have a seal. Of those from before nobody can tell who wrote them: they are loaded again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """An empty table takes a column without a default."""
    op.execute("DELETE FROM vault_consents")
    op.add_column("vault_consents", sa.Column("seal", sa.LargeBinary(32), nullable=False))
