"""What every storage does, a folder and a bucket alike: written whole or not at all, one version read."""

from __future__ import annotations

import io
import pickle
from datetime import UTC, datetime, timedelta

import boto3
import pyarrow as pa
import pytest

from pii_pipeline.lake import (
    Version,
    VersionChanged,
    Zone,
    content_tag,
    delete,
    delete_versions,
    list_objects,
    local,
    open_input,
    open_versions,
    publish,
    put,
    read_parquet,
    sweep_temporaries,
    tag_of,
    walk_objects,
    write_parquet,
)
from pii_pipeline.lake.files import hidden_output
from pii_pipeline.lake.s3_reading import AHEAD_BYTES, BLOCK_BYTES
from pii_pipeline_tests.aws import make_bucket


@pytest.fixture(params=["local", "s3", "s3 prefix"])
def zone(request: pytest.FixtureRequest, tmp_path) -> Zone:
    if request.param == "local":
        return Zone.at("lake", tmp_path / "lake")
    session: boto3.Session = request.getfixturevalue("aws")
    bucket = make_bucket(session, "lake-bucket")
    return Zone.at("lake", bucket if request.param == "s3" else f"{bucket}/of/team=a")


def sealed(zone: Zone, *paths: str) -> list[Version]:
    infos = {info.path: info for info in list_objects(zone)}
    return [Version(path, infos[path].size, tag_of(zone, infos[path])) for path in paths]


def content(file) -> bytes:
    parts = []
    while part := file.read(100_000):
        parts.append(part)
    file.close()
    return b"".join(parts)


def test_a_version_is_deleted_and_never_another_one(zone):
    for name in ("a", "b", "c", "d"):
        put(zone, f"s/{name}", name.encode())
    a, b, c, d = wanted = sealed(zone, "s/a", "s/b", "s/c", "s/d")
    put(zone, "s/b", b"B")  # other bytes, as many
    put(zone, "s/c", b"c")  # the same again: the same version
    delete(zone, "s/d")
    assert delete_versions(zone, wanted) == [b]
    assert [info.path for info in list_objects(zone)] == ["s/b"]
    assert delete_versions(zone, [a, d]) == []
    assert delete_versions(zone, []) == []
    if zone.uri.startswith("s3://"):  # a key like any other
        boto3.client("s3").put_object(
            Bucket="lake-bucket", Key=f"{zone.root[17:]}/s/../other".lstrip("/"), Body=b"1"
        )
        (there,) = [info for info in list_objects(zone) if info.path == "s/../other"]
        assert delete_versions(zone, [Version(there.path, there.size, tag_of(zone, there))]) == []
        assert [info.path for info in list_objects(zone)] == ["s/b"]
    else:
        with pytest.raises(ValueError, match="stay inside"):
            delete_versions(zone, [c._replace(path="../s/b")])


@pytest.mark.parametrize("how", ["in place", "renamed over"])
def test_what_is_overwritten_while_its_version_is_looked_at_stays(tmp_path, monkeypatch, how):
    zone = Zone.at("lake", tmp_path / "lake")
    put(zone, "s/a", b"old")
    (version,) = sealed(zone, "s/a")
    hashed = local.content_tag

    def overwrite(file):
        tag = hashed(file)
        if how == "in place":
            (tmp_path / "lake" / "s" / "a").write_bytes(b"new")
        else:
            put(zone, "s/a", b"new")
        return tag

    monkeypatch.setattr(local, "content_tag", overwrite)
    assert delete_versions(zone, [version]) == [version]
    assert (tmp_path / "lake" / "s" / "a").read_bytes() == b"new"


