"""What can go wrong with the database, in words of ours: libraries quote values, URLs and passwords."""

from __future__ import annotations

import re
from collections.abc import Collection

SETTING = "PII_DATABASE_URL"

_NO_CONNECTION = {
    "Connection refused": "nobody listens there",
    "could not translate host name": "there is no such host",
    "password authentication failed": "the user or the password is wrong",
    "does not exist": "there is no such database or user",
    "timeout expired": "no answer",
    "is starting up": "it is starting",
    "is shutting down": "it is shutting down",
    "in recovery mode": "it is recovering",
}
"""What libpq says, and we in its place: it may quote what it was given."""
_UNKNOWN_OPTION = re.compile(r'invalid (?:connection option|URI query parameter:) "([^"]*)"')


class DatabaseError(Exception):
    """The database's URL cannot be used; the message says what is supported and quotes no password."""


class DatabaseUnavailable(DatabaseError):
    """The database is not there, or does not work, at the moment."""


class ConnectionLost(DatabaseUnavailable):
    """It was there a moment ago: a server that restarts. Whether the transaction's COMMIT arrived is not
    known; who can be asked for the same again without harm may wait and ask."""


class SchemaError(DatabaseError):
    """The tables are not those that this release can work with."""


def why_no_connection(said: str) -> str:
    """Why there is no connection to PostgreSQL, in words of ours, or ""; `said` by libpq."""
    return next((ours for theirs, ours in _NO_CONNECTION.items() if theirs in said), "")


def unknown_option(said: str, options: Collection[str]) -> str | None:
    """Which of a URL's `options` libpq does not know, if it has `said` so: what else it may take for one may
    be part of a password."""
    found = _UNKNOWN_OPTION.search(said)
    return found[1] if found and found[1] in options else None
