"""``pii contract import`` and ``pii contract export``: what is written, said, refused, and the exit codes."""

import json
from pathlib import Path

import pytest
import yaml

from pii_pipeline.streams.loader import load_streams
from pii_pipeline_tests.unit.cli.conftest import STREAMS, Pii
from pii_pipeline_tests.unit.contracts.test_import_snowplow import CONFIGURATION, SALT, configuration
from pii_pipeline_tests.unit.contracts.test_import_strm import (
    AVRO,
    CONTRACT,
    JOB,
    ROW_CONTRACT,
    ROWS,
    changed,
)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with files of both platforms."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, value in (
        ("contract.json", CONTRACT),
        ("click.avsc", AVRO),
        ("rows.json", ROW_CONTRACT),
        ("job.json", JOB),
        ("pii.json", CONFIGURATION),
    ):
        (folder / name).write_text(json.dumps(value))
    (folder / "rows.yaml").write_text(yaml.safe_dump(ROWS))
    return folder


def test_a_contract_with_its_schema_beside_it(pii: Pii, own_streams: Path, given: Path):
    result = pii("contract", "import", "--from", "strm", given / "contract.json")
    assert result.exit_code == 0
    assert f"{own_streams}/click/event.avsc\n" in result.stdout
    assert "note: dataSubjectField: of the namespace `click` — " in result.stdout
    assert load_streams([own_streams])["click"].contract.contract == "acme/click/1.0.0"
    assert pii("contract", "check").exit_code == 0
    assert pii("sample", "click", "--events", 5).stdout.count("\n") == 5
    again = pii("contract", "import", "--from", "strm", given / "contract.json")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_as_json(pii: Pii, own_streams: Path, given: Path):
    result = pii("contract", "import", "--from", "strm", given / "contract.json", "--name", "mine", "--json")
    written = json.loads(result.stdout)
    assert written["stream"] == "mine"
    assert written["folder"] == str(own_streams / "mine")
    assert [Path(file).name for file in written["files"]] == ["stream.yaml", "contract.yaml", "event.avsc"]
    assert {"field", "what", "why", "mend"} == written["notes"][0].keys()
    assert written["warnings"] == []


@pytest.mark.parametrize(("platform", "file"), [("strm", "contract.json"), ("snowplow", "pii.json")])
@pytest.mark.parametrize("name", ["", " ", "Web", "a/b"])
def test_a_name_that_is_none_is_refused(
    pii: Pii, own_streams: Path, given: Path, platform: str, file: str, name: str
):
    result = pii("contract", "import", "--from", platform, given / file, "--name", name)
    assert result.exit_code == 2
    assert f"`{name}` is not lower-case letters" in result.stderr
    assert list(own_streams.iterdir()) == []


def test_a_batch_job_and_back(pii: Pii, own_streams: Path, given: Path, tmp_path: Path):
    arguments = ["--schema", given / "rows.yaml", "--batch-job", given / "job.json", "--name", "rows"]
    assert pii("contract", "import", "--from", "strm", given / "rows.json", *arguments).exit_code == 0
    assert load_streams([own_streams])["rows"].derived.keys() == {"decrypted_1"}
    result = pii("contract", "export", "rows", "--to", "strm", tmp_path / "out", "--json")
    assert result.exit_code == 0
    exported = json.loads(result.stdout)
    assert [Path(file).name for file in exported["files"]] == [
        "contract.json",
        "event.schema.yaml",
        "batch_job.json",
    ]
    assert exported["errors"] == []
    assert "replace `to-be-named`" in json.dumps(exported["notes"])
    again = pii("contract", "export", "rows", "--to", "strm", tmp_path / "out")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_an_export_that_would_uncover_something(pii: Pii, tmp_path: Path):
    result = pii("contract", "export", "webshop", "--to", "strm", tmp_path / "out")
    assert result.exit_code == 1
    line = f"error: {STREAMS}/webshop/contract.yaml:"
    assert any(
        text.startswith(line) and "`drop` is unknown there" in text for text in result.stdout.splitlines()
    )
    assert not (tmp_path / "out").exists()
    assert json.loads(
        pii("contract", "export", "webshop", "--to", "strm", tmp_path / "out", "--json").stdout
    )["errors"]


def test_a_draft_disturbs_no_stream(pii: Pii, own_streams: Path, given: Path):
    (given / "contract.json").write_text(json.dumps(changed(CONTRACT, state="DRAFT")))
    result = pii("contract", "import", "--from", "strm", given / "contract.json")
    assert result.exit_code == 0
    assert (own_streams / "_click" / "contract.yaml").is_file()
    assert "rename the folder to `click`" in result.stdout
    assert pii("contract", "check").exit_code == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"emitEvent": True},
        {"parameters__pii": []},
        {"parameters__strategy__pseudonymize__hashFunction": "MD5"},
        {
            "parameters__pii": [
                {"pojo": {"field": name}} for name in ("network_userid", "se_label", "mkt_term")
            ]
        },
    ],
)
def test_snowplow(pii: Pii, own_streams: Path, given: Path, changes: dict[str, object]):
    (given / "pii.json").write_text(json.dumps(configuration(**changes)))
    result = pii("contract", "import", "--from", "snowplow", given / "pii.json", "--name", "web")
    assert result.exit_code == 0
    assert "PII_SNOWPLOW_SALT" in result.stdout
    assert SALT not in result.output
    assert not any(SALT in file.read_text() for file in (own_streams / "web").iterdir())
    contract = load_streams([own_streams])["web"].contract
    assert len(contract.record.fields) == 131
    function = configuration(**changes)["data"]["parameters"]["strategy"]["pseudonymize"]["hashFunction"]
    hashed = {path for path, item in contract.fields.items() if getattr(item, "hash", None) == function}
    entries = configuration(**changes)["data"]["parameters"]["pii"]
    assert hashed == {entry["pojo"]["field"] for entry in entries if "pojo" in entry}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "snowplow", "pii.json", "--schema", "click.avsc"), "--schema is for --from strm"),
        (("--from", "snowplow", "contract.json"), "contract.json:1: schema: "),
        (("--from", "strm", "rows.json"), "name it: --schema FILE"),
        (("--from", "strm", "contract.json", "--batch-job", "pii.json"), "pii.json:1: "),
        (("--from", "strm", "contract.json", "--name", "Big"), "choose another name"),
        (("--from", "strm", "click.avsc"), "click.avsc:1: "),
        (("--from", "other", "contract.json"), "'other' is not one of 'strm', 'snowplow'"),
        (("--from", "strm", "none.json"), "does not exist"),
        (("contract.json",), "Missing option '--from'"),
    ],
)
def test_refused(pii: Pii, own_streams: Path, given: Path, arguments: tuple[str, ...], message: str):
    (given / "click.avsc").rename(given / "click2.avsc") if "rows.json" in arguments else None
    paths = [given / item if "." in item else item for item in arguments]
    result = pii("contract", "import", *paths)
    assert result.exit_code == 2
    assert message in result.stderr
    assert SALT not in result.output
    assert list(own_streams.iterdir()) == []


def test_help_has_an_example(pii: Pii):
    for name in ("import", "export"):
        assert f"pii contract {name} " in pii("contract", name, "--help").output.partition("Example:")[2]
