"""The vault's tables in SQLite and PostgreSQL. Who changes one here writes a migration; a test compares the
two.

What a caller may have written, or is a number of random bytes, is bytes: PostgreSQL's text holds no NUL.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from pii_pipeline.database import Schema, UtcDateTime
from pii_pipeline.vault.stores.interface import SETTING

VAULT_SCHEMA = Schema(Path(__file__).with_name("migrations"), "pii_vault_schema_version", SETTING)

metadata = MetaData()

# `digest`: the first 16 bytes of the SHA-256 of `sealed`, which may be too long for a key.
records = Table(
    "vault_records",
    metadata,
    Column("stream", String(255), primary_key=True),
    Column("field", String(255), primary_key=True),
    Column("pseudonym", LargeBinary, primary_key=True),
    Column("subject", LargeBinary(16), primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("mark", LargeBinary(32), nullable=False),
    Column("first_seen", Date, nullable=False),
    Column("last_seen", Date, nullable=False),
    comment="Originals, sealed; subject or mark is empty",
)
Index("vault_records_subject", records.c.subject)
Index("vault_records_mark", records.c.mark)

# `rank`: of two consents of one subject and stream the higher one holds. `seal`: by the installation's key.
consents = Table(
    "vault_consents",
    metadata,
    Column("subject", LargeBinary(16), primary_key=True),
    Column("stream", String(255), primary_key=True),
    Column("levels", String, nullable=False),
    Column("cumulative", Boolean, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("rank", LargeBinary, nullable=False),
    Column("seal", LargeBinary(32), nullable=False),
    comment="The latest consent of each data subject, by stream",
)

# `writer`: 16 random bytes of one call, by which it knows its own entries if the answer was lost.
audit = Table(
    "vault_audit",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("seal", LargeBinary(32), nullable=False),
    Column("writer", LargeBinary(16), nullable=False),
    comment="The audit log; rows are never changed",
)

spent = Table(
    "vault_spent",
    metadata,
    Column("principal", String, primary_key=True),
    Column("window", String, primary_key=True),
    Column("spent", BigInteger, nullable=False),
    Column("began_at", UtcDateTime, nullable=False),
    comment="Records that were counted against limits, by window of time",
)

anchor = Table(
    "vault_anchor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    comment="One row: the entry that was anchored last",
)
