"""The key store's tables. Every key in them is wrapped; NULL in its place means destroyed on purpose."""

from __future__ import annotations

from sqlalchemy import Column, Date, ForeignKey, Integer, LargeBinary, MetaData, String, Table

from pii_pipeline.database import UtcDateTime

metadata = MetaData()

singleton_key = Table(
    "singleton_key",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

pseudonym_secret = Table(
    "pseudonym_secret",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("check_value", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Keys of one stream and day: window (day of event time), quarantine and restricted (day of arrival). A row
# without a key is the marker that keeps a destroyed key from being made again.
period_key = Table(
    "period_key",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("stream", String(255), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("wrapped", LargeBinary),
    Column("created_at", UtcDateTime, nullable=False),
    Column("destroyed_at", UtcDateTime),
)

epoch_key = Table(
    "epoch_key",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("wrapped", LargeBinary),
    Column("created_at", UtcDateTime, nullable=False),
    Column("destroyed_at", UtcDateTime),
)

# One row per person. `created_hour` counts hours since 1970: finer, it would lead from a row to an event.
subject = Table(
    "subject",
    metadata,
    Column("tag", LargeBinary(32), primary_key=True),
    Column("ref", LargeBinary(16), nullable=False, unique=True),
    Column("salt", LargeBinary, nullable=False),
    Column("salt_key_id", Integer, ForeignKey(epoch_key.c.epoch), nullable=False),
    Column("created_hour", Integer, nullable=False),
)

# Who was forgotten, under a key of its own: a tombstone cannot be matched with a subject's tag.
tombstone = Table(
    "tombstone",
    metadata,
    Column("mark", LargeBinary(32), primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

# A row for each time a person was forgotten or a key destroyed: counted, by whoever must know that nobody was
# since. No order is to be read from it, and whom or what it was is not in it.
loss = Table(
    "loss",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)
