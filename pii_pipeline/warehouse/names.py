"""Names that SQL has no need to quote, in PostgreSQL as in DuckDB."""

from __future__ import annotations

import re

LONGEST_NAME = 63
"""Bytes; PostgreSQL cuts off what is more."""

_PLAIN = re.compile(r"[a-z][a-z0-9_]*")

# fmt: off
RESERVED_WORDS = frozenset((
    "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "asymmetric", "at",
    "authorization", "binary", "both", "by", "case", "cast", "check", "collate", "collation", "column",
    "concurrently", "constraint", "create", "cross", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc",
    "describe", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze",
    "from", "full", "glob", "grant", "group", "having", "ilike", "in", "initially", "inner", "intersect",
    "into", "is", "isnull", "join", "lambda", "lateral", "leading", "left", "like", "limit", "localtime",
    "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or", "order", "outer",
    "overlaps", "pivot", "pivot_longer", "pivot_wider", "placing", "positional", "primary", "qualify",
    "references", "returning", "right", "select", "semi", "session_user", "show", "similar", "some",
    "summarize", "symmetric", "system_user", "table", "tablesample", "then", "to", "trailing", "true",
    "union", "unique", "unpack", "unpivot", "user", "using", "variadic", "verbose", "when", "where",
    "window", "with",
))
# fmt: on
"""Words that at least one of the two reads as SQL where the name of a table or column should stand."""


def name_problem(name: str) -> str:
    """Why a table or column should not be called `name`, or ""."""
    if not _PLAIN.fullmatch(name):
        return f"`{name}` is not lower-case letters, digits and _, starting with a letter"
    if len(name) > LONGEST_NAME:
        return f"longer than {LONGEST_NAME} characters"
    return f"`{name}` is a word of SQL" if name in RESERVED_WORDS else ""


def quoted(name: str) -> str:
    """`name` as an SQL identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
