"""Files of a zone: modes, atomic writes, leftovers of crashes."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pii_pipeline.formats import ObjectSource, etag, read_chunks
from pii_pipeline.lake import (
    Zone,
    delete,
    list_objects,
    open_input,
    publish,
    put,
    sweep_temporaries,
    write_parquet,
)
from pii_pipeline.lake.files import atomic_output


def modes(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]
    }


def names(zone: Zone, folder: str = "") -> list[str]:
    """What is in a folder, hidden or not."""
    return sorted(path.name for path in Path(zone.path(folder)).iterdir())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_files_are_0600_and_folders_0700_whatever_the_umask(lake, umask):
    before = os.umask(umask)
    try:
        put(lake, "a/b/raw", b"1")
        with write_parquet(lake, "a/c/d.parquet", pa.schema([("x", pa.int64())])) as out:
            pass
        publish(lake, out.hidden, "a/c/d.parquet")
    finally:
        os.umask(before)
    assert modes(Path(lake.root)) == {
        ".": 0o700,
        "a": 0o700,
        "a/b": 0o700,
        "a/b/raw": 0o600,
        "a/c": 0o700,
        "a/c/d.parquet": 0o600,
    }


def test_put_open_list_delete(lake):
    info = put(lake, "s/2026/b.json", b"new")
    put(lake, "s/2026/b.json", io.BytesIO(b"newer"))
    put(lake, "s/2026/a.json", b"x")
    put(lake, "s2/c.json", b"")
    assert info.uri == f"{lake.uri}/s/2026/b.json"
    with open_input(lake, "s/2026/b.json") as file:
        assert file.read() == b"newer"
    listed = list_objects(lake, "s")
    assert [(i.name, i.path, i.size) for i in listed] == [
        ("a.json", "s/2026/a.json", 1),
        ("b.json", "s/2026/b.json", 5),
    ]
    assert abs(listed[0].last_modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert len(list_objects(lake)) == 3
    assert list_objects(lake, "nowhere") == []
    delete(lake, "s/2026/a.json")
    delete(lake, "s/2026/a.json")
    assert [i.name for i in list_objects(lake, "s/")] == ["b.json"]
    with pytest.raises(FileNotFoundError):
        open_input(lake, "s/2026/a.json")


def test_what_is_opened_here_is_read_by_formats(lake):
    put(lake, "a.json", b"1\n2")
    source = ObjectSource("a.json", lambda: open_input(lake, "a.json"), etag(open_input(lake, "a.json")))
    gone = ObjectSource("b.json", lambda: open_input(lake, "b.json"), "")
    chunk, problem = list(read_chunks([source, gone], 100))
    assert (chunk.records.to_pylist(), problem.type) == ([b"1", b"2"], "object_missing")  # type: ignore[union-attr]


def test_readers_see_the_old_object_until_the_new_one_is_whole(lake):
    put(lake, "a", b"old")
    with atomic_output(lake, "a") as sink:
        sink.write(b"new, half")
        sink.flush()
        assert open_input(lake, "a").read() == b"old"
        assert [info.name for info in list_objects(lake)] == ["a"]
    assert open_input(lake, "a").read() == b"new, half"


def test_a_failed_write_leaves_nothing(lake):
    put(lake, "a", b"old")

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        put(lake, "a", Failing())
    assert names(lake) == ["a"]
    assert open_input(lake, "a").read() == b"old"


KILLED_BEFORE_THE_RENAME = """
import os, pathlib, signal, sys
from pii_pipeline.lake import Zone, put
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
put(Zone.at("lake", sys.argv[1]), "s/a", b"new")
"""


def test_a_killed_writer_leaves_the_old_object_and_a_temporary_that_is_swept(lake):
    put(lake, "s/a", b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE_THE_RENAME, lake.root], check=False)
    assert killed.returncode == -9
    assert open_input(lake, "s/a").read() == b"old"
    assert len(names(lake, "s")) == 2
    assert set(modes(Path(lake.root, "s")).values()) == {0o600, 0o700}
    assert [info.path for info in list_objects(lake)] == ["s/a"]

    assert sweep_temporaries(lake, "other") == 0
    assert sweep_temporaries(lake, "s") == 1
    assert names(lake, "s") == ["a"]


def test_a_sweep_leaves_work_in_progress_and_files_of_others(lake):
    put(lake, ".a.tmp", b"not ours")
    put(lake, "b.0123abcd.tmp", b"not hidden")
    with atomic_output(lake, "a") as sink:
        sink.write(b"1")
        assert sweep_temporaries(lake) == 0
    assert names(lake) == [".a.tmp", "a", "b.0123abcd.tmp"]
