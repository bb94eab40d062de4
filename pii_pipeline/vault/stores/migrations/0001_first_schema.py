"""The vault's first tables."""

import sqlalchemy as sa
from alembic import op

from pii_pipeline.database import SchemaError

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)

metadata = sa.MetaData()

records = sa.Table(
    "vault_records",
    metadata,
    sa.Column("stream", sa.String(255), primary_key=True),
    sa.Column("field", sa.String(255), primary_key=True),
    sa.Column("pseudonym", sa.LargeBinary, primary_key=True),
    sa.Column("subject", sa.LargeBinary(16), primary_key=True),
    sa.Column("digest", sa.LargeBinary(16), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("mark", sa.LargeBinary(32), nullable=False),
    sa.Column("first_seen", sa.Date, nullable=False),
    sa.Column("last_seen", sa.Date, nullable=False),
    comment="Originals, sealed; subject or mark is empty",
)
sa.Index("vault_records_subject", records.c.subject)
sa.Index("vault_records_mark", records.c.mark)

sa.Table(
    "vault_consents",
    metadata,
    sa.Column("subject", sa.LargeBinary(16), primary_key=True),
    sa.Column("stream", sa.String(255), primary_key=True),
    sa.Column("levels", sa.String, nullable=False),
    sa.Column("cumulative", sa.Boolean, nullable=False),
    sa.Column("at", MOMENT, nullable=False),
    sa.Column("rank", sa.LargeBinary, nullable=False),
    comment="The latest consent of each data subject, by stream",
)

sa.Table(
    "vault_audit",
    metadata,
    sa.Column(
        "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
    ),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Column("seal", sa.LargeBinary(32), nullable=False),
    sa.Column("writer", sa.LargeBinary(16), nullable=False),
    comment="The audit log; rows are never changed",
)

sa.Table(
    "vault_spent",
    metadata,
    sa.Column("principal", sa.String, primary_key=True),
    sa.Column("window", sa.String, primary_key=True),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("began_at", MOMENT, nullable=False),
    comment="Records that were counted against limits, by window of time",
)

sa.Table(
    "vault_anchor",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("at", MOMENT, nullable=False),
    comment="One row: the entry that was anchored last",
)


def upgrade() -> None:
    """Raises `SchemaError` if one of these names is somebody else's."""
    connection = op.get_bind()
    taken = sorted(set(sa.inspect(connection).get_table_names()) & set(metadata.tables))
    if taken:
        raise SchemaError(
            f"PII_VAULT_URL: it has a table {taken[0]}, which is not ours — "
            "give the vault a database, or a schema, of its own"
        )
    metadata.create_all(connection)
