"""Export to STRM Privacy: there and back gives the same; what that form cannot hold is refused, or said."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.contracts.importers import strm
from pii_pipeline.contracts.importers.strm_schema import META, META_SCHEMA, Schema
from pii_pipeline.contracts.loader import read_schema
from pii_pipeline.contracts.source import read_json, read_yaml
from pii_pipeline.streams.imported import write_stream
from pii_pipeline.streams.loader import load_stream
from pii_pipeline.streams.model import Stream
from pii_pipeline.streams.strm_export import Exported, export_stream
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.contracts.test_import_strm import JOB, ROW_CONTRACT, ROWS, changed


def schema_of(file: Path) -> Schema:
    json_schema, _ = read_schema(file)
    return Schema(file.suffix, file.read_text(), json_schema)


def imported(
    folder: Path, contract: Path, schema: Path, job: Path | None = None, name: str = "clicks"
) -> Stream:
    """The stream that is made of the files, loaded."""
    given = strm.contract_of(read_json(contract))
    result = strm.import_stream(name, given, schema_of(schema), None if job is None else read_json(job))
    folder.mkdir(parents=True, exist_ok=True)
    return load_stream(write_stream(folder, name, result).folder)


def export(stream: Stream) -> Exported:
    return export_stream(stream, read_yaml(stream.folder / "contract.yaml"))


def there_and_back(folder: Path, stream: Stream) -> Stream:
    """The stream that its own export is imported as."""
    out = folder / "out"
    out.mkdir()
    exported = export(stream)
    for name, text in exported.files.items():
        (out / name).write_text(text)
    job = out / "batch_job.json" if "batch_job.json" in exported.files else None
    return imported(
        folder / "again", out / "contract.json", out / stream.contract.schema_file, job, stream.name
    )


def same(one: Stream, other: Stream) -> bool:
    keys = {"folder", "warnings"}
    return one.model_dump(exclude=keys) == other.model_dump(exclude=keys) and (
        one.contract.digest == other.contract.digest
    )


@pytest.mark.parametrize(
    ("contract", "schema"),
    [
        ("contract-strmprivacy_clickstream_1.0.0.json", "clickstream.avsc"),
        ("contract-strmprivacy_example_1.3.0.json", "demo.avsc"),
    ],
)
def test_the_platform_s_contracts_there_and_back(tmp_path, contract, schema):
    folder = shared_data() / "strm"
    stream = imported(tmp_path, folder / contract, folder / schema)
    assert same(there_and_back(tmp_path, stream), stream)
    original = json.loads((folder / contract).read_text())
    exported = json.loads(export(stream).files["contract.json"])
    for key in ("ref", "state", "keyField", "validations"):
        assert exported[key] == original[key]
    levels = {
        one["fieldName"]: one["personalDataConfig"]["purposeLevel"] for one in exported["fieldMetadata"]
    }
    newer = original.get("fieldMetadata", [])
    assert levels == original["piiFields"] | {
        one["fieldName"]: one["personalDataConfig"]["purposeLevel"] for one in newer
    }


RETAIL = {
    "ref": {"handle": "strmprivacy", "name": "online-retail", "version": "1.0.0"},
    "state": "ACTIVE",
    "keyField": "CustomerID",
    "dataSubjectField": "CustomerID",
    "fieldMetadata": [
        {
            "fieldName": "CustomerID",
            "personalDataConfig": {"isPii": True, "isQuasiId": False, "purposeLevel": 2},
        }
    ],
}
COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
KINDS = {"Quantity": "INTEGER", "UnitPrice": "FLOAT"}


def test_the_retail_batch_job_there_and_back(tmp_path):
    job = shared_data() / "strm" / "online_retail.batch_job.json"
    contract, schema = tmp_path / "contract.json", tmp_path / "retail.yaml"
    contract.write_text(json.dumps(RETAIL))
    nodes = [{"name": name, "type": KINDS.get(name, "STRING")} for name in COLUMNS]
    schema.write_text(yaml.safe_dump({"name": "Retail", "nodes": nodes}))
    stream = imported(tmp_path, contract, schema, job, "retail")
    assert same(there_and_back(tmp_path, stream), stream)
    original, exported = json.loads(job.read_text()), json.loads(export(stream).files["batch_job.json"])
    assert exported["consent"] == original["consent"]
    assert exported["event_contract_ref"] == original["event_contract_ref"]
    for ours, theirs in zip(exported["derived_data"], original["derived_data"], strict=True):
        assert ours["consent_levels"] == theirs["consent_levels"]
        assert ours["consent_level_type"] == theirs["consent_level_type"]
    assert exported["source_data"]["data_type"] == original["source_data"]["data_type"]
    config = exported["encryption"]["timestamp_config"]
    assert config["default_time_zone"] == original["encryption"]["timestamp_config"]["default_time_zone"]
    # Numbers of one digit are read here too, which the original's pattern would refuse.
    assert config["format"] == "yyyy-M-d H:m:s"


def rows(folder: Path, job: dict[str, Any] = JOB) -> Stream:
    for name, value in (("contract.json", ROW_CONTRACT), ("job.json", job)):
        (folder / name).write_text(json.dumps(value))
    (folder / "rows.yaml").write_text(yaml.safe_dump(ROWS))
    return imported(folder, folder / "contract.json", folder / "rows.yaml", folder / "job.json", "rows")


@pytest.mark.parametrize(
    "consent",
    [
        {"consent_level_extractor": {"field": "agreed"}},
        {
            "default_consent_levels": [0],
            "consent_level_extractor": {
                "field": "agreed",
                "field_patterns": {"yes": {"consent_levels": [1, 2]}, "no": {"consent_levels": []}},
            },
        },
    ],
)
def test_consent_of_rows_there_and_back(tmp_path, consent):
    stream = rows(tmp_path, changed(JOB, consent=consent))
    assert same(there_and_back(tmp_path, stream), stream)
    exported = json.loads(export(stream).files["batch_job.json"])["consent"]
    assert exported["consent_level_extractor"] == consent["consent_level_extractor"]


@pytest.mark.parametrize(
    ("charset", "theirs"),
    [("UTF-8", "UTF-8"), ("Cp1252", "windows-1252"), ("latin1", "ISO-8859-1"), ("UTF-16", "UTF-16")],
)
def test_charsets(tmp_path, charset, theirs):
    stream = rows(tmp_path, changed(JOB, source_data__data_type__csv__charset=charset))
    job = json.loads(export(stream).files["batch_job.json"])
    assert job["source_data"]["data_type"] == {"csv": {"charset": theirs}}


# --- contracts of ours --------------------------------------------------------------------------------------

PROPERTIES = {
    META: META_SCHEMA,
    "session": {"type": "string"},
    "number": {"type": "integer"},
    "email": {"type": "string"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "place": {"type": "object", "properties": {"city": {"type": "string"}}},
}
OURS = {
    "contract": "acme/x/1.0.0",
    "state": "active",
    "schema": "event.schema.json",
    "time_field": f"{META}/timestamp",
    "key_field": "session",
    "consent": {"field": f"{META}/consentLevels", "type": "granular"},
    "default": "keep",
    "fields": {"session": {"encrypt": {"level": 1}}},
}


def ours(folder: Path, stream: dict[str, Any] | None = None, **contract: Any) -> Stream:
    target = folder / "ours"
    target.mkdir()
    settings = {"description": "Ours.", "contract_field": f"{META}/eventContractRef", **(stream or {})}
    (target / "stream.yaml").write_text(yaml.safe_dump(settings))
    (target / "contract.yaml").write_text(yaml.safe_dump({**OURS, **contract}, sort_keys=False))
    schema = {"type": "object", "properties": PROPERTIES}
    (target / "event.schema.json").write_text(json.dumps(schema))
    return load_stream(target)


def test_a_contract_of_ours(tmp_path):
    exported = export(ours(tmp_path))
    assert list(exported.files) == ["contract.json", "event.schema.json"]
    contract = json.loads(exported.files["contract.json"])
    assert contract["schema"]["ref"]["schemaType"] == "JSONSCHEMA"
    assert [one["fieldName"] for one in contract["fieldMetadata"]] == ["session"]
    assert exported.notes == ()


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        (
            {"default": "pseudonymize"},
            "contract.yaml:9: default: `pseudonymize` is unknown there, so this would be readable: strmMeta/",
        ),
        (
            {"fields": {"email": "drop"}},
            "contract.yaml:11: fields.email: `drop` is unknown there, so this would be readable: email",
        ),
        ({"fields": {"email": {"mask": {"keep_last": 2}}}}, "fields.email: `mask` is unknown there"),
        (
            {"fields": {"place": "pseudonymize"}},
            "fields.place: `pseudonymize` is unknown there, so this would be readable: place/city",
        ),
        (
            {"fields": {"number": {"encrypt": {"level": 1}}}},
            "fields.number: `number` is no text, and that platform",
        ),
        ({"fields": {"place": {"encrypt": {"level": 1}}}}, "fields.place: `place` is encrypted as one value"),
        ({"key_field": "number"}, "contract.yaml:5: key_field: that platform takes texts only"),
    ],
)
def test_what_would_be_readable_there_is_refused(tmp_path, contract, problem):
    with pytest.raises(ConfigurationError) as caught:
        export(ours(tmp_path, **contract))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        (
            {"time_field": "$arrival", "time_format": None},
            "time_field: a batch job takes the time from a column",
        ),
        ({"time_format": None}, "time_field: without a format, RFC 3339 in any of its forms is read"),
        (
            {"time_field": "amount", "time_format": "epoch_s"},
            "time_format: Java's patterns have no `epoch_s`",
        ),
    ],
)
def test_a_time_that_no_batch_job_can_read(tmp_path, contract, problem):
    file = rows(tmp_path).folder / "contract.yaml"
    written = yaml.safe_load(file.read_text()) | contract
    file.write_text(yaml.safe_dump({key: value for key, value in written.items() if value is not None}))
    with pytest.raises(ConfigurationError) as caught:
        export(load_stream(file.parent))
    assert problem in str(caught.value)


def test_what_is_lost_besides_is_said(tmp_path):
    stream = ours(
        tmp_path,
        {
            "owners": ["team:web"],
            "bad_event_threshold": 0.5,
            "contract_field": None,
            "derived": {"marketing": {"description": "Mine.", "consent": {"purposes": [1]}}},
        },
        data_subject={"field": "email", "namespace": "customer"},
        event_id_field="session",
        time_field="$arrival",
        consent={"default": [1], "type": "granular"},
        fields={"session": {"encrypt": {"level": 1}}, "tags": {"encrypt": {"level": 2}}},
        validations=[{"field": "number", "min": 0}, {"field": "tags[]", "regex": "x"}],
    )
    exported = export(stream)
    text = "\n".join(map(str, exported.notes))
    for start in (
        "number: its rule `min` is not carried over",
        "tags: encrypted as one value here — there each of its texts is encrypted by itself; write `tags[]`",
        "data_subject.namespace: `customer` is not carried over",
        "event_id_field: not carried over",
        "time_field: `$arrival` is not carried over — that platform always takes strmMeta/timestamp",
        "consent.field: there is none — that platform always takes strmMeta/consentLevels",
        "contract_field: there is none",
        "derived: not carried over",
        "derived.marketing.description: not carried over",
        "owners: not carried over",
        "bad_event_threshold: not carried over",
    ):
        assert start in text, start
    contract = json.loads(exported.files["contract.json"])
    assert contract["validations"] == [{"field": "tags", "type": "regex", "value": "x"}]


def test_events_without_meta_are_said(tmp_path, monkeypatch):
    monkeypatch.delitem(PROPERTIES, META)
    stream = ours(tmp_path, {"contract_field": None}, time_field="$arrival", consent=None)
    assert "strmMeta: not in the schema — every event has it there" in "\n".join(
        map(str, export(stream).notes)
    )
