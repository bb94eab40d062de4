"""STRM Privacy's data contracts and batch jobs as streams: what becomes of what, and what is said."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pii_pipeline.contracts.avro import json_schema
from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.contracts.foreign import Imported
from pii_pipeline.contracts.importers import strm
from pii_pipeline.contracts.importers.strm_schema import META, META_SCHEMA, Schema, embedded_schema
from pii_pipeline.contracts.simple_schema import json_schema as simple_json_schema
from pii_pipeline.contracts.source import read_json

STRING = ["null", "string"]
AVRO = {
    "type": "record",
    "name": "Click",
    "fields": [
        {
            "name": META,
            "type": {
                "type": "record",
                "name": "StrmMeta",
                "fields": [
                    {"name": "eventContractRef", "type": "string"},
                    {"name": "timestamp", "type": ["null", "long"], "default": None},
                    {"name": "consentLevels", "type": {"type": "array", "items": "int"}},
                ],
            },
        },
        {"name": "session", "type": "string"},
        {"name": "email", "type": STRING, "default": None},
        {"name": "count", "type": "int", "default": 0},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "string"}]},
            },
        },
        {
            "name": "customer",
            "type": {"type": "record", "name": "Customer", "fields": [{"name": "id", "type": "string"}]},
        },
    ],
}
CONTRACT: dict[str, Any] = {
    "ref": {"handle": "acme", "name": "click", "version": "1.0.0"},
    "state": "ACTIVE",
    "keyField": "session",
    "piiFields": {"email": 2, "customer/id": 1},
    "validations": [{"field": "email", "type": "regex", "value": "@"}],
    "dataSubjectField": "customer/id",
}
ROWS = {
    "name": "Rows",
    "nodes": [
        {"name": "id", "type": "STRING"},
        {"name": "at", "type": "STRING"},
        {"name": "amount", "type": "INTEGER"},
        {"name": "agreed", "type": "STRING"},
    ],
}
ROW_CONTRACT = {
    **CONTRACT,
    "keyField": "id",
    "piiFields": {"id": 1},
    "validations": [],
    "dataSubjectField": "id",
}
JOB: dict[str, Any] = {
    "source_data": {"file_name": "rows.csv", "data_type": {"csv": {"charset": "windows-1252"}}},
    "consent": {"default_consent_levels": [2]},
    "encryption": {
        "timestamp_config": {
            "field": "at",
            "format": "M/d/yyyy H:m",
            "default_time_zone": {"id": "Europe/Amsterdam"},
        }
    },
    "event_contract_ref": {"handle": "acme", "name": "click", "version": "1.0.0"},
    "derived_data": [
        {
            "target": {"file_name": "out/decrypted-1.csv"},
            "consent_levels": [2],
            "consent_level_type": "CUMULATIVE",
        }
    ],
}


def run(
    folder: Path,
    contract: dict[str, Any] = CONTRACT,
    schema: Schema | None = None,
    job: dict[str, Any] | None = None,
) -> Imported:
    file, job_file = folder / "contract.json", folder / "job.json"
    file.write_text(json.dumps(contract, indent=1))
    if job is not None:
        job_file.write_text(json.dumps(job, indent=1))
    given = strm.contract_of(read_json(file))
    schema = schema or embedded_schema(given) or Schema(".avsc", json.dumps(AVRO), json_schema(AVRO))
    return strm.import_stream("clicks", given, schema, None if job is None else read_json(job_file))


def rows(folder: Path, contract: dict[str, Any] = ROW_CONTRACT, job: dict[str, Any] = JOB, nodes: Any = ROWS):
    return run(folder, contract, Schema(".yaml", "text", simple_json_schema(nodes)), job)


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of `base` with other values; the way to one is written ``a__b``."""
    result = deepcopy(base)
    for way, value in changes.items():
        *parents, last = way.split("__")
        at = result
        for name in parents:
            at = at[name]
        at[last] = value
    return result


def said(imported: Imported) -> str:
    return "\n".join(map(str, imported.notes))


def problems(error: pytest.ExceptionInfo[ConfigurationError], folder: Path) -> list[str]:
    return [str(problem).removeprefix(f"{folder}/") for problem in error.value.problems]


