"""A real database for every test of the ledger: a SQLite file, and PostgreSQL where there is one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pii_pipeline.database import connect
from pii_pipeline.ledger import Ledger, tables


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
