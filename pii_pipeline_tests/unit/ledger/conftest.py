"""A ledger in a real database for every test: a SQLite file, and PostgreSQL where there is one."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from pii_pipeline.database import connect, upgrade
from pii_pipeline.ledger import Ledger


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    return Ledger(engine)
