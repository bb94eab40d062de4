"""Snowplow's PII enrichment configurations as contracts."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.contracts.foreign import Imported
from pii_pipeline.contracts.importers.snowplow import Stock, import_stream
from pii_pipeline.contracts.source import read_json
from pii_pipeline_tests.shared_data import shared_data

SALT = "peppercorn-4711"
CRITERION = "iglu:com.acme/user/jsonschema/1-*-*"
PII: list[dict[str, Any]] = [
    {"pojo": {"field": "user_id"}},
    {"pojo": {"field": "user_ipaddress"}},
    {"json": {"field": "contexts", "schemaCriterion": CRITERION, "jsonPath": "$.emails[*].address"}},
    {"json": {"field": "contexts", "schemaCriterion": CRITERION, "jsonPath": "$.['name', 'phone']"}},
    {"json": {"field": "unstruct_event", "schemaCriterion": CRITERION, "jsonPath": "$['user'].id"}},
]
CONFIGURATION: dict[str, Any] = {
    "schema": "iglu:com.snowplowanalytics.snowplow.enrichments/pii_enrichment_config/jsonschema/2-0-1",
    "data": {
        "vendor": "com.snowplowanalytics.snowplow.enrichments",
        "name": "pii_enrichment_config",
        "enabled": True,
        "emitEvent": False,
        "parameters": {
            "pii": PII,
            "strategy": {"pseudonymize": {"hashFunction": "SHA-256", "salt": SALT}},
        },
    },
}
STOCK = Stock(
    {"description": "Events.", "format": "snowplow_enriched_tsv", "contracts": ["contract.yaml"]},
    {
        "contract": "acme/snowplow/1.0.0",
        "state": "active",
        "schema": "atomic.schema.json",
        "fields": {
            "event": "keep",
            "user_ipaddress": {"generalize": {"ipv4_prefix": 24}},
            "contexts": {
                "self_describing": {
                    "iglu:com.acme/user/jsonschema/1-0-0": {"name": "keep", "emails": "keep", "plan": "keep"},
                    "iglu:com.acme/user/jsonschema/2-*-*": {"name": "keep"},
                    "iglu:com.acme/page/jsonschema/*-*-*": {"id": "keep"},
                }
            },
        },
    },
    "the schema",
)


def configuration(**changes: Any) -> dict[str, Any]:
    """The configuration with other values below `data`; the way to one is written ``a__b``."""
    result = deepcopy(CONFIGURATION)
    for way, value in changes.items():
        *parents, last = way.split("__")
        at = result if way == "schema" else result["data"]
        for name in parents:
            at = at[name]
        at[last] = value
    return result


def run(folder: Path, given: dict[str, Any] = CONFIGURATION) -> Imported:
    file = folder / "pii.json"
    file.write_text(json.dumps(given, indent=1))
    return import_stream("my_web", read_json(file), STOCK)


def said(imported: Imported) -> str:
    return "\n".join(map(str, imported.notes))


HASH = {"pseudonymize": {"hash": "SHA-256"}}


def test_what_the_enrichment_hashes_is_hashed(tmp_path):
    imported = run(tmp_path)
    assert imported.stream == STOCK.stream
    assert imported.schema == "the schema"
    assert imported.contract["contract"] == "acme/my-web/1.0.0"
    fields = imported.contract["fields"]
    assert list(fields) == ["user_id", "user_ipaddress", "event", "contexts", "unstruct_event"]
    assert fields["user_id"] == fields["user_ipaddress"] == HASH
    assert fields["event"] == "keep"
    assert fields["unstruct_event"] == {"self_describing": {CRITERION: {"user/id": HASH}}}


def test_inside_documents_the_hash_comes_before_what_is_listed(tmp_path):
    entities = run(tmp_path).contract["fields"]["contexts"]["self_describing"]
    assert list(entities.items()) == [
        (CRITERION, {"emails[]/address": HASH, "name": HASH, "phone": HASH}),
        # The name is hashed in version 1, and only there; a list around a hashed place may stay listed.
        ("iglu:com.acme/user/jsonschema/1-0-0", {"emails": "keep", "plan": "keep"}),
        ("iglu:com.acme/user/jsonschema/2-*-*", {"name": "keep"}),
        ("iglu:com.acme/page/jsonschema/*-*-*", {"id": "keep"}),
    ]


def test_what_lies_inside_a_hashed_place_is_not_listed_apart(tmp_path):
    stock = deepcopy(STOCK)
    places = {"user/id": "keep", "user[]": "keep", "username": "keep"}
    more = {"iglu:*/user/jsonschema/*-*-*": {"user/id": "keep"}, "iglu:*/*/jsonschema/*-*-*": {}}
    stock.contract["fields"]["unstruct_event"] = {"self_describing": {CRITERION: places, **more}}
    whole = {"json": {"field": "unstruct_event", "schemaCriterion": CRITERION, "jsonPath": "$.user"}}
    file = tmp_path / "pii.json"
    file.write_text(json.dumps(configuration(parameters__pii=[whole])))
    entities = import_stream("web", read_json(file), stock).contract["fields"]["unstruct_event"][
        "self_describing"
    ]
    assert entities == {CRITERION: {"user": HASH, "username": "keep"}, **{other: {} for other in more}}


@pytest.mark.parametrize("function", ["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_hash_functions(tmp_path, function):
    fields = run(tmp_path, configuration(parameters__strategy__pseudonymize__hashFunction=function)).contract[
        "fields"
    ]
    assert fields["user_id"] == {"pseudonymize": {"hash": function}}


def test_the_salt_is_nowhere(tmp_path):
    imported = run(tmp_path)
    assert SALT not in repr(imported)
    assert "strategy.pseudonymize.salt: not written into any file — " in said(imported)
    assert "PII_SNOWPLOW_SALT" in said(imported)
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, configuration(parameters__strategy__pseudonymize={"hashFunction": "X", "salt": [SALT]}))
    assert SALT not in str(caught.value)


def treatments(imported):
    """The settings of every `pseudonymize` in the contract, those inside documents too."""
    found, left = [], [imported.contract]
    while left:
        item = left.pop()
        inside = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in inside:
            if key == "pseudonymize" and isinstance(value, dict):
                found.append(value)
            elif isinstance(value, dict | list):
                left.append(value)
    return found


def test_what_differs_is_said(tmp_path):
    emitted = run(tmp_path, configuration(emitEvent=True, enabled=False, anonymousOnly=True))
    text = said(emitted)
    assert "emitEvent: carried over in another way — no event has the originals; the vault gets them" in text
    hashed = [what for what in treatments(emitted) if "hash" in what]
    assert hashed and all(what["reversible"] is True for what in hashed)
    assert not any("reversible" in what for what in treatments(run(tmp_path)))
    assert "enabled: the enrichment is switched off there — " in text
    assert (
        "anonymousOnly: not carried over — there only events with the header SP-Anonymous are hashed" in text
    )
    assert "everything else: pseudonymized, unless the contract lists it — " in text
    plain = said(run(tmp_path))
    assert "emitEvent" not in plain
    assert "anonymousOnly" not in plain


def test_paths_that_cannot_be_carried_over_are_said(tmp_path):
    entry = {"field": "contexts", "schemaCriterion": CRITERION, "jsonPath": "$..email"}
    imported = run(tmp_path, configuration(parameters__pii=[{"json": entry}]))
    assert f"contexts {CRITERION} $..email: not carried over — a search at any depth (`..`)" in said(imported)
    assert imported.contract["fields"]["contexts"] == STOCK.contract["fields"]["contexts"]


def test_the_older_version(tmp_path):
    older = CONFIGURATION["schema"].replace("2-0-1", "2-0-0")
    assert run(tmp_path, configuration(schema=older)).contract["fields"]["user_id"] == HASH
    with pytest.raises(ConfigurationError, match="anonymousOnly: unknown key"):
        run(tmp_path, configuration(schema=older, anonymousOnly=True))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"schema": "iglu:com.acme/x/jsonschema/1-0-0"},
            "2: schema: `iglu:com.acme/x/jsonschema/1-0-0` is no PII",
        ),
        ({"vendor": "com.acme"}, "4: data.vendor: `com.acme` is another enrichment — `com.snowplow"),
        ({"parameters__strategy__pseudonymize__hashFunction": "MD2"}, "hashFunction: MD2 is broken"),
        ({"parameters__strategy__pseudonymize__hashFunction": "SHA256"}, "did you mean `SHA-256`?"),
        ({"parameters__strategy__pseudonymize": {"hashFunction": "MD5"}}, 'salt: is missing — add "salt"'),
        (
            {"parameters__pii": [{"pojo": {"field": "usr_id"}}]},
            "hashes no `usr_id` — did you mean `user_id`?",
        ),
        ({"parameters__pii": [{"pojo": {"field": "event_id"}}]}, "the enrichment hashes no `event_id`"),
        ({"parameters__pii": [{}]}, "data.parameters.pii[0]: not exactly one of `pojo` and `json`"),
        (
            {"parameters__pii": [{"pjo": {"field": "user_id"}}]},
            "pii[0].pjo: unknown key — did you mean `pojo`?",
        ),
        (
            {"parameters__pii": [{"pojo": {"feld": "user_id"}}]},
            "pojo.feld: unknown key — did you mean `field`?",
        ),
        ({"parameters__pii": {}}, "data.parameters.pii: is not a list"),
        ({"emitEvents": True}, "data.emitEvents: unknown key — did you mean `emitEvent`?"),
    ],
)
def test_refused(tmp_path, changes, problem):
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, configuration(**changes))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "problem"),
    [
        (
            {"pseudonymize": {"hashFunction": SALT, "salt": "SHA-256"}},
            "hashFunction: unknown hash function — one",
        ),
        (
            {"pseudonymize": {"hashFunction": "MD5", SALT: "salt"}},
            "pseudonymize: an unknown key — one of hash",
        ),
        ({"pseudonymize": {"hashFunction": "MD5", "salt": [SALT]}}, "salt: is not text"),
        ({"pseudonymize": {"hashFunction": [SALT], "salt": "x"}}, "hashFunction: is not text"),
        ({"pseudonymize": SALT}, "pseudonymize: is not an object"),
        ({SALT: {}}, "strategy: an unknown key — one of pseudonymize"),
        (SALT, "strategy: is not an object"),
    ],
)
def test_a_salt_at_a_wrong_place_is_not_quoted(tmp_path, strategy, problem):
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, configuration(parameters__strategy=strategy))
    assert problem in str(caught.value)
    assert SALT not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"field": "context"}, "json.field: the enrichment hashes no `context` — did you mean `contexts`?"),
        (
            {"schemaCriterion": "com.acme/user"},
            "json.schemaCriterion: `com.acme/user` is no schema criterion",
        ),
        (
            {"jsonPath": "email"},
            "json.jsonPath: it does not start with `$` — write it from the entity's data",
        ),
    ],
)
def test_an_entry_of_documents_that_is_refused(tmp_path, entry, problem):
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, configuration(parameters__pii=[{"json": PII[2]["json"] | entry}]))
    assert problem in str(caught.value)


@pytest.mark.parametrize("version", ["2-0-0", "2-0-1"])
def test_the_published_schemas_agree_on_what_is_right(tmp_path, version):
    name = f"com.snowplowanalytics.snowplow.enrichments__pii_enrichment_config__jsonschema__{version}.json"
    schema = json.loads((shared_data() / "snowplow" / "schemas" / name).read_text())
    del schema["$schema"]
    validator = jsonschema.Draft4Validator(schema)
    right = configuration(schema=CONFIGURATION["schema"].replace("2-0-1", version))
    wrong = [
        {"vendor": 1},
        {"parameters__pii": [{"pojo": {"field": "event_id"}}]},
        {"parameters__pii": [{"json": PII[2]["json"] | {"jsonPath": "email"}}]},
        {"parameters__pii": [{"json": PII[2]["json"] | {"schemaCriterion": "iglu:a/b/c/1-0"}}]},
        {"parameters__pii": [{}]},
        {"parameters__strategy": {}},
        {"more": 1},
    ]
    assert validator.is_valid(right["data"])
    run(tmp_path, right)
    for changes in wrong:
        given = configuration(schema=right["schema"], **changes)
        assert not validator.is_valid(given["data"])
        with pytest.raises(ConfigurationError):
            run(tmp_path, given)
