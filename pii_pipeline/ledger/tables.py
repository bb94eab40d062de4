"""The ledger's tables, in SQLAlchemy Core, the same on SQLite and PostgreSQL.

Their names begin with ``ledger_`` because the database is shared with the key store and, where it is
configured so, with Dagster's own tables. The database has them from the migrations: whoever changes something
here writes one (`database.schema`), and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from pii_pipeline import database
from pii_pipeline.database import UtcDateTime

metadata = sa.MetaData()

heads = sa.Table(
    "ledger_heads",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("layer", sa.String, primary_key=True),
    sa.Column("head", sa.BigInteger, nullable=False),
    comment="The highest commit sequence of each stream and layer; its row is the lock of every change there",
)

batches = sa.Table(
    "ledger_batches",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sealed_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("stream", "hour", "number"),
)

_OF_NONE = sa.text("batch_id IS NULL")

objects = sa.Table(
    "ledger_objects",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("uri", sa.String, primary_key=True),
    sa.Column("etag", sa.String, primary_key=True),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("last_modified", UtcDateTime, nullable=False),
    sa.Column("arrival", UtcDateTime, nullable=False),
    sa.Column("batch_id", sa.ForeignKey(batches.c.id), nullable=True),
    sa.Column("position", sa.Integer, nullable=True),
    sa.Index("ledger_objects_hour", "stream", "hour"),
    sa.Index("ledger_objects_waiting", "stream", "hour", sqlite_where=_OF_NONE, postgresql_where=_OF_NONE),
)

listings = sa.Table(
    "ledger_listings",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("after", sa.String, nullable=True),
    sa.Column("began", UtcDateTime, nullable=True),
    sa.Column("complete", UtcDateTime, nullable=True),
    comment="How far each stream's landing objects have been listed",
)

zones = sa.Table(
    "ledger_zones",
    metadata,
    sa.Column("zone", sa.String, primary_key=True),
    sa.Column("uri", sa.String, nullable=False),
    comment="Where each zone is that the ledger's paths are relative to",
)

vault = sa.Table(
    "ledger_vault",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("adopted", sa.String, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String, nullable=False),
    comment="One row: the vault that originals are loaded into, by entries of its audit log",
)

commits = sa.Table(
    "ledger_commits",
    metadata,
    sa.Column("batch_id", sa.ForeignKey(batches.c.id), primary_key=True),
    sa.Column("layer", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("upstream", sa.String, nullable=True),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("committed_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("stream", "layer", "sequence"),
    sa.Index("ledger_commits_hour", "stream", "hour"),
)

# Rows and not JSON in the commit: which files a reader may see, and whether a file is still anybody's, are
# questions to the database.
files = sa.Table(
    "ledger_files",
    metadata,
    sa.Column("batch_id", sa.String, primary_key=True),
    sa.Column("layer", sa.String, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("first_row", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("columns", sa.String, nullable=False, server_default=""),
    sa.ForeignKeyConstraint(["batch_id", "layer"], [commits.c.batch_id, commits.c.layer]),
    sa.Index("ledger_files_path", "path"),
)

unheld_files = sa.Table(
    "ledger_unheld_files",
    metadata,
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("layer", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("delete_after", UtcDateTime, nullable=False),
    sa.Column("deleted_by", sa.String, nullable=True),
    sa.Index("ledger_unheld_files_hour", "stream", "hour"),
    comment="Files that are there, or may be, and that no commit holds",
)

contracts = sa.Table(
    "ledger_contracts",
    metadata,
    sa.Column("contract", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("active_since", UtcDateTime, nullable=False),
    comment="Versions of contracts that events were processed under; rows are never changed",
)

expiring = sa.Table(
    "ledger_expiring",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("path", sa.String, primary_key=True),
    sa.Column("etag", sa.String, primary_key=True),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    comment="What retention has decided to delete and is not known to be gone yet",
)

deletions = sa.Table(
    "ledger_deletions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("stream", sa.String, nullable=False),
    sa.Column("hour", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("deleted_at", UtcDateTime, nullable=False),
    comment="What retention has deleted, as numbers; rows are never changed",
)

leases = sa.Table(
    "ledger_leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("token", sa.String, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], returning: sa.Column[Any]
) -> list[Any]:
    """Inserts the rows whose key is not there, leaves the others; returns `returning` of the new ones."""
    statement = database.insert_new(connection.engine, table).returning(returning)
    return list(connection.execute(statement, list(rows)).scalars()) if rows else []


def lock(connection: sa.Connection, stream: str, layer: str) -> int:
    """Holds off every other transaction that changes this stream and layer until this one ends; returns the
    head. To be called first: PostgreSQL shows the statements after it what the one before had committed."""
    insert_new(connection, heads, [{"stream": stream, "layer": layer, "head": 0}], heads.c.head)
    chosen = (heads.c.stream == stream) & (heads.c.layer == layer)
    return connection.execute(sa.select(heads.c.head).where(chosen).with_for_update()).scalar_one()


def now(connection: sa.Connection) -> datetime:
    """The present moment by the database's clock where it has one, so that hosts agree on it."""
    if connection.dialect.name == "postgresql":
        return connection.execute(sa.select(sa.func.clock_timestamp(type_=UtcDateTime))).scalar_one()
    return datetime.now(UTC)
