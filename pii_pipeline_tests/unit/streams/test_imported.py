"""Imported streams as folders of files, and the stock they start from."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.contracts.foreign import Imported, Note
from pii_pipeline.contracts.loader import load_contract
from pii_pipeline.contracts.record_type import Scalar
from pii_pipeline.contracts.treatments import Drop, Generalize, Keep, Pseudonymize, Url
from pii_pipeline.streams.imported import STOCK, stock, write_stream, yaml_text
from pii_pipeline.streams.loader import load_stream, load_streams
from pii_pipeline_tests.shared_data import shared_data

SCHEMA = '{"type": "object", "properties": {"id": {"type": "string"}, "ts": {"type": "string"}}}'
IMPORTED = Imported(
    {"description": "Events.", "format": "json", "contracts": ["contract.yaml"]},
    {
        "contract": "acme/x/1.0.0",
        "state": "active",
        "schema": "event.schema.json",
        "time_field": "ts",
        "key_field": "id",
        "fields": {"ts": "keep"},
    },
    SCHEMA,
    (Note("a", "what", "why", "mend"),),
)


def test_what_was_written_loads(tmp_path):
    written = write_stream(tmp_path, "clicks", IMPORTED)
    assert [file.name for file in written.files] == ["stream.yaml", "contract.yaml", "event.schema.json"]
    assert written.folder == tmp_path / "clicks"
    assert load_streams([tmp_path])["clicks"].contract.contract == "acme/x/1.0.0"
    assert (
        (tmp_path / "clicks/contract.yaml")
        .read_text()
        .startswith("# What the import had to say:\n# - a: what — why; mend\n\ncontract: acme/x/1.0.0\n")
    )


def test_nothing_is_overwritten(tmp_path):
    write_stream(tmp_path, "clicks", IMPORTED)
    with pytest.raises(ConfigurationError, match="exists already"):
        write_stream(tmp_path, "clicks", IMPORTED)


def test_a_draft_is_no_stream_yet(tmp_path):
    draft = replace(IMPORTED, contract={**IMPORTED.contract, "state": "draft"})
    written = write_stream(tmp_path, "clicks", draft)
    assert written.folder == tmp_path / "_clicks"
    assert load_streams([tmp_path]) == {}
    assert load_contract(written.folder / "contract.yaml").contract.state == "draft"


def test_what_does_not_load_is_not_left_behind(tmp_path):
    wrong = replace(IMPORTED, contract={**IMPORTED.contract, "key_field": "nope"})
    with pytest.raises(ConfigurationError, match="the schema declares no field `nope`"):
        write_stream(tmp_path, "clicks", wrong)
    assert list(tmp_path.iterdir()) == []


def test_yaml_is_read_back_as_it_was():
    value = {
        "contract": "acme/x/1.0.0",
        "time_field": "$arrival",
        "time_format": "%d/%m/%Y: %H",
        "consent": {"type": "granular", "values": {"yes": [1, 2], "on, or off": []}},
        "fields": {
            "items[]/sku": "keep",
            "a~1b": {"encrypt": {"level": 2}},
            "é": {"keep": {"allow": ["ip"]}},
        },
        "validations": [{"field": "x", "regex": "^[a-z]{2}: #'\"\n$"}, {"field": "y", "min": 0}],
        "empty": {},
        "long": {"key": {f"name-{number}": "a rather long text " * 3 for number in range(3)}},
        "description": "Line one.\nLine two: # no comment",
    }
    assert yaml.safe_load(yaml_text(value)) == value
    assert "  a~1b: {encrypt: {level: 2}}\n" in yaml_text(value)


# --- the stock ----------------------------------------------------------------------------------------------


def test_the_project_s_stream_is_the_stock():
    project = Path(__file__).parents[3] / "streams" / "snowplow"
    assert project.resolve() == (STOCK / "snowplow").resolve()


def test_the_stock_for_snowplow():
    stream = load_stream(STOCK / "snowplow")
    assert stream.warnings == ()
    contract = stream.contract
    columns = contract.record.fields
    assert len(columns) == 131
    assert [name for name, node in columns if node == Scalar("json")] == [
        "contexts",
        "unstruct_event",
        "derived_contexts",
    ]
    treatments = {name: contract.treatment(name) for name, _ in columns}
    # What names a person or a browser, numbers an order or a click, or is free text.
    for name in (
        "user_id", "domain_userid", "network_userid", "user_fingerprint", "domain_sessionid", "useragent",
        "refr_domain_userid", "ip_organization", "ip_domain", "ip_isp", "tr_orderid", "ti_orderid", "txn_id",
        "mkt_clickid", "page_title", "page_urlquery", "page_urlfragment", "refr_urlquery", "refr_term",
        "mkt_term", "mkt_content", "se_category", "se_action", "se_label", "se_property", "se_value",
        "event_fingerprint",
    ):  # fmt: skip
        assert treatments[name] == Pseudonymize(), name
    assert all(isinstance(treatments[name], Url) for name in ("page_url", "page_referrer", "page_urlpath"))
    assert all(isinstance(treatments[name], Generalize) for name in ("user_ipaddress", "geo_latitude"))
    assert treatments["geo_zipcode"] == Drop()
    assert treatments["event_name"] == Keep()
    assert stock("snowplow").contract["fields"].keys() == contract.fields.keys()


def test_the_stock_has_the_columns_in_the_order_of_the_files():
    lines = (shared_data() / "snowplow" / "enriched_fields_131.txt").read_text().splitlines()
    kinds = {"string": "string", "tstamp": "string", "int": "integer", "double": "number", "bool": "boolean"}
    expected = []
    for line in lines:
        _, name, kind = line.split("\t")
        expected.append((name, Scalar(kinds.get(kind, "json"))))  # type: ignore[arg-type]
    # The list calls it a string; its own schema, and what trackers send, a number.
    expected[57] = ("se_value", Scalar("number"))
    assert list(load_stream(STOCK / "snowplow").contract.record.fields) == expected
