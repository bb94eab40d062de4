"""What is in a warehouse, read by other clients than the product's."""

from __future__ import annotations

from typing import Any

import duckdb
import psycopg2


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows that SQL gives, or changes, in the warehouse at `url`."""
    if url.startswith("duckdb:///"):
        with duckdb.connect(url.removeprefix("duckdb:///")) as file:
            return file.execute(sql).fetchall()
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def columns(url: str, table: str) -> dict[str, str]:
    """The table's columns and types, as the warehouse calls them."""
    return dict(
        ask(
            url,
            "SELECT column_name, data_type FROM information_schema.columns "
            f"WHERE table_schema = current_schema() AND table_name = '{table}' ORDER BY ordinal_position",
        )
    )
