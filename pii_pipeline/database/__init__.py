"""The databases of ledger and key store, and of the vault: SQLite embedded, PostgreSQL in production.

What they rely on: `engine.begin()` is a *write* transaction and may read, decide and write without another
process changing the answer in between; `reading(engine)` is a transaction that only reads and never waits
for a writer. `durable_later(engine)` writes, and on SQLite leaves it to the next one to wait for the disk.
"""

from pii_pipeline.database.connecting import connect, connect_existing
from pii_pipeline.database.errors import (
    ConnectionLost,
    DatabaseError,
    DatabaseUnavailable,
    SchemaError,
    unknown_option,
    why_no_connection,
)
from pii_pipeline.database.files import make_private_directories, make_private_file, private_files
from pii_pipeline.database.schema import Schema, upgrade
from pii_pipeline.database.transactions import again_if_lost, durable_later, insert_new, reading, scrub
from pii_pipeline.database.types import UtcDateTime

__all__ = [
    "ConnectionLost",
    "DatabaseError",
    "DatabaseUnavailable",
    "Schema",
    "SchemaError",
    "UtcDateTime",
    "again_if_lost",
    "connect",
    "connect_existing",
    "durable_later",
    "insert_new",
    "make_private_directories",
    "make_private_file",
    "private_files",
    "reading",
    "scrub",
    "unknown_option",
    "upgrade",
    "why_no_connection",
]
