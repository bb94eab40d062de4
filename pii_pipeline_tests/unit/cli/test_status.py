"""``pii status``: also of what waits for a run."""

import json
from pathlib import Path

from pii_pipeline_tests.unit.cli.conftest import Pii


def test_objects_that_wait_are_counted_and_not_named(pii: Pii, storage: Path):
    for stream, place in (
        ("logins", "anna@example.com.json"),
        ("logins", "2026/01/15/c.json"),
        ("webshop", "2026/01/15/10/right.json"),
        ("webshop", "2026/01/15/.unfinished.json"),
    ):
        file = storage / "landing" / stream / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"{}\n")

    result = pii("status")
    assert result.exit_code == 0, result.output
    assert "logins: 2 objects in landing wait for `pii run`" in result.stdout
    assert "webshop: 1 object in landing waits for `pii run`" in result.stdout
    assert "anna" not in result.output

    reports = {report["stream"]: report for report in json.loads(pii("status", "--json").stdout)}
    assert {name: report["objects"] for name, report in reports.items()} == {"logins": 2, "webshop": 1}
    assert reports["logins"]["hour"] is None
    assert (reports["logins"]["bytes"], reports["logins"]["records"]) == (6, None)
    assert reports["logins"]["problems"] == ["2 objects in landing wait for `pii run`"]
    assert [report["stream"] for report in json.loads(pii("status", "webshop", "--json").stdout)] == [
        "webshop"
    ]
    assert json.loads(pii("status", "--hour", "2026-01-15T10", "--json").stdout) == []
