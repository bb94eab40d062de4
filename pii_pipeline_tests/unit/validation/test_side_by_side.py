"""Versions side by side: which one judges a record, and all verdicts together in the order of the records."""

import json
import pickle
from dataclasses import dataclass, field
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pii_pipeline.validation import SideBySide, Validator, side_by_side
from pii_pipeline.validation.columns import split, value_at
from pii_pipeline.validation.failures import Rejected
from pii_pipeline.validation.parsing import parse_record
from pii_pipeline.validation.side_by_side import references
from pii_pipeline_tests.unit.validation.building import ARRIVED, EARLIEST, LATEST, contract, encoded

OLD, NEW = "acme/event/1.0.0", "acme/event/1.1.0"


def schema(**properties):
    return {
        "type": "object",
        "properties": {"key": {"type": "string"}, "is": {"type": "string"}, **properties},
    }


CONTRACTS = [
    contract(
        schema(b={"type": "integer"}, o={"type": "object", "properties": {"y": {"type": "string"}}}),
        contract=NEW,
    ),
    contract(
        schema(a={"type": "string"}, o={"type": "object", "properties": {"x": {"type": "string"}}}),
        contract=OLD,
    ),
]


def run(versions, *records, fields=None):
    raw = pa.array(encoded(*records), pa.binary())
    arrival = pa.array([ARRIVED] * len(raw), pa.timestamp("us", tz="UTC"))
    too_large = np.zeros(len(raw), bool)
    return versions.validate(raw, too_large, EARLIEST, LATEST, arrival, fields)


def test_in_the_order_of_the_records_under_the_columns_of_all():
    records = [
        {"key": "1", "is": OLD, "a": "A", "o": {"x": "X"}},
        {"key": "2", "is": NEW, "b": 2, "o": {"y": "Y"}, "more": 1},
        {"key": "", "is": OLD},
        {"key": "4", "is": "acme/event/9.0.0"},
        {"key": "5", "is": OLD},
        {"key": "6", "is": NEW, "b": "six"},
    ]
    done = run(SideBySide(CONTRACTS, "is"), *records)
    assert done.rows.tolist() == [0, 1, 4]
    assert done.table.schema.names == ["key", "is", "b", "o", "a", "_event_time", "_unlisted", "_contract"]
    rows = done.table.drop_columns(["_event_time", "is"]).to_pylist()
    assert rows == [
        {"key": "1", "b": None, "o": {"y": None, "x": "X"}, "a": "A", "_unlisted": None, "_contract": OLD},
        {
            "key": "2",
            "b": 2,
            "o": {"y": "Y", "x": None},
            "a": None,
            "_unlisted": '{"more":1}',
            "_contract": NEW,
        },
        {"key": "5", "b": None, "o": None, "a": None, "_unlisted": None, "_contract": OLD},
    ]
    assert [(failure.row, failure.type, failure.contract) for failure in done.failures] == [
        (2, "empty_key", OLD),
        (3, "unknown_contract", NEW),
        (5, "schema_violation", NEW),
    ]


def test_one_version_alone_is_the_validator_and_its_name():
    records = [{"key": "1", "is": NEW, "b": 1}, {"key": "2", "is": OLD}]
    alone = run(SideBySide(CONTRACTS[:1], "is"), *records)
    raw = pa.array(encoded(*records), pa.binary())
    arrival = pa.array([ARRIVED] * 2, pa.timestamp("us", tz="UTC"))
    expected = Validator(CONTRACTS[0], "is").validate(raw, None, EARLIEST, LATEST, arrival)
    assert alone.table.drop_columns(["_contract"]) == expected.table
    assert alone.table["_contract"].to_pylist() == [NEW]
    assert alone.failures == expected.failures


def test_each_version_has_its_own_bound_of_age():
    aged = [
        contract(schema(t={"type": "string"}), contract=name, time_field="t", max_age=age)
        for name, age in ((NEW, "1h"), (OLD, "2h"))
    ]
    moment = (EARLIEST - timedelta(minutes=90)).isoformat()
    done = run(SideBySide(aged, "is"), *({"key": "k", "is": name, "t": moment} for name in (OLD, NEW)))
    assert (done.rows.tolist(), [failure.rule for failure in done.failures]) == ([0], ["time_bounds"])


