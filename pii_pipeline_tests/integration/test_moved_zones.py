"""Zones that are elsewhere than they were: nobody works on hours until what lay there was moved along."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from click.testing import CliRunner, Result

from pii_pipeline.cli import cli
from pii_pipeline.definitions import build
from pii_pipeline.ledger import Listing
from pii_pipeline.pipeline.compaction import compact_hours
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.drain import drain
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.places import SAMPLE, ZoneMoved, accept, hold_to_places, moved_zones, spread
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.retention import apply_retention
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline_tests.aws import make_bucket
from pii_pipeline_tests.integration.small_streams import GOOD, HOUR, environment, land_events

Opened = Callable[..., Installation]
ZONES = ("landing", "restricted", "lake", "consented")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens the installation, with other settings."""
    installations: list[Installation] = []

    def open_it(**others: object) -> Installation:
        settings = environment(tmp_path) | {
            f"PII_{name.upper()}": str(value) for name, value in others.items()
        }
        installations.append(Installation(read_settings(settings, project=project_root())))
        return installations[-1]

    yield open_it
    for installation in installations:
        installation.close()


def made(installation: Installation) -> None:
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, HOUR)
    validate_hour(installation, stream, HOUR)
    pseudonymize_hour(installation, stream, HOUR)
    derive_hour(installation, stream, "report", HOUR)


@pytest.fixture
def done(opened: Opened) -> Installation:
    """An hour that is made to its end."""
    installation = opened()
    land_events(installation, "alpha", GOOD)
    made(installation)
    return installation


def said(installation: Installation) -> str:
    with pytest.raises(ZoneMoved) as refused:
        hold_to_places(installation)
    return str(refused.value)


def test_a_zone_that_has_moved_is_refused_with_its_variable_and_both_places(
    done: Installation, opened: Opened, tmp_path: Path
) -> None:
    moved = opened(lake_uri=tmp_path / "other")
    lake, other = done.zones.lake.uri, (tmp_path / "other").as_uri()
    assert said(moved) == (
        f"PII_LAKE_URI or PII_STORAGE_URI: the lake zone was at {lake}, where 2 committed files are, and is "
        f"at {other} now — set it back; or move all of it along, and then say so: pii db zones --moved lake"
    )
    hold_to_places(done)
    assert moved_zones(done) == []


def test_nobody_works_on_an_hour(done: Installation, opened: Opened, tmp_path: Path) -> None:
    _with_queue(tmp_path)
    moved = opened(consented_uri=tmp_path / "other")
    stream = moved.streams["alpha"]
    for work in (
        lambda: seal_hour(moved, stream, HOUR),
        lambda: validate_hour(moved, stream, HOUR),
        lambda: list(compact_hours(moved, [(stream, HOUR)])),
        lambda: apply_retention(moved, stream, datetime(2027, 1, 1, tzinfo=UTC)),
        lambda: drain(moved, moved.streams["with_queue"]),
    ):
        with pytest.raises(ZoneMoved, match=r"^PII_CONSENTED_URI .* pii db zones --moved consented$"):
            work()


def _with_queue(folder: Path) -> None:
    stream = folder / "streams" / "with_queue"
    shutil.copytree(folder / "streams" / "alpha", stream)
    text = (stream / "stream.yaml").read_text() + "source: {sqs: none}\n"
    (stream / "stream.yaml").write_text(text)
    contract = (stream / "contract.yaml").read_text()
    (stream / "contract.yaml").write_text(contract.replace("tests/alpha", "tests/with_queue"))


def test_a_tick_fails_in_words_of_ours(done: Installation, opened: Opened, tmp_path: Path) -> None:
    moved = opened(lake_uri=tmp_path / "other")
    definitions = build(moved)
    sensor = definitions.resolve_sensor_def("alpha_landing_objects")
    with (
        dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance,
        dg.build_sensor_context(
            instance=instance, resources={"installation": moved}, definitions=definitions
        ) as context,
        pytest.raises(dg.Failure) as failure,
    ):
        sensor.evaluate_tick(context)
    assert str(failure.value.description).startswith(
        "ZoneMoved: PII_LAKE_URI or PII_STORAGE_URI: the lake zone"
    )


