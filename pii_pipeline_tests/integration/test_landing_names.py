"""Objects called as S3 allows, and after people: each is made and deleted, and Dagster not told its name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pii_pipeline.definitions import build
from pii_pipeline.jobs import PROCESS_EVENTS
from pii_pipeline.ledger import VALIDATED_EVENTS, add_counts
from pii_pipeline.maintenance import APPLY_RETENTION
from pii_pipeline.pipeline import arrivals
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.query import query
from pii_pipeline.runs import prepare_dagster_home
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import aws_environment
from pii_pipeline_tests.integration.small_streams import BAD, GOOD, environment
from pii_pipeline_tests.plain_s3 import plain_bucket

WHO = "Mustermann"
NAMES = [
    "\0",
    "a\0b",
    "␀0",
    "\x01\x1f\x7f\x85",
    "\n\r\t",
    "%00",
    "%",
    "+ &?#<'\"\\",
    "é/日本/😀\ufffe\u2028",
    "../a//./b",
    "s3://",
    "z" * (1024 - len(f"alpha/{WHO}")),
]
DATED = f"alpha/2026/11/10/09/{WHO} bad.json"
GONE = f"alpha/{WHO} gone.json"


def lines(events: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(event) + "\n" for event in events).encode()


@pytest.fixture
def objects() -> dict[str, bytes]:
    """The bucket; each object of NAMES has other events than the others."""
    found = {
        f"alpha/{WHO}{name}": lines([{**event, "page": f"page {number}"} for event in GOOD])
        for number, name in enumerate(NAMES)
    }
    return {**found, DATED: lines([*GOOD, *BAD[:2]]), GONE: lines(GOOD)}


@pytest.fixture
def installation(
    tmp_path: Path, objects: dict[str, bytes], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    with plain_bucket(objects) as endpoint:
        for name, value in aws_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        settings = {"PII_LANDING_URI": "s3://acme", "PII_DATABASE_URL": database_url}
        opened = Installation(read_settings(environment(tmp_path) | settings, project=project_root()))
        yield opened
        opened.close()


@pytest.fixture
def instance(installation: Installation) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(installation.settings))) as opened:
        yield opened


def tick(
    installation: Installation, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> list[dg.RunRequest]:
    """What is asked for. What the daemon would write down of the tick names nobody."""
    sensor = definitions.resolve_sensor_def("alpha_landing_objects")
    with dg.build_sensor_context(
        instance=instance, resources={"installation": installation}, definitions=definitions
    ) as context:
        found = sensor.evaluate_tick(context)
    assert WHO not in repr(found)
    return list(found.run_requests or ())


def test_every_name_is_taken_and_none_is_told(
    installation: Installation,
    objects: dict[str, bytes],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "dagster")
    monkeypatch.setattr(arrivals, "OBJECTS_AT_ONCE", 3)
    monkeypatch.setattr("pii_pipeline.sensors.landing_objects.LOOKING_SECONDS", 0)
    definitions = build(installation)
    looked = 0
    while installation.ledger.listing("alpha").complete is None:
        tick(installation, definitions, instance)
        looked += WHO in str(installation.ledger.listing("alpha").after)
    assert looked > len(objects) / 3 - 1, "many times amid the listing, after an object of that name"
    del objects[GONE]
    job = definitions.resolve_job_def(PROCESS_EVENTS)
    for request in tick(installation, definitions, instance):
        result = job.execute_in_process(
            instance=instance,
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection or ()),
            tags={**request.tags, "dagster/run_key": str(request.run_key)},
            raise_on_error=False,
        )
        assert result.success
    assert tick(installation, definitions, instance) == []

    reports = installation.ledger.status("alpha")
    assert [wrong for report in reports for wrong in report.violations()] == []
    total = add_counts([report.layers[VALIDATED_EVENTS].counts for report in reports])
    expected = (len(NAMES) + 1) * len(GOOD)
    assert (total["records"], total["validated"], total["bad"]) == (expected + 3, expected, 3)
    pages = query(installation, "SELECT page, count(*) FROM alpha.pseudonymized_events GROUP BY 1").rows
    assert sorted(pages) == sorted(
        [["home", len(GOOD)], *([f"page {number}", len(GOOD)] for number in range(len(NAMES)))]
    )

    retained = definitions.resolve_job_def(APPLY_RETENTION).execute_in_process(instance=instance)
    assert retained.success and objects == {}
    assert installation.ledger.expiring_hours("alpha") == []
    said = capfd.readouterr()
    assert WHO not in said.out + said.err + caplog.text
    assert "alpha__raw_events" in said.err + caplog.text, "there is what was said"
    home = installation.settings.dagster_home
    kept = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    assert any(b"alpha__raw_events" in content for content in kept.values())
    assert [file for file, content in kept.items() if WHO.encode() in content] == []