def test_events(tmp_path):
    imported = run(tmp_path)
    assert imported.contract == {
        "contract": "acme/click/1.0.0",
        "state": "active",
        "schema": "event.avsc",
        "time_field": "strmMeta/timestamp",
        "key_field": "session",
        "data_subject": {"field": "customer/id", "namespace": "clicks"},
        "consent": {"field": "strmMeta/consentLevels", "type": "granular"},
        "default": "pseudonymize",
        "fields": {
            "strmMeta/eventContractRef": "keep",
            "strmMeta/timestamp": "keep",
            "strmMeta/consentLevels": "keep",
            "session": "keep",
            "email": {"encrypt": {"level": 2}},
            "count": "keep",
            "tags": "keep",
            "lines[]/sku": "keep",
            "customer/id": {"encrypt": {"level": 1}},
        },
        "validations": [{"field": "email", "regex": "@"}],
    }
    assert imported.stream == {
        "description": "Events of the data contract acme/click/1.0.0.",
        "format": "json",
        "contracts": ["contract.yaml"],
        "contract_field": "strmMeta/eventContractRef",
    }
    assert imported.schema == json.dumps(AVRO)
    assert "fields: kept readable: strmMeta/eventContractRef, " in said(imported)
    assert "dataSubjectField: of the namespace `clicks` — " in said(imported)
    assert "strmMeta/consentLevels: read as purposes — " in said(imported)


def test_rows_of_a_batch_job(tmp_path):
    imported = rows(tmp_path)
    assert imported.contract == {
        "contract": "acme/click/1.0.0",
        "state": "active",
        "schema": "event.schema.yaml",
        "time_field": "at",
        "time_format": "%m/%d/%Y %H:%M",
        "time_zone": "Europe/Amsterdam",
        "max_age": "365000d",
        "key_field": "id",
        "data_subject": {"field": "id", "namespace": "clicks"},
        "consent": {"type": "cumulative", "default": [2]},
        "default": "pseudonymize",
        "fields": {"id": {"encrypt": {"level": 1}}, "at": "keep", "amount": "keep", "agreed": "keep"},
    }
    assert imported.stream["format"] == {"csv": {"encoding": "cp1252"}}
    assert "contract_field" not in imported.stream
    assert imported.stream["derived"] == {
        "decrypted_1": {
            "description": "Rows of people who agreed to level 2, with the fields of that readable.",
            "consent": {"level": 2},
        }
    }
    assert "keyField: rows without it — " in said(imported)


# --- fields of personal data --------------------------------------------------------------------------------


def metadata(name: str, **config: Any) -> dict[str, Any]:
    return {"fieldName": name, "personalDataConfig": config}


def test_the_newer_way_wins_as_a_whole(tmp_path):
    newer = [metadata("email", isPii=True, purposeLevel=7), metadata("session", isPii=False)]
    imported = run(tmp_path, changed(CONTRACT, fieldMetadata=newer))
    fields = imported.contract["fields"]
    assert fields["email"] == {"encrypt": {"level": 7}}
    assert fields["customer/id"] == "keep"
    assert "piiFields.customer/id: kept readable — where there is any fieldMetadata it wins" in said(imported)


def test_level_0_is_said(tmp_path):
    for contract in (
        changed(CONTRACT, piiFields={"email": 0}),
        changed(CONTRACT, fieldMetadata=[metadata("email", isPii=True)]),
    ):
        imported = run(tmp_path, contract)
        assert imported.contract["fields"]["email"] == {"encrypt": {"level": 0}}
        assert "email: encrypted under level 0 — there 0 is the most basic legal ground, not `never`" in said(
            imported
        )


def test_what_else_is_known_of_fields_is_said(tmp_path):
    newer = [
        metadata("count", isQuasiId=True),
        metadata("email", isPii=True, isQuasiId=True, purposeLevel=1, gdprSpecialPersonalDataType="HEALTH"),
        {**metadata("session"), "statisticalDataType": "NOMINAL"},
    ]
    text = said(run(tmp_path, changed(CONTRACT, fieldMetadata=newer)))
    assert "count: a quasi-identifier — " in text
    assert "email: a quasi-identifier" not in text
    assert "fieldMetadata[1].personalDataConfig.gdprSpecialPersonalDataType: not carried over" in text
    assert "fieldMetadata[2].statisticalDataType: not carried over" in text


