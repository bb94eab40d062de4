"""An active contract does not change under its version: refused before anything is touched, until mended."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from pii_pipeline.cli import cli
from pii_pipeline.pipeline.contract_lock import ContractChanged
from pii_pipeline.pipeline.derive import derive_hour
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline.pipeline.warehouse import load_hour
from pii_pipeline.runs import prepare_dagster_home, run_hour
from pii_pipeline.settings import project_root
from pii_pipeline_tests.integration.small_streams import (
    GOOD,
    HOUR,
    PARTITION,
    assets_of,
    environment,
    install,
    land_events,
)

REFERENCE = "tests/alpha/1.0.0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two streams that have both been processed once."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    land(tmp_path, "alpha", "a.json")
    land(tmp_path, "beta", "a.json")
    opened = install(tmp_path)
    for stream in opened.streams.values():
        seal_hour(opened, stream, HOUR)
        validate_hour(opened, stream, HOUR)
        pseudonymize_hour(opened, stream, HOUR)
        derive_hour(opened, stream, "report", HOUR)
    opened.close()
    return tmp_path


def land(folder, stream, name):
    opened = install(folder)
    land_events(opened, stream, GOOD, name)
    opened.close()


def contract(folder) -> Path:
    return folder / "streams" / "alpha" / "contract.yaml"


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def change(folder):
    edit(contract(folder), "  page: keep\n", "")


def change_the_schema(folder):
    edit(folder / "streams" / "alpha" / "event.schema.json", '"minLength": 1', '"minLength": 2')


def pii(*arguments, code=0):
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == code, done.output
    return done


def files(folder):
    return {
        path: path.read_bytes()
        for zone in ("restricted", "lake", "consented")
        for path in (folder / "storage" / zone).rglob("*.parquet")
        if "/alpha/" in str(path)
    }


def known(folder):
    with closing(sqlite3.connect(folder / "pii.db")) as database:
        return dict(database.execute("SELECT contract, digest FROM ledger_contracts"))


@pytest.mark.parametrize("change", [change, change_the_schema])
def test_a_run_refuses_once_and_other_streams_go_on(folder, change):
    before, remembered = files(folder), known(folder)
    assert remembered.keys() == {REFERENCE, "tests/beta/1.0.0"}
    change(folder)
    for stream in ("alpha", "beta"):
        land(folder, stream, "b.json")
    done = pii("run", "--json", code=1)
    (failed,) = json.loads(done.stdout)["failed"]
    assert (failed["asset"], failed["hour"]) == ("alpha", None)
    said = failed["reason"]
    assert said.startswith(f"{contract(folder)}:1: contract: {REFERENCE} has been active since 20")
    ((then, now),) = re.findall(r"digest ([0-9a-f]{12}) then, ([0-9a-f]{12}) now", said)
    assert remembered[REFERENCE].startswith(then) and then != now
    assert "undo the change, or raise the version to 1.0.1" in said
    assert f"pii: alpha: {said}" in done.stderr
    assert files(folder) == before
    found = json.loads(pii("status", "--json").stdout)
    status = {item["stream"]: item for item in found if item["hour"]}
    assert [item["stream"] for item in found if not item["hour"]] == ["alpha"], "what landed there waits"
    assert (status["alpha"]["records"], status["beta"]["records"]) == (10, 20)
    assert known(folder) == remembered


def test_undone_it_runs_again(folder):
    change(folder)
    pii("run", code=1)
    edit(contract(folder), "fields:\n", "fields:\n  page: keep\n")
    pii("run")
    pii("contract", "check")


def test_with_the_version_raised_it_runs_and_makes_the_hours_again(folder):
    pii("contract", "new-version", "alpha", "--raise", "patch")
    newer = contract(folder).with_name("contract-1.0.1.yaml")
    edit(newer, "  page: keep\n", "")
    for _ in range(3):
        pii("contract", "promote", "tests/alpha/1.0.1")
    assert "state: archived" in contract(folder).read_text()
    pii("run")
    assert known(folder).keys() == {REFERENCE, "tests/alpha/1.0.1", "tests/beta/1.0.0"}
    (row,) = json.loads(
        pii("query", "--json", "SELECT DISTINCT _contract FROM alpha.pseudonymized_events").stdout
    )
    assert row == {"_contract": "tests/alpha/1.0.1"}


def test_every_layer_refuses_for_itself(folder):
    change(folder)
    opened = install(folder)
    stream = opened.streams["alpha"]
    for make in (seal_hour, validate_hour, pseudonymize_hour):
        with pytest.raises(ContractChanged, match=REFERENCE):
            make(opened, stream, HOUR)
    with pytest.raises(ContractChanged, match=REFERENCE):
        derive_hour(opened, stream, "report", HOUR)
    opened.close()


def test_a_table_does_not_follow_a_contract_that_has_changed(folder):
    with (folder / "streams" / "alpha" / "stream.yaml").open("a") as file:
        file.write("warehouse:\n  pages: {description: What was read.}\n")
    opened = install(folder)
    load_hour(opened, opened.streams["alpha"], "pages", HOUR)
    opened.close()
    warehouse = folder / "warehouse.duckdb"
    before = warehouse.read_bytes()
    change(folder)
    opened = install(folder)
    with pytest.raises(ContractChanged, match=REFERENCE):
        load_hour(opened, opened.streams["alpha"], "pages", HOUR)
    opened.close()
    assert warehouse.read_bytes() == before


def test_a_dagster_run_refuses_the_one_stream(folder):
    change(folder)
    opened = install(folder)
    run = run_hour(opened, None, HOUR, force=True)
    opened.close()
    (failed,) = run.failed_steps
    assert failed.step == "alpha__raw_events"
    assert failed.reason.startswith(f"ContractChanged: {contract(folder)}:1: contract: {REFERENCE} has been")
    assert set(run.not_made) == assets_of("alpha")


def test_dagsters_own_command_line_refuses(folder):
    change(folder)
    opened = install(folder)
    prepare_dagster_home(opened.settings)
    opened.close()
    materialize = "-m dagster asset materialize -m pii_pipeline.definitions --partition"
    done = subprocess.run(
        [sys.executable, *materialize.split(), PARTITION, "--select", "alpha/pseudonymized_events"],
        cwd=project_root(),
        env={**os.environ, **environment(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"ContractChanged: {contract(folder)}:1:" in done.stderr


def test_states_go_back_and_forth_only_as_long_as_the_contract_says_the_same(folder):
    edit(
        folder / "streams" / "alpha" / "stream.yaml",
        "owners",
        "contracts: [contract.yaml, next.yaml]\nowners",
    )
    text = contract(folder).read_text()
    newer = contract(folder).with_name("next.yaml")
    newer.write_text(text.replace("1.0.0", "1.1.0"))
    edit(contract(folder), "state: active", "state: archived")
    pii("run")  # on to the new one …
    edit(contract(folder), "state: archived", "state: active")
    edit(newer, "state: active", "state: archived")
    pii("run")  # … and back
    edit(newer, "state: archived", "state: draft")
    edit(newer, "  page: keep\n", "")
    pii("run")  # a draft is nobody's business
    said = pii("contract", "check", code=1).output
    assert f"error: {newer}:1: contract: tests/alpha/1.1.0 has been active since" in said
    assert f"error: {newer}:2: state: tests/alpha/1.1.0 has been active since" in said
    assert "and is draft again" in said
    edit(newer, "state: draft", "state: approved")
    refused = pii("contract", "promote", "tests/alpha/1.1.0", code=2).stderr
    assert "tests/alpha/1.1.0 has been active since" in refused
    assert "state: approved" in newer.read_text()
    edit(contract(folder), "state: active", "state: archived")
    edit(newer, "state: approved", "state: active")
    assert "tests/alpha/1.1.0 has been active since" in pii("run", code=1).stderr


def test_what_never_processed_an_event_may_change(tmp_path, monkeypatch):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    land(tmp_path, "beta", "a.json")
    opened = install(tmp_path)
    run_hour(opened, None, HOUR)
    opened.close()
    assert known(tmp_path).keys() == {"tests/beta/1.0.0"}
    change(tmp_path)
    pii("run")
    land(tmp_path, "alpha", "a.json")
    pii("run")
    assert known(tmp_path).keys() == {REFERENCE, "tests/beta/1.0.0"}


def test_a_ledger_made_before_remembers_from_its_next_run_on(folder):
    with closing(sqlite3.connect(folder / "pii.db")) as database:
        database.execute("DELETE FROM ledger_contracts")
        database.commit()
    pii("contract", "check")
    change(folder)
    pii("run")
    edit(contract(folder), "fields:\n", "fields:\n  page: keep\n")
    assert REFERENCE in pii("run", code=1).stderr


def test_check_and_list_say_what_the_ledger_knows(folder):
    def version():
        listed = {item["stream"]: item for item in json.loads(pii("contract", "list", "--json").stdout)}
        (found,) = listed["alpha"]["versions"]
        return found

    assert version()["as_remembered"] is True
    assert version()["active_since"].startswith("20")
    change(folder)
    assert version()["as_remembered"] is False
    assert "changed" in pii("contract", "list").output
    (error,) = json.loads(pii("contract", "check", "--json", code=1).stdout)["errors"]
    assert (error["file"], error["line"], error["field"]) == (str(contract(folder)), 1, "contract")
    assert "raise the version to 1.0.1" in error["mend"]


def test_without_a_ledger_check_and_list_make_none(tmp_path, monkeypatch):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    pii("contract", "check")
    assert '"active_since": null' in pii("contract", "list", "--json").output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["streams"]
