"""Locations of zones, and paths inside them."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pii_pipeline.lake import (
    UnsupportedStorage,
    Zone,
    Zones,
    data_file,
    hour_text,
    landing_hour,
    landing_path,
    landing_prefix,
    landing_prefixes,
    list_objects,
    object_name,
    parse_hour,
    put,
)

HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_a_path_and_a_file_uri_are_the_same_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "with space" / "lake"
    expected = Zone.at("lake", folder)
    assert Zone.at("lake", folder.as_uri()) == expected
    assert Zone.at("lake", "with space/lake") == expected
    assert expected.uri == f"file://{tmp_path}/with%20space/lake"
    assert expected.uri_of("a b") == f"{expected.uri}/a%20b"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("location", "mend"),
    [
        ("gs://bucket", "file:///path or s3://"),
        ("hdfs:/lake", "file:///path or s3://"),
        ("file://host/lake", "file:///path"),
        ("file:lake", "file:///path"),
        ("s3:lake", "s3://bucket/prefix"),
        ("s3:///lake", "s3://bucket/prefix"),
        ("s3://Bucket/lake", "s3://bucket/prefix"),
        ("s3://bucket//lake", "s3://bucket/prefix"),
        ("s3://bucket/a/../lake", "s3://bucket/prefix"),
        ("s3://bucket/a b", "s3://bucket/prefix"),
        ("s3://bucket/lake?versionId=1", "s3://bucket/prefix"),
    ],
)
def test_other_storage_is_refused(location, mend):
    with pytest.raises(UnsupportedStorage, match=mend) as caught:
        Zone.at("lake", location)
    assert str(caught.value).startswith("PII_LAKE_URI: ")


def test_a_zone_of_a_bucket_is_known_without_asking_it():
    zones = Zones.under("s3://bucket/prefix/", landing="s3://other", lake="s3://bucket-2/")
    assert (zones.landing.uri, zones.landing.root) == ("s3://other", "s3://other")
    assert zones.lake.path("a/b") == zones.lake.uri_of("a/b") == "s3://bucket-2/a/b"
    assert zones.restricted.path("a") == "s3://bucket/prefix/restricted/a"
    assert zones.restricted == pickle.loads(pickle.dumps(zones)).restricted
    with pytest.raises(ValueError, match="whoever reads one reads both"):
        Zones.under("s3://bucket", lake="s3://bucket/restricted/lake")
    Zones.under("s3://bucket", lake="s3://bucket/restricted-2")


def test_each_zone_can_lie_elsewhere(tmp_path):
    zones = Zones.under(tmp_path / "a", landing=f"file://{tmp_path}/b", lake=None)
    assert zones.landing.root == str(tmp_path / "b")
    assert zones.lake.root == str(tmp_path / "a" / "lake")
    with pytest.raises(ValueError, match="no zone vault"):
        Zones.under(tmp_path, vault=tmp_path)


def test_zones_that_share_a_folder_are_refused(tmp_path):
    for inside in ("restricted", "restricted/lake", "lake/../restricted/x"):
        with pytest.raises(ValueError, match="whoever reads one reads both"):
            Zones.under(tmp_path, lake=tmp_path / inside)
    Zones.under(tmp_path, lake=tmp_path / "restricted_lake")


def test_zones_pickle(zones):
    put(zones.lake, "a", b"1")
    assert [info.path for info in list_objects(pickle.loads(pickle.dumps(zones)).lake)] == ["a"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../landing/a", "a/../../b", "a\0b"])
def test_a_path_stays_in_its_zone(lake, path):
    with pytest.raises(ValueError, match="stay inside"):
        put(lake, path, b"")


def test_paths_of_data():
    assert data_file("webshop", "bad_events", HOUR, "b-1", "abc") == (
        "webshop/bad_events/hour=2026-11-22T10/b-1-abc.parquet"
    )
    for wrong in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="batch and fingerprint"):
            data_file("webshop", "bad_events", HOUR, "1", wrong)
    with pytest.raises(ValueError, match="names of streams"):
        data_file("../webshop", "bad_events", HOUR, "1", "2")


def test_hours_are_utc_and_whole():
    east = HOUR.astimezone(timezone(timedelta(hours=5)))
    assert landing_prefix("webshop", east) == "webshop/2026/11/22/10"
    assert parse_hour(hour_text(HOUR)) == HOUR
    for wrong in (HOUR.replace(tzinfo=None), HOUR.replace(minute=1)):
        with pytest.raises(ValueError, match="hour"):
            hour_text(wrong)
    for text in ("2026-11-22", "2026-11-22T24", "2026-11-22T1", "2026-11-22T10:00", ""):
        with pytest.raises(ValueError, match="2026-11-22T10"):
            parse_hour(text)


FIRST = datetime(2026, 1, 1, tzinfo=UTC)
MODIFIED = datetime(2026, 11, 22, 14, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "hour"),
    [
        ("webshop/2026/11/22/10/a.json", HOUR),
        ("webshop/2026/11/22/10/part/2026/11/20/09/a.json", HOUR),
        ("webshop/firehose/2026/11/22/10/webshop-1-2026-11-22-10-03-51-6f", HOUR),
        ("webshop/dt=2026-11-22/hour=10/a.json", HOUR),
        ("webshop/year=2026/month=11/day=22/hour=10/a.json", HOUR),
        ("webshop/year=2026/month=11/day=22/hour=9/a.json", HOUR.replace(hour=9)),
        ("webshop/2026/11/22/a.json", HOUR.replace(hour=14)),
        ("webshop/dt=2026-11-22/a.json", HOUR.replace(hour=14)),
        ("webshop/2026/11/21/a.json", datetime(2026, 11, 21, 23, tzinfo=UTC)),
        ("webshop/2026/11/23/a.json", datetime(2026, 11, 23, 0, tzinfo=UTC)),
        ("webshop/a.json", HOUR.replace(hour=14)),
        ("webshop/2026/13/22/10/a.json", HOUR.replace(hour=14)),
        ("webshop/2026/11/22/24/a.json", HOUR.replace(hour=14)),
        ("webshop/2025/12/31/23/a.json", HOUR.replace(hour=14)),
        ("webshop/x2026/11/22/10/a.json", HOUR.replace(hour=14)),
        ("webshop/2026/11/22/10", datetime(2026, 11, 22, 14, tzinfo=UTC)),
    ],
)
def test_the_hour_of_a_landing_object_is_its_folders_or_that_of_its_last_modification(path, hour):
    east = MODIFIED.astimezone(timezone(timedelta(hours=5)))
    assert landing_hour(path, east, FIRST) == hour


@given(name=st.text(min_size=1, max_size=300))
@example("../../etc/passwd")
@example("..")
@example(".hidden.json.gz")
@example("a" * 400 + ".json.zst")
def test_any_name_becomes_one_harmless_part_of_a_path(name):
    path = landing_path("webshop", HOUR, name)
    assert landing_hour(path, MODIFIED, FIRST) == HOUR
    assert path.startswith(f"{landing_prefixes('webshop', HOUR)[0]}/")
    assert Path(path).name == object_name(name)
    assert ".." not in path
    assert not object_name(name).startswith(".")
    assert len(object_name(name).encode("ascii")) <= 180
    assert object_name(object_name(name)) == object_name(name)


def test_harmless_names_stay_and_changed_ones_never_meet():
    assert object_name("events-1.json.gz") == "events-1.json.gz"
    changed = [object_name(name) for name in ("a/b.json.gz", "a_/b.json.gz", "a:b.json.gz", "/a/b.json.gz")]
    assert len({*changed, "a_b.json.gz"}) == 5
    assert all(name.endswith(".json.gz") for name in changed)
    with pytest.raises(ValueError, match="needs a name"):
        object_name("")
