"""The tables of ledger and key store as they were before there were migrations.

A database of that time has them, or most of them, and is taken over as it is: only what is missing is made.
"""

import sqlalchemy as sa
from alembic import op

from pii_pipeline.database.errors import SETTING, SchemaError

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)

metadata = sa.MetaData()

sa.Table(
    "ledger_heads",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("layer", sa.String, primary_key=True),
    sa.Column("head", sa.BigInteger, nullable=False),
    comment="The highest commit sequence of each stream and layer; its row is the lock of every change there",
)

sa.Table(
    "ledger_batches",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sealed_at", MOMENT, nullable=False),
    sa.UniqueConstraint("stream", "hour", "number"),
)

sa.Table(
    "ledger_objects",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("uri", sa.String, primary_key=True),
    sa.Column("etag", sa.String, primary_key=True),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("last_modified", MOMENT, nullable=False),
    sa.Column("arrival", MOMENT, nullable=False),
    sa.Column("batch_id", sa.ForeignKey("ledger_batches.id"), nullable=True),
    sa.Column("position", sa.Integer, nullable=True),
    sa.Index("ledger_objects_hour", "stream", "hour"),
)

sa.Table(
    "ledger_commits",
    metadata,
    sa.Column("batch_id", sa.ForeignKey("ledger_batches.id"), primary_key=True),
    sa.Column("layer", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("upstream", sa.String, nullable=True),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("committed_at", MOMENT, nullable=False),
    sa.UniqueConstraint("stream", "layer", "sequence"),
    sa.Index("ledger_commits_hour", "stream", "hour"),
)

sa.Table(
    "ledger_files",
    metadata,
    sa.Column("batch_id", sa.String, primary_key=True),
    sa.Column("layer", sa.String, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(["batch_id", "layer"], ["ledger_commits.batch_id", "ledger_commits.layer"]),
    sa.Index("ledger_files_path", "path"),
)

sa.Table(
    "ledger_contracts",
    metadata,
    sa.Column("contract", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("active_since", MOMENT, nullable=False),
    comment="Versions of contracts that events were processed under; rows are never changed",
)

sa.Table(
    "ledger_leases",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("hour", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("token", sa.String, nullable=False),
    sa.Column("expires_at", MOMENT, nullable=False),
)

sa.Table(
    "singleton_key",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False),
)

sa.Table(
    "pseudonym_secret",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("check_value", sa.LargeBinary, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False),
)

sa.Table(
    "period_key",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("stream", sa.String(255), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("wrapped", sa.LargeBinary),
    sa.Column("created_at", MOMENT, nullable=False),
    sa.Column("destroyed_at", MOMENT),
)

sa.Table(
    "epoch_key",
    metadata,
    sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("wrapped", sa.LargeBinary),
    sa.Column("created_at", MOMENT, nullable=False),
    sa.Column("destroyed_at", MOMENT),
)

sa.Table(
    "subject",
    metadata,
    sa.Column("tag", sa.LargeBinary(32), primary_key=True),
    sa.Column("ref", sa.LargeBinary(16), nullable=False, unique=True),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("salt_key_id", sa.Integer, sa.ForeignKey("epoch_key.epoch"), nullable=False),
    sa.Column("created_hour", sa.Integer, nullable=False),
)

sa.Table(
    "tombstone",
    metadata,
    sa.Column("mark", sa.LargeBinary(32), primary_key=True),
    sa.Column("erased_at", MOMENT, nullable=False),
    sa.Column("expires_at", MOMENT, nullable=False),
)

sa.Table(
    "loss",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", MOMENT, nullable=False),
)


def upgrade() -> None:
    """Makes the tables that are missing. Raises `SchemaError` if one of these names is somebody else's."""
    connection = op.get_bind()
    found = sa.inspect(connection)
    there = set(found.get_table_names())
    for table in metadata.sorted_tables:
        if table.name in there and {item["name"] for item in found.get_columns(table.name)} != {
            item.name for item in table.columns
        }:
            raise SchemaError(
                f"{SETTING}: it has a table {table.name} with other columns, which is not ours — "
                "give ledger and key store a database, or a schema, of their own"
            )
    metadata.create_all(connection)