def test_the_same_place_written_otherwise_is_the_same(
    done: Installation, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for same in ("storage", "./storage/", (tmp_path / "storage").as_uri(), f"{tmp_path}/x/../storage//"):
        hold_to_places(opened(storage_uri=same))
        assert moved_zones(opened(storage_uri=same)) == []


def test_where_nothing_is_needed_of_it_a_zone_may_be_anywhere(opened: Opened, tmp_path: Path) -> None:
    installation = opened()
    hold_to_places(installation)
    assert installation.ledger.zones() == {name: getattr(installation.zones, name).uri for name in ZONES}
    moved = opened(storage_uri=tmp_path / "other")
    hold_to_places(moved)
    assert moved.ledger.zones()["lake"] == (tmp_path / "other" / "lake").as_uri()


def test_of_landing_only_what_was_not_read_is_needed(opened: Opened, tmp_path: Path) -> None:
    installation = opened()
    land_events(installation, "alpha", GOOD)
    seal_hour(installation, installation.streams["alpha"], HOUR)
    moved = opened(landing_uri=tmp_path / "other")
    assert "the landing zone was at" in said(moved) and "where 1 object waits to be processed" in said(moved)
    made(installation)
    installation.ledger.keep_listing("alpha", Listing(after="alpha/z", complete=datetime.now(UTC)))
    hold_to_places(moved)
    assert moved.ledger.listing("alpha") == Listing(), "of another place nothing was listed yet"
    land_events(moved, "alpha", GOOD[:5], "b.json")
    made(moved)
    (status,) = moved.ledger.status("alpha")
    assert status.layers["validated_events"].counts["records"] == 15


def test_on_s3_too(aws: boto3.Session, opened: Opened) -> None:
    one, other = make_bucket(aws, "acme-one"), make_bucket(aws, "acme-other")
    installation = opened(lake_uri=f"{one}/in/")
    land_events(installation, "alpha", GOOD)
    made(installation)
    hold_to_places(opened(lake_uri=f"{one}/in"))
    for elsewhere in (one, f"{other}/in"):
        assert f"was at s3://acme-one/in, where 2 committed files are, and is at {elsewhere} now" in said(
            opened(lake_uri=elsewhere)
        )
    moved = opened(lake_uri=f"{other}/in")
    client = aws.client("s3")
    for found in client.list_objects_v2(Bucket="acme-one")["Contents"]:
        client.copy({"Bucket": "acme-one", "Key": found["Key"]}, "acme-other", found["Key"])
    assert [accept(moved, item) for item in moved_zones(moved)] == [2]
    hold_to_places(moved)


def test_what_is_looked_for_is_spread() -> None:
    found = [(str(number), number) for number in range(1_000)]
    sample = spread(found, SAMPLE)
    assert len({*sample}) == SAMPLE and (sample[0], sample[-1]) == (found[0], found[-1])
    assert {later[1] - earlier[1] for earlier, later in pairwise(sample)} <= {52, 53}
    assert spread(found[:SAMPLE], SAMPLE) == found[:SAMPLE]


# ── the command line ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, arguments, prog_name="pii")
        assert result.exit_code == code, result.output
        return result

    return call


def places(result: Result) -> dict[str, Any]:
    return json.loads(result.stdout)


@pytest.mark.usefixtures("done")
def test_commands_that_work_refuse_and_those_that_look_warn(
    pii: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PII_LAKE_URI", str(tmp_path / "other"))
    warning = "pii: PII_LAKE_URI or PII_STORAGE_URI: the lake zone was at "
    for work in (["run"], ["compact"], ["retain"], ["retain", "--dry-run"]):
        result = pii(*work, code=2)
        assert result.stderr.startswith(warning) and result.stdout == ""
    for look in (
        ["status"],
        ["files", "alpha", "pseudonymized_events"],
        ["files", "alpha", "report", "--json"],
    ):
        result = pii(*look)
        assert result.stderr.startswith(warning) and result.stderr.count("\n") == 1
    assert pii("query", "SELECT count(*) FROM alpha.report").stderr.startswith(warning)
    assert warning in pii("query", "SELECT page FROM alpha.pseudonymized_events", code=1).stderr


def test_zones_are_shown_and_moved(
    done: Installation, pii: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = done.zones.lake.uri
    assert places(pii("db", "zones", "--json"))["lake"] == {"was": lake, "is": lake}
    other = tmp_path / "other"
    monkeypatch.setenv("PII_LAKE_URI", str(other))
    result = pii("db", "zones", code=1)
    assert f"lake: {other.as_uri()}; before {lake}\n" in result.stdout
    assert "pii: PII_LAKE_URI or PII_STORAGE_URI: the lake zone was at" in result.stderr

    missing = "pii: lake: of 2 files that were looked for 2 are not at"
    assert pii("db", "zones", "--moved", "lake", code=1).stderr.startswith(missing)
    shutil.copytree(tmp_path / "storage" / "lake", other)
    file, _ = other.rglob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    shortened = "pii: lake: of 2 files that were looked for 1 are not at"
    assert pii("db", "zones", "--moved", "lake", code=1).stderr.startswith(shortened)
    file.write_bytes(whole)
    assert pii("db", "zones", "--moved", "consented", code=1).stderr.startswith("pii: PII_LAKE_URI")
    result = pii("db", "zones", "--moved", "lake")
    assert f"lake: {other.as_uri()}, and 2 files looked for are there\n" in result.stdout
    assert places(pii("db", "zones", "--json"))["lake"] == {"was": other.as_uri(), "is": other.as_uri()}

    shutil.rmtree(tmp_path / "storage" / "lake")
    assert pii("query", "SELECT count(*) FROM alpha.pseudonymized_events").stderr == ""
    assert pii("status").stderr == ""
    monkeypatch.delenv("PII_LAKE_URI")
    assert pii("run", code=2).stderr.startswith("pii: PII_LAKE_URI or PII_STORAGE_URI: the lake zone was at")
    assert os.environ["PII_STORAGE_URI"] == str(tmp_path / "storage")
