"""``pii files``: what is committed and may be read, and nothing else."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pii_pipeline.cli.common import installation
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline_tests.unit.cli.conftest import Pii

HOURS = ("2026-01-15T09", "2026-01-15T10")


@pytest.fixture
def logins(pii: Pii) -> None:
    """Two hours of log-ins in the lake."""
    for hour, end in zip(HOURS, ("2026-01-15T10:00", "2026-01-15T11:00"), strict=True):
        pii("sample", "logins", "--events", 100, "--end", end, "--land")
        with installation() as opened:
            stream = opened.streams["logins"]
            seal_hour(opened, stream, hour)
            validate_hour(opened, stream, hour)
            pseudonymize_hour(opened, stream, hour)


@pytest.mark.usefixtures("logins")
def test_files_that_are_committed_can_be_read_and_others_are_not_named(pii: Pii, storage: Path):
    folder = storage / "lake/logins/pseudonymized_events"
    (stray := folder / f"hour={HOURS[0]}" / "stray.parquet").touch()

    found = pii("files", "logins", "pseudonymized_events").stdout.splitlines()
    assert [Path(path).parent for path in found] == [folder / f"hour={hour}" for hour in HOURS]
    assert str(stray) not in found
    assert [pq.read_table(path, partitioning=None).num_rows for path in found] == [99, 99]

    (one,) = json.loads(pii("files", "logins", "pseudonymized_events", "--hour", HOURS[1], "--json").stdout)
    assert one == {"hour": HOURS[1], "path": found[1]}
    assert pii("files", "webshop", "marketing").stdout == ""


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("dataset", ["validated_events", "raw_events", "event_digests", "marketing", "../x"])
def test_what_may_not_be_read_is_not_named(pii: Pii, dataset: str):
    result = pii("files", "logins", dataset)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"no dataset of logins that may be read is called `{dataset}`" in result.stderr


def test_a_misspelt_dataset_has_its_mend(pii: Pii):
    assert "did you mean `marketing`?" in pii("files", "webshop", "marketin").stderr