def test_put_open_list_delete(zone):
    info = put(zone, "s/2026/b.json", b"new")
    put(zone, "s/2026/b.json", io.BytesIO(b"newer"))
    put(zone, "s/2026/a.json", b"x")
    put(zone, "s2/c.json", b"")
    assert info.uri == zone.uri_of("s/2026/b.json") == f"{zone.uri}/s/2026/b.json"
    with open_input(zone, "s/2026/b.json") as file:
        assert file.read() == b"newer"
    with open_input(zone, "s2/c.json") as file:
        assert file.read() == b""
    listed = list_objects(zone, "s")
    assert [(i.name, i.path, i.size) for i in listed] == [
        ("a.json", "s/2026/a.json", 1),
        ("b.json", "s/2026/b.json", 5),
    ]
    assert abs(listed[0].last_modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert len(list_objects(zone)) == 3
    assert list_objects(zone, "nowhere") == []
    delete(zone, "s/2026/a.json")
    delete(zone, "s/2026/a.json")
    assert [i.name for i in list_objects(zone, "s/")] == ["b.json"]
    with pytest.raises(FileNotFoundError):
        open_input(zone, "s/2026/a.json")


def test_objects_are_walked_in_order_from_anywhere(zone):
    paths = ["s/a", "s/a.b", "s/a/b", "s/b", "s/é", "s/\U0001f600"]
    for path in (*reversed([*paths]), "s/.hidden", "s2/a"):
        if path != "s/a" or zone.uri.startswith("s3:"):  # a file is no folder
            put(zone, path, b"x")
    expected = [info.path for info in walk_objects(zone, "s")]
    assert expected == sorted(paths if zone.uri.startswith("s3:") else paths[1:])
    assert [info.path for info in walk_objects(zone, "s", "s/a.b")] == expected[expected.index("s/a.b") + 1 :]
    assert list(walk_objects(zone, "s", expected[-1])) == []


def test_a_file_is_taken_from_where_it_stands_whatever_its_size(zone):
    large = bytes(range(256)) * ((2 * BLOCK_BYTES + 512) // 256)
    for data in (large, large[:1000]):
        source = io.BytesIO(b"before" + data)
        source.seek(len(b"before"))
        assert put(zone, "large", source).size == len(data)
        with open_input(zone, "large") as file:
            assert file.read() == data


def test_an_input_is_read_from_anywhere(zone):
    data = bytes(range(256)) * ((BLOCK_BYTES + 4096) // 256)
    put(zone, "a", data)
    with open_input(zone, "a") as file:
        assert file.size() == len(data)
        for start, size in ((0, 10), (len(data) - 5, 100), (3, 2 << 20), (1 << 20, len(data)), (7, 0)):
            file.seek(start)
            assert file.read(size) == data[start : start + size]
            assert file.tell() == min(start + size, len(data))


def test_what_is_written_is_hidden_until_it_is_published(zone):
    put(zone, "s/a", b"old")
    with hidden_output(zone, "s/a") as (sink, hidden):
        sink.write(b"new, half")
        sink.write(b" and whole")
        assert sink.tell() == 19
    assert [info.path for info in list_objects(zone)] == ["s/a"]
    assert open_input(zone, "s/a").read() == b"old"
    publish(zone, hidden, "s/a")
    assert open_input(zone, "s/a").read() == b"new, half and whole"
    assert sweep_temporaries(zone) == 0
    with pytest.raises(FileNotFoundError):
        publish(zone, hidden, "s/b")


def test_a_sweep_takes_what_was_never_published_and_nothing_else(zone):
    put(zone, "s/.a.tmp", b"not ours")
    put(zone, "s/b.0123abcd.tmp", b"not hidden")
    with hidden_output(zone, "s/a") as (sink, _):
        sink.write(b"1")
    assert sweep_temporaries(zone, "other") == 0
    with hidden_output(zone, "s/c") as (sink, hidden):
        sink.write(b"x" * 20_000_000)
        assert sweep_temporaries(zone, "s") == 1, "not what somebody is writing"
    publish(zone, hidden, "s/c")
    assert [info.path for info in list_objects(zone, "s")] == ["s/b.0123abcd.tmp", "s/c"]
    assert sweep_temporaries(zone) == 0


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_a_failed_write_leaves_nothing(zone, size, request):
    put(zone, "a", b"old")

    class Failing(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.asked += 1
            if self.asked > 2:
                raise ConnectionError
            return b"x" * (size or 0)

    with pytest.raises(ConnectionError):
        put(zone, "a", Failing())
    with pytest.raises(ConnectionError), hidden_output(zone, "a") as (sink, _):
        sink.write(b"x" * size)
        raise ConnectionError
    assert sweep_temporaries(zone) == 0
    assert open_input(zone, "a").read() == b"old"
    assert len(list_objects(zone)) == 1
    if zone.uri.startswith("s3:"):
        client = boto3.client("s3")
        assert "Uploads" not in client.list_multipart_uploads(Bucket="lake-bucket")


def test_versions_are_read_in_order_each_from_one_to_the_other_end(zone):
    contents = {
        "empty": b"",
        "one": b"1",
        "many": bytes(range(256)) * ((AHEAD_BYTES + 3 * BLOCK_BYTES) // 256),
        "two": b"22",
        "a block": b"b" * BLOCK_BYTES,
        "three": b"333",
    }
    for path, data in contents.items():
        put(zone, path, data)
    versions = open_versions(zone, sealed(zone, *contents))
    for index, data in enumerate(contents.values()):
        assert content(versions.open(index)) == data

    # One is given up half-way, one passed over.
    versions = open_versions(zone, sealed(zone, *contents))
    file = versions.open(2)
    assert file.read(3) == b"\0\1\2"
    file.close()
    assert content(versions.open(4)) == contents["a block"]
    assert content(versions.open(5)) == b"333"


def test_a_version_that_is_not_there_any_more_is_not_read(zone):
    for path in ("a", "b", "c", "d"):
        put(zone, path, b"first " + path.encode())
    wanted = sealed(zone, "a", "b", "c", "d")
    put(zone, "a", b"other a")
    put(zone, "b", b"longer b")
    delete(zone, "c")
    versions = open_versions(zone, wanted)
    for index, error in ((0, VersionChanged), (1, VersionChanged), (2, FileNotFoundError)):
        with pytest.raises(error):
            versions.open(index)
    assert content(versions.open(3)) == b"first d"
    assert [pickle.loads(pickle.dumps(VersionChanged("x"))).args] == [("x",)]


def test_the_same_bytes_again_are_the_same_version(zone):
    put(zone, "a", b"same")
    before = sealed(zone, "a")
    put(zone, "a", b"same")
    assert sealed(zone, "a") == before
    assert content(open_versions(zone, before).open(0)) == b"same"


@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_an_object_that_goes_while_it_is_read_is_told_before_its_end(zone, change):
    data = b"1" * (AHEAD_BYTES + 4 * BLOCK_BYTES)
    put(zone, "a", data)
    put(zone, "b", b"next")
    versions = open_versions(zone, sealed(zone, "a", "b"))
    file = versions.open(0)
    assert file.read(10) == data[:10]
    put(zone, "a", b"2" * len(data)) if change == "overwritten" else delete(zone, "a")
    if not zone.uri.startswith("s3:"):  # a local file is replaced, and who has opened it reads the old one
        assert content(file) == data[10:]
        return
    for _ in range(2):
        with pytest.raises(VersionChanged if change == "overwritten" else FileNotFoundError):
            content(file)
    assert content(versions.open(1)) == b"next"


def test_parquet_goes_through_it(zone):
    table = pa.table({"x": list(range(300_000)), "y": [f"text {n}" for n in range(300_000)]})
    key = b"k" * 32
    for path, of_key in (("plain.parquet", None), ("sealed.parquet", key)):
        with write_parquet(zone, path, table.schema, key=of_key) as out:
            out.write(table)
        publish(zone, out.hidden, path)
        (info,) = [info for info in list_objects(zone) if info.path == path]
        assert info.size == out.size
        assert pa.Table.from_batches(list(read_parquet(zone, path, key=of_key))) == table
        (batch, *_) = read_parquet(zone, path, key=of_key, columns=["x"])
        assert batch.column_names == ["x"]
    with pytest.raises(FileNotFoundError):
        list(read_parquet(zone, "nowhere.parquet"))


def test_a_zone_goes_to_another_process(zone):
    put(zone, "a", b"1")
    there = pickle.loads(pickle.dumps(zone))
    assert there == zone
    assert open_input(there, "a").read() == b"1"


def test_a_tag_of_content_is_xxh3_128():
    # XXH3_128bits of nothing, from xxHash's own tests.
    assert content_tag(io.BytesIO(b"")) == "99aa06d3014798d86001c324468d497f"
