"""Zones of their own for each test."""

from pathlib import Path

import pytest

from pii_pipeline.lake import Zone, Zones


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    return Zones.under(tmp_path / "storage")


@pytest.fixture
def lake(zones: Zones) -> Zone:
    return zones.lake