def test_texts_in_lists_are_encrypted_one_by_one(tmp_path):
    fields = run(tmp_path, changed(CONTRACT, piiFields={"tags": 3, "lines/sku": 4})).contract["fields"]
    assert fields["tags[]"] == {"encrypt": {"level": 3}}
    assert fields["lines[]/sku"] == {"encrypt": {"level": 4}}
    assert "tags" not in fields


def test_names_in_snake_case_and_within_an_object(tmp_path):
    snake = {
        "data_contract": {
            "ref": CONTRACT["ref"],
            "state": "ACTIVE",
            "key_field": "session",
            "field_metadata": [
                {"field_name": "email", "personal_data_config": {"is_pii": True, "purpose_level": 2}}
            ],
            "data_subject_field": "customer/id",
        },
        "checksum": "1",
    }
    imported = run(tmp_path, snake)
    assert imported.contract["fields"]["email"] == {"encrypt": {"level": 2}}
    assert imported.contract["data_subject"] == {"field": "customer/id", "namespace": "clicks"}


# --- the rest of a contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "ours"),
    [("DRAFT", "draft"), ("IN_REVIEW", "in_review"), ("APPROVED", "approved"), ("ARCHIVED", "archived")],
)
def test_states(tmp_path, state, ours):
    imported = run(tmp_path, changed(CONTRACT, state=state))
    assert imported.contract["state"] == ours
    assert (
        f"state: {state}, `{ours}` here — only active contracts are used, so the folder is `_clicks`"
        in said(imported)
    )


def test_a_state_that_we_have_not_is_a_draft(tmp_path):
    assert run(tmp_path, changed(CONTRACT, state="INCOMPLETE")).contract["state"] == "draft"


def test_rules_that_cannot_be_carried_over_are_said(tmp_path):
    rules = [
        {"field": "email", "type": "regex", "value": r"^\p{L}+$"},
        {"field": "count", "type": "regex", "value": "^1$"},
        {"field": "email", "type": "range", "value": "1-2"},
        {"field": "tags", "type": "regex", "value": "x"},
    ]
    imported = run(tmp_path, changed(CONTRACT, validations=rules))
    assert imported.contract["validations"] == [{"field": "tags[]", "regex": "x"}]
    text = said(imported)
    assert "email: its regex is not carried over — Python cannot read it" in text
    assert "count: its regex is not carried over — it is no string here" in text
    assert "email: its validation `range` is not carried over — it is unknown here" in text


def test_without_data_subject_and_without_meta(tmp_path):
    bare = {**AVRO, "fields": AVRO["fields"][1:]}
    imported = run(tmp_path, changed(CONTRACT, dataSubjectField=""), Schema(".avsc", "", json_schema(bare)))
    assert imported.contract["time_field"] == "$arrival"
    assert not {"data_subject", "consent"} & imported.contract.keys()
    assert "contract_field" not in imported.stream
    assert "dataSubjectField: there is none — " in said(imported)
    assert "time_field: `$arrival`: when its file landed — " in said(imported)


def test_whatever_has_no_place_here_is_said(tmp_path):
    more = changed(
        CONTRACT, isPublic=True, projectId="p-1", metadata={"title": "Clicks", "labels": [{"key": "a"}]}
    )
    imported = run(tmp_path, more)
    assert imported.stream["description"] == "Clicks"
    for key in ("isPublic", "projectId", "metadata.labels"):
        assert f"{key}: not carried over — nothing here corresponds to it" in said(imported)


# --- schemas ------------------------------------------------------------------------------------------------


def test_a_simple_schema_gets_the_meta_of_events(tmp_path):
    schema = Schema(".yaml", "text", simple_json_schema(ROWS))
    imported = run(tmp_path, ROW_CONTRACT, schema)
    assert imported.contract["schema"] == "event.schema.json"
    written = json.loads(imported.schema)
    assert list(written["properties"]) == [META, "id", "at", "amount", "agreed"]
    assert written["properties"][META] == META_SCHEMA
    assert written["required"] == [META]
    assert imported.contract["time_field"] == "strmMeta/timestamp"


