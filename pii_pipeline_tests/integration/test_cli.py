"""``pii`` as its users call it: land, run, look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MAIN = "from pii_pipeline.cli import main; main()"

Done = subprocess.CompletedProcess[str]
Pii = Callable[..., Done]


@pytest.fixture
def pii(tmp_path: Path) -> Pii:
    """Calls the command line in a process of its own, in an empty folder, over an installation of its own."""
    work = tmp_path / "work"
    work.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PII_", "DAGSTER"))}
    environment = kept | {
        "PYTHONPATH": str(PROJECT),
        "PII_STREAMS_DIR": str(PROJECT / "streams"),
        "PII_STORAGE_URI": str(tmp_path / "storage"),
        "PII_DATABASE_URL": f"sqlite:///{tmp_path / 'pii.db'}",
        "PII_VAULT_URL": f"sqlite:///{tmp_path / 'vault.db'}",
        "PII_VAULT_ANCHORS": (tmp_path / "vault-anchors").as_uri(),
        "PII_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'keys' / 'kek'}",
        "PII_WAREHOUSE_URL": f"duckdb:///{tmp_path / 'warehouse.duckdb'}",
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "HOME": str(tmp_path / "home"),
    }

    def call(*arguments: object, code: int = 0, program: str = MAIN) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def test_land_run_look(pii: Pii, tmp_path: Path):
    pii(
        "sample",
        "logins",
        "--events",
        100,
        "--end",
        "2026-01-15T11:00",
        "--output",
        tmp_path / "queue.jsonl.zst",
    )
    pii("land", "logins", tmp_path / "queue.jsonl.zst", "--hour", "2026-01-15T10")
    pii("sample", "webshop", "--events", 300, "--end", "2026-01-15T12:00", "--land")

    done = pii("run")
    for text in (
        "logins",
        "99 validated",
        "webshop",
        "product_analytics",
        "admitted",
        "withheld",
        "records/s",
    ):
        assert text in done.stdout
    assert str(tmp_path / "storage/lake/webshop/pseudonymized_events") in done.stdout
    assert "Traceback" not in done.stderr

    reports = {report["stream"]: report for report in json.loads(pii("status", "--json").stdout)}
    assert {name: report["hour"] for name, report in reports.items()} == {
        "logins": "2026-01-15T10",
        "webshop": "2026-01-15T11",
    }
    shop = reports["webshop"]
    assert shop["records"] == shop["validated"] + shop["bad"] + shop["duplicates"]
    assert shop["bad"] == sum(shop["bad_by_reason"].values()) > 0
    for counts in shop["derived"].values():
        assert counts["admitted"] + counts["withheld"] == shop["pseudonymized"]
    sql = "select count(*) as n, count(distinct user_id) as people from webshop.pseudonymized_events"
    (row,) = json.loads(pii("query", "--json", sql).stdout)
    assert row["n"] == shop["pseudonymized"]
    assert 0 < row["people"] < row["n"]

    again = json.loads(pii("run", "--json").stdout)
    assert again["up_to_date"] == ["2026-01-15T10", "2026-01-15T11"]
    assert [report["files"] for report in again["hours"]] == [report["files"] for report in reports.values()]
    forced = json.loads(pii("run", "webshop", "--hour", "2026-01-15T11", "--force", "--json").stdout)
    assert forced["up_to_date"] == []
    assert [report["stream"] for report in forced["hours"]] == ["webshop"]

    assert not list((tmp_path / "work").iterdir())
    assert not (tmp_path / "home").exists()
    private = [tmp_path / name for name in ("storage", "dagster", "keys")]
    for path in (path for folder in private for path in (folder, *folder.rglob("*"))):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / "pii.db").stat().st_mode & 0o777 == 0o600


def test_a_bad_hour_fails_with_its_reason_and_leaves_the_others_alone(pii: Pii, tmp_path: Path):
    secret = "anna.secret@example.com"
    file = tmp_path / "bad.jsonl"
    file.write_text(f'{{"type":"heartbeat","mail":"{secret}"}}\n' * 20)
    pii("land", "logins", file, "--hour", "2026-01-15T09")
    pii("sample", "logins", "--events", 100, "--end", "2026-01-15T11:00", "--land")
    pii("sample", "webshop", "--events", 300, "--end", "2026-01-15T10:00", "--land")

    done = pii("run", "--json", code=1)
    answer = json.loads(done.stdout)
    assert [(item["hour"], item["asset"].partition("/")[0]) for item in answer["failed"]] == [
        ("2026-01-15T09", "logins")
    ]
    assert "bad_event_rate" in answer["failed"][0]["reason"]
    assert secret not in done.stdout + done.stderr
    made = {(report["stream"], report["hour"]): report for report in answer["hours"]}
    assert made["logins", "2026-01-15T09"]["pseudonymized"] is None
    assert "pseudonymized_events: 1 of 1 batch not made" in made["logins", "2026-01-15T09"]["problems"]
    assert made["logins", "2026-01-15T10"]["pseudonymized"] == 99
    assert made["webshop", "2026-01-15T09"]["problems"] == []

    shown = pii("run", "logins", "--hour", "2026-01-15T09", code=1)
    assert "pii: 2026-01-15T09 logins/" in shown.stderr
    assert "1 stream failed" in shown.stdout


def test_nothing_landed_is_no_failure(pii: Pii):
    assert "Nothing has landed" in pii("run").stdout
    assert "Nothing has landed" in pii("run", "--hour", "2026-01-15T09").stdout
    assert pii("run", "nope", code=2).stderr.startswith("pii: no stream is called `nope`")


def test_whatever_was_printed_arrives_and_leaving_says_nothing(pii: Pii):
    done = pii("sample", "logins", "--events", 20_000)
    assert done.stdout.count("\n") >= 20_000
    assert done.stderr == ""
    # The ordinary way out, which is taken where standard output is gone.
    gone = "import sys; from pii_pipeline.cli import main; sys.argv[1:] = ['query', 'select 1']; main()"
    done = pii(program=gone.replace("import sys;", "import os, sys; os._exit = lambda _: None;"))
    assert done.stderr == ""


def test_only_run_imports_dagster(pii: Pii, tmp_path: Path):
    program = f"""
import sys
from pii_pipeline.cli import cli
cli(standalone_mode=False)
print("dagster" in sys.modules, file=open({str(tmp_path / "imported")!r}, "w"))
"""
    commands = (
        ("status",),
        ("query", "select 1"),
        ("sample", "logins"),
        ("contract", "list"),
        ("run", "--hour", "2026-01-15T09"),
    )
    for arguments in commands:
        pii(*arguments, program=program)
        assert (tmp_path / "imported").read_text() == "False\n", arguments


def test_ctrl_c_ends_the_run_not_only_the_hour(pii: Pii):
    for hour in ("11:00", "12:00"):
        pii("sample", "logins", "--events", 100, "--end", f"2026-01-15T{hour}", "--land")
    # The first layer that starts is interrupted, as by the terminal.
    program = """
import os, signal
from pii_pipeline.cli import main
from pii_pipeline.cli.progress import HourProgress
HourProgress.__call__ = lambda *_: os.kill(os.getpid(), signal.SIGINT)
main()
"""
    assert "Aborted!" in pii("run", code=1, program=program).stderr
    # Of the hour after it nothing was begun: what is no hour's is what waits.
    assert [report["hour"] for report in json.loads(pii("status", "--json").stdout)] == [
        "2026-01-15T10",
        None,
    ]