@pytest.mark.parametrize("records", [[], [{"key": "1", "is": OLD}], [{"key": "1", "is": NEW}], [{}]])
def test_a_version_may_have_nothing_to_judge(records):
    done = run(SideBySide(CONTRACTS, "is"), *records)
    assert len(done.table) + len(done.failures) == len(records)
    assert len(done.table.schema.names) == 8


def test_picklable():
    versions = pickle.loads(pickle.dumps(SideBySide(CONTRACTS, "is")))
    assert len(run(versions, {"key": "1", "is": OLD}).rows) == 1


@dataclass
class Fault:
    row: int
    rule: str
    message: str = "at fault"


@dataclass
class Fields:
    columns: dict[str, pa.Array]
    faults: list[Fault] = field(default_factory=list)


def texts(*values):
    return pa.array(values, pa.string())


def test_delimited_records_name_their_contract_in_a_column():
    fields = Fields(
        {
            "key": texts("1", "2", None, "4", "5"),
            "is": texts(OLD, NEW, None, OLD, None),
            "a": texts("A", "undeclared", None, "A", None),
            "b": texts(None, "2", None, None, None),
        },
        [Fault(2, "quoting")],
    )
    done = run(SideBySide(CONTRACTS, "is"), *[b"line"] * 5, fields=fields)
    assert done.rows.tolist() == [0, 1, 3]
    assert done.table["a"].to_pylist() == ["A", None, "A"]
    assert done.table["b"].to_pylist() == [None, 2, None]
    assert [(failure.row, failure.type, failure.contract) for failure in done.failures] == [
        (2, "malformed_record", NEW),
        (4, "unknown_contract", NEW),
    ]


def test_a_column_of_json_text_may_name_it_inside():
    column = texts('{"is": "one"}', None, "no JSON", '{"is": 1}')
    records = pa.array([b"line"] * 4, pa.binary())
    assert references(records, Fields({"m": column}), "m/is").to_pylist() == ["one", None, None, "1"]
    assert references(records, Fields({}), "m").to_pylist() == [None] * 4


NAMES = ["is", "a/b", "~", "it's", "*", "", "ü", "0"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(OLD),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
lines = st.one_of(
    values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(NAMES), values, max_size=4).map(lambda v: json.dumps(v).encode()),
    st.dictionaries(st.sampled_from(NAMES), values, max_size=4).map(
        lambda v: json.dumps(v, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
    st.binary(max_size=12),
)
PATHS = ["is", "a~1b", "~0", "it's", "*", "ü", "0", "is/a~1b", "ü/is/0"]


def strictly(line, path):
    """What the strict path finds there, if the record can be read and it is text."""
    try:
        value = value_at(parse_record(line), split(path))
    except Rejected:
        return None
    return value if isinstance(value, str) else None


@settings(max_examples=300, deadline=None)
@given(st.lists(lines, max_size=6), st.sampled_from(PATHS), st.sampled_from([pa.binary(), pa.large_binary()]))
def test_the_reference_is_what_the_strict_path_reads(records, path, type):
    found = references(pa.array(records, type), None, path).to_pylist()
    for line, name in zip(records, found, strict=True):
        expected = strictly(line, path)
        # Of what is no text, or no JSON by the letter, DuckDB may give something, which names no contract.
        assert name == expected or (expected is None and name != OLD) or not valid(line)


def valid(line):
    try:
        parse_record(line)
    except Rejected:
        return False
    return True


def test_without_duckdb_records_are_read_one_by_one(monkeypatch):
    def fail(*_):
        raise duckdb.InvalidInputException("Malformed JSON: sentinel-value")

    monkeypatch.setattr(side_by_side, "query", fail)
    records = pa.array(encoded({"is": OLD}, {"is": 1}, b"{"), pa.binary())
    assert references(records, None, "is").to_pylist() == [OLD, None, None]