def test_files_have_no_meta(tmp_path):
    contract = changed(CONTRACT, validations=[])
    avro = deepcopy(AVRO)
    avro["fields"][1:] = [{"name": name, "type": "string"} for name in ("session", "email", "at")]
    avro["fields"] += AVRO["fields"][6:]
    imported = run(tmp_path, contract, Schema(".avsc", "", json_schema(avro)), JOB)
    written = json.loads(imported.schema)
    assert META not in written["properties"]
    assert META not in written["required"]
    assert "strmMeta: left out of the schema — the files of a batch job have no such column" in said(imported)


def test_columns_that_only_the_job_knows(tmp_path):
    nodes = {"nodes": [node for node in ROWS["nodes"] if node["name"] not in ("at", "agreed")]}
    job = changed(JOB, consent={"consent_level_extractor": {"field": "agreed"}})
    imported = rows(tmp_path, job=job, nodes=nodes)
    written = json.loads(imported.schema)
    assert written["properties"]["at"] == {"type": ["string", "null"], "description": "When it happened."}
    assert written["properties"]["agreed"]["type"] == ["string", "null"]
    assert imported.contract["fields"]["agreed"] == "keep"
    assert "at: added to the schema, as text — " in said(imported)


def test_the_schema_inside_the_contract(tmp_path):
    ref = {"handle": "acme", "name": "click", "version": "1.0.0", "schemaType": "AVRO"}
    avro = run(tmp_path, changed(CONTRACT, schema={"ref": ref, "definition": json.dumps(AVRO)}))
    assert json.loads(avro.schema) == AVRO
    assert avro.contract["schema"] == "event.avsc"
    simple = {**ROWS, "avroName": "Rows"}
    assert run(tmp_path, changed(ROW_CONTRACT, schema={"simpleSchema": simple})).contract["key_field"] == "id"
    plain = {"type": "object", "properties": {"id": {"type": "string"}}}
    schema = {"ref": {"schemaType": "JSONSCHEMA"}, "definition": json.dumps(plain)}
    assert run(tmp_path, changed(ROW_CONTRACT, schema=schema)).contract["schema"] == "event.schema.json"


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"definition": "{"}, "schema.definition: not JSON: "),
        ({"definition": '{"type": "x"}'}, "schema.definition: type: unknown type `x`"),
        ({"simpleSchema": {"nodes": [{"name": "a"}]}}, "schema.simpleSchema: nodes/0: has no type"),
    ],
)
def test_a_schema_inside_that_is_wrong(tmp_path, schema, problem):
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, changed(CONTRACT, schema=schema))
    assert problem in str(caught.value)


# --- consent of rows ----------------------------------------------------------------------------------------


def consent(folder: Path, given: dict[str, Any]) -> Imported:
    return rows(folder, job=changed(JOB, consent=given))


def test_consent_from_a_column(tmp_path):
    plain = consent(tmp_path, {"consent_level_extractor": {"field": "agreed"}})
    assert plain.contract["consent"] == {"type": "cumulative", "field": "agreed"}
    patterns = {"marketing": {"consent_levels": [1, 2]}, "nothing": {"consent_levels": []}}
    mapped = consent(
        tmp_path,
        {
            "default_consent_levels": [0],
            "consent_level_extractor": {"field": "agreed", "field_patterns": patterns},
        },
    )
    assert mapped.contract["consent"] == {
        "type": "cumulative",
        "field": "agreed",
        "values": {"marketing": [1, 2], "nothing": []},
        "default": [0],
    }
    assert "consent.default_consent_levels: only for rows that say nothing — there it also stands" in said(
        mapped
    )


def test_no_consent_derives_nothing(tmp_path):
    none = consent(tmp_path, {"default_consent_levels": []})
    assert "consent" not in none.contract
    assert "derived" not in none.stream
    assert "derived_data: not carried over — no row has a consent" in said(none)


