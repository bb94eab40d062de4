"""Files of a zone on this machine: modes, and leftovers of crashes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from pii_pipeline.lake import (
    Zone,
    list_objects,
    open_input,
    publish,
    put,
    sweep_temporaries,
    write_parquet,
)
from pii_pipeline.lake.files import hidden_output


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
    with hidden_output(lake, "a") as (sink, hidden):
        sink.write(b"1")
        assert sweep_temporaries(lake) == 0
    publish(lake, hidden, "a")
    assert names(lake) == [".a.tmp", "a", "b.0123abcd.tmp"]
