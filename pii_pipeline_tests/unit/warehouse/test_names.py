"""Names: reserved is what either database reserves."""

import duckdb
import pytest

from pii_pipeline.warehouse.names import RESERVED_WORDS, name_problem, quoted
from pii_pipeline_tests.warehouses import ask


@pytest.mark.parametrize("name", ["user_logins", "a", "a2", "x" * 63, "date", "text"])
def test_names_that_need_no_quotes(name: str) -> None:
    assert name_problem(name) == ""
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE {name} ({name} integer)")
    assert connection.execute(f"SELECT {name} FROM {name}").fetchall() == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("User", "`User` is not lower-case letters"),
        ("_batch", "`_batch` is not lower-case letters"),
        ("2nd", "`2nd` is not lower-case letters"),
        ("a-b", "`a-b` is not lower-case letters"),
        ("ö", "`ö` is not lower-case letters"),
        ("a\n", "`a\n` is not lower-case letters"),
        ("", "`` is not lower-case letters"),
        ("x" * 64, "longer than 63 characters"),
        ("order", "`order` is a word of SQL"),
    ],
)
def test_names_that_do(name: str, problem: str) -> None:
    assert name_problem(name).startswith(problem)


def test_what_duckdb_reserves_is_reserved() -> None:
    connection = duckdb.connect()
    refused = set()
    for (word,) in connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall():
        try:
            connection.extract_statements(f"CREATE TABLE {word} ({word} integer); SELECT {word} FROM {word}")
        except duckdb.ParserException:
            refused.add(word)
    assert refused and refused <= RESERVED_WORDS


def test_what_postgresql_reserves_is_reserved(postgres_url: str) -> None:
    url = postgres_url.replace("+psycopg2", "")
    words = {word for (word,) in ask(url, "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")}
    assert words and words <= RESERVED_WORDS


def test_quoting() -> None:
    assert quoted('a "b" c') == '"a ""b"" c"'