def test_derived_datasets(tmp_path):
    def derived(file: str, levels: list[int], kind: str = "GRANULAR", **more: Any) -> dict[str, Any]:
        target = {"target": {"file_name": file}}
        return {**target, "consent_levels": levels, "consent_level_type": kind, **more}

    data = [
        derived("out/1.csv", [1, 2]),
        derived(
            "more/1.csv", [3], masked_fields={"field_patterns": {"a/b/1.0.0": {"field_patterns": ["x"]}}}
        ),
        derived("c.csv", [1], "CUMULATIVE"),
        derived("d.csv", []),
    ]
    imported = rows(tmp_path, job=changed(JOB, derived_data=data))
    assert {name: one["consent"] for name, one in imported.stream["derived"].items()} == {
        "derived_1": {"purposes": [1, 2]},
        "derived_1_1": {"purposes": [3]},
    }
    assert imported.contract["consent"] == {"type": "granular", "default": [2]}
    text = said(imported)
    assert "derived_data[1].masked_fields: not carried over — " in text
    assert (
        "derived_data[2]: not carried over — a contract has one type of consent, and that of an earlier"
        in text
    )
    assert "derived_data[3]: not carried over — it asks for no consent" in text
    several = changed(JOB, derived_data=[derived("c.csv", [1, 3], "CUMULATIVE")])
    assert rows(tmp_path, job=several).stream["derived"]["c"]["consent"] == {"level": 3}


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"keyField": "sesion"},
            "contract.json:8: keyField: the schema declares no field `sesion` — did you mean `session`?",
        ),
        ({"keyField": ""}, "contract.json:8: keyField: the schema declares no field ``"),
        (
            {"piiFields": {"emial": 1}},
            "contract.json:10: piiFields.emial: the schema declares no field `emial` — did you mean `email`?",
        ),
        (
            {"piiFields": {"customer": 1}},
            "contract.json:10: piiFields.customer: `customer` is a record; that platform encrypts",
        ),
        (
            {"piiFields": {"email": -1}},
            "contract.json:10: piiFields.email: -1 is no level — a whole number from 0 to",
        ),
        (
            {"piiFields": {"email": "2"}},
            "contract.json:10: piiFields.email: is not a whole number — mend the file",
        ),
        ({"piiFields": []}, "contract.json:9: piiFields: is not an object — mend the file"),
        ({"ref__version": "1"}, "contract.json:2: ref: `acme/click/1` names no contract — "),
        ({"dataSubjectField": "who"}, "dataSubjectField: the schema declares no field `who`"),
    ],
)
def test_refused(tmp_path, changes, problem):
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, changed(CONTRACT, **changes))
    assert any(text.startswith(problem) or problem in text for text in problems(caught, tmp_path))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"event_contract_ref__name": "x"},
            "event_contract_ref: `acme/x/1.0.0` is another contract than `acme/click/1.0.0`",
        ),
        (
            {"source_data__data_type": {"database": {"table": "x"}}},
            "data_type.database: a database, not files",
        ),
        ({"source_data__data_type__csv": {"charset": "x-1"}}, "data_type.csv.charset: unknown charset `x-1`"),
        (
            {"encryption__timestamp_config__format": "dd MMM yyyy"},
            "timestamp_config.format: Java's `MMM` (a month by its name) cannot be carried over",
        ),
        ({"encryption__timestamp_config__field": "amount"}, "timestamp_config.field: `amount` is no string"),
        (
            {"encryption__timestamp_config__field": "_at"},
            "timestamp_config.field: the property '_at' starts with `_`",
        ),
        (
            {"encryption__timestamp_config__default_time_zone": {"id": "Amsterdm"}},
            "timestamp_config.default_time_zone.id: unknown time zone `Amsterdm`",
        ),
        (
            {"consent": {"default_consent_levels": ["a"]}},
            "consent.default_consent_levels: are not levels of consent",
        ),
        (
            {"derived_data": [{"consent_levels": [1], "consent_level_type": "X"}]},
            "derived_data[0].consent_level_type: unknown type `x`",
        ),
        ({"derived_data": [1]}, "derived_data[0]: is not an object"),
    ],
)
def test_a_job_that_is_refused(tmp_path, changes, problem):
    with pytest.raises(ConfigurationError) as caught:
        rows(tmp_path, job=changed(JOB, **changes))
    assert any(text.startswith("job.json:") and problem in text for text in problems(caught, tmp_path))
