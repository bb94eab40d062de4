"""Objects that are in no batch yet are found without looking at all others: sensors ask every half minute."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    of_none = sa.text("batch_id IS NULL")
    op.create_index(
        "ledger_objects_waiting",
        "ledger_objects",
        ["stream", "hour"],
        sqlite_where=of_none,
        postgresql_where=of_none,
    )
