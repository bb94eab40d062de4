import hmac
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pii_pipeline.contracts.record_type import Scalar
from pii_pipeline.contracts.treatments import Generalize, Mask, Url
from pii_pipeline.privacy.canonical import from_texts, number_text
from pii_pipeline.privacy.generalize import generalize_column, generalize_date, generalize_ip
from pii_pipeline.privacy.mask import mask_text
from pii_pipeline.privacy.plan import UNLISTED, compile_plan
from pii_pipeline.privacy.pseudonymize import pseudonymize_columns
from pii_pipeline.privacy.sealer import RowKeys
from pii_pipeline.privacy.url import url_splitter
from pii_pipeline_tests.unit.privacy.reference import PlainSealer, contract

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "plain": {"type": "string"},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
        "gone": {"type": "string"},
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string"},
                "city": {"type": "string"},
                "no": {"type": "integer"},
            },
        },
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "sku": {"type": "string"},
                    "note": {"type": "string"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}


def table(plan, rows):
    record = plan.contract.record
    from pii_pipeline.contracts.record_type import arrow_type

    columns = {
        name: pa.array([row.get(name) for row in rows], arrow_type(node)) for name, node in record.fields
    }
    columns[UNLISTED] = pa.array([row.get(UNLISTED) for row in rows], pa.string())
    return pa.table(columns)


def treat(rows, subjects=None, keys=None, **settings):
    plan = compile_plan(contract(SCHEMA, **settings))
    who = np.array(subjects if subjects is not None else range(len(rows)))
    row_keys = RowKeys(who, np.array(keys) if keys is not None else who)
    columns = pseudonymize_columns(table(plan, rows), plan, row_keys, PlainSealer())
    return {name: column.to_pylist() for name, column in columns.items()}, plan


def hexed(domain, subject, text):
    return hmac.digest(f"{domain} {subject}".encode(), text.encode(), "sha256").hex()


def test_what_nobody_listed_is_pseudonymized_down_to_the_leaves():
    rows = [
        {
            "id": "a",
            "number": 42.0,
            "flag": True,
            "address": {"street": "Main", "no": 7},
            "items": [{"sku": "x", "tags": ["t", None]}, None],
        },
        {"id": "a", "items": []},
        {"id": None, "address": None, "items": None},
    ]
    out, _ = treat(rows, subjects=[0, 1, 1])
    path = "acme/test\0"
    assert out["id"] == [hexed(path + "id", 0, "a"), hexed(path + "id", 1, "a"), None]
    assert out["number"] == [hexed(path + "number", 0, "42"), None, None]
    assert out["flag"][0] == hexed(path + "flag", 0, "true")
    assert out["address"] == [
        {
            "street": hexed(path + "address/street", 0, "Main"),
            "city": None,
            "no": hexed(path + "address/no", 0, "7"),
        },
        None,
        None,
    ]
    assert out["items"] == [
        [
            {
                "sku": hexed(path + "items[]/sku", 0, "x"),
                "note": None,
                "tags": [hexed(path + "items[]/tags[]", 0, "t"), None],
            },
            None,
        ],
        [],
        None,
    ]


def test_lists_of_several_rows_keep_to_their_own_person():
    rows = [{"items": [{"sku": "s"}, {"sku": "s"}]}, {"items": None}, {"items": [{"sku": "s"}]}]
    out, _ = treat(rows, subjects=[3, 4, 5])
    mine, other = out["items"][0][0]["sku"], out["items"][2][0]["sku"]
    assert mine == out["items"][0][1]["sku"] == hexed("acme/test\0items[]/sku", 3, "s")
    assert other == hexed("acme/test\0items[]/sku", 5, "s")


def test_domains_join_where_they_are_named():
    fields = {
        "plain": {"pseudonymize": {"domain": "user", "joinable": True}},
        "gone": {"pseudonymize": {"domain": "user", "joinable": True}},
        "id": {"pseudonymize": {"domain": "none"}},
    }
    out, _ = treat([{"plain": "v", "gone": "v", "id": "v"}] * 2, subjects=[0, 1], fields=fields)
    assert set(out["plain"]) == set(out["gone"]) == {hexed("user", "everybody", "v")}
    assert set(out["id"]) == {hexed("none", "everybody", "v")}


def test_dropping_and_keeping_reach_into_records():
    fields = {
        "gone": "drop",
        "address": "drop",
        "address/city": "keep",
        "items": "keep",
        "items[]/note": "drop",
    }
    rows = [{"gone": "x", "address": {"street": "s", "city": "c"}, "items": [{"sku": "k", "note": "n"}]}]
    out, plan = treat(rows, fields=fields)
    assert "gone" not in out
    assert out["address"] == [{"city": "c"}]
    assert out["items"] == [[{"sku": "k", "tags": None}]]
    assert plan.lake_schema().field("items").type == pa.list_(
        pa.struct([("sku", pa.string()), ("tags", pa.list_(pa.string()))])
    )


def test_a_record_named_for_encryption_is_sealed_as_one_value():
    out, plan = treat(
        [{"address": {"street": "s", "no": 1}}, {"address": None}],
        fields={"address": {"encrypt": {"level": 2}}},
    )
    assert plan.lake_schema().field("address").type == pa.string()
    assert re.fullmatch("A[Q-Za-f].+", out["address"][0])
    assert out["address"][1] is None


def test_the_output_has_the_type_the_plan_says():
    fields = {
        "number": {"generalize": {"step": 10}},
        "plain": {"mask": {}},
        "flag": {"encrypt": {"level": 1}},
    }
    plan = compile_plan(contract(SCHEMA, fields=fields))
    rows = [{"number": 27.5, "plain": "abcd", "flag": False, "items": [{"sku": "x"}]}]
    columns = pseudonymize_columns(
        table(plan, rows), plan, RowKeys(np.array([0]), np.array([0])), PlainSealer()
    )
    for name, step in plan.root.fields:
        expected = plan.lake_schema().field(name).type
        decoded = columns[name]
        if isinstance(decoded, pa.DictionaryArray):
            decoded = decoded.dictionary_decode()
        if not pa.types.is_nested(expected):
            assert decoded.type == expected, step
    assert columns["number"].to_pylist() == [20.0]


def test_undeclared_keys_lose_names_and_values():
    text = '{"secret":"john@acme.com","list":[1,null,{"deep":true}]}'
    out, _ = treat([{"id": "a", UNLISTED: text}, {"id": "b"}], subjects=[7, 8])
    treated = out[UNLISTED][0]
    assert re.sub(r'"[0-9a-f]{64}"|null|[{}\[\]:,]', "", treated) == ""
    assert hexed("acme/test\0$unlisted", 7, "secret") in treated
    assert hexed("acme/test\0$unlisted", 7, "true") in treated
    assert out[UNLISTED][1] is None
    assert treat([{"id": "a", UNLISTED: text}], default="drop")[0][UNLISTED] == [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        (" 203.0.113.77 ", "203.0.113.0/24"),
        ("999.1.1.1", None),
        ("john", None),
        ("", None),
    ],
)
def test_addresses_become_prefixes(text, expected):
    assert generalize_ip(text, Generalize(ipv4_prefix=24, ipv6_prefix=48)) == expected


def test_an_address_without_a_prefix_for_its_version_is_not_shown():
    assert generalize_ip("2001:db8::1", Generalize(ipv4_prefix=24)) is None


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1987-06-05", "month", "1987-06"),
        ("2026-11-22T23:30:00-02:00", "day", "2026-11-23"),
        ("2026-11-22T23:30:00Z", "hour", "2026-11-22T23Z"),
        ("0042-01-01", "year", "0042"),
        ("1984", "year", "1984"),
        ("1984", "month", None),
        ("1984-05", "year", "1984"),
        ("1984-05", "month", "1984-05"),
        ("1984-05", "day", None),
        ("1984-13", "year", None),
        ("0000", "year", None),
        ("198", "year", None),
        ("0001-01-01T00:00:00+10:00", "year", None),
        ("yesterday", "day", None),
        ("2026-11-22", "hour", None),
        ("20261122", "hour", None),
        ("2026-11-22+01:00", "hour", None),
        ("2026-11-22T10", "hour", "2026-11-22T10Z"),
        ("20261122 10", "hour", "2026-11-22T10Z"),
        ("2026-W47-7", "day", "2026-11-22"),
        ("2026W477", "month", "2026-11"),
        ("2026-W47-7T10:31", "hour", "2026-11-22T10Z"),
        ("2026-W47-7", "hour", None),
        ("2026-W47", "day", None),
        ("2026W47", "day", None),
        ("2026-W47", "month", None),
        ("2026-W01", "year", None),
        ("2026W47T10:31", "hour", None),
        ("2026-W47-10:00", "day", None),
    ],
)
def test_dates_are_cut(text, unit, expected):
    assert generalize_date(text, unit) == expected


@pytest.mark.parametrize(
    ("text", "first", "last", "expected"),
    [
        ("4111111111111111", 0, 4, "************1111"),
        ("abcd", 1, 1, "a**d"),
        ("abc", 1, 1, "***"),
        ("", 1, 1, ""),
        ("äöü€", 1, 0, "ä***"),
    ],
)
def test_masks(text, first, last, expected):
    assert mask_text(text, Mask(keep_first=first, keep_last=last)) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://shop.example/p/1", "https://shop.example/p/1"),
        ("https://shop.example/p/1?utm_source=x&q=john", "https://shop.example/p/1?utm_source=x&q=…"),
        ("https://john:pw@shop.example:8080/a#frag", "https://shop.example:8080/a"),
        ("https://shop.example/u/john%40acme.com/x", "https://shop.example/u/…/x"),
        ("/relative/path?token=1", "/relative/path?token=…"),
        ("https://shop.example/a;jsessionid=123/b?x", "https://shop.example/a/b?…"),
        ("https://shop.example/?john@acme.com=1&a=", "https://shop.example/?…=…&a="),
        ("mailto:john@acme.com", "…"),
        ("john@acme.com", "…"),
        ("//cdn.example/x", "//cdn.example/x"),
        ("https://exa mple/x", "https://…/x"),
        ("", "…"),
        ("https://shop.example/?utm_source=a&&b=c", "https://shop.example/?utm_source=a&&b=…"),
        ("https://shop.example/?utm_source=jane%40corp.example", "https://shop.example/?utm_source=…"),
        ("https://shop.example/?utm_source=%2B31612345678", "https://shop.example/?utm_source=…"),
        ("https://shop.example/?utm_source=@home", "https://shop.example/?utm_source=…"),
        ("https://shop.example/u/john%2540corp.example", "https://shop.example/u/…"),
        ("https://shop.example/orders/4111111111111111/x", "https://shop.example/orders/…/x"),
        ("https://shop.example/caf%C3%A9/x", "https://shop.example/caf%C3%A9/x"),
    ],
)
def test_urls_show_no_more_than_they_should(text, shown):
    assert "…".join(url_splitter(Url(keep_query=("utm_source",)))(text).texts) == shown


def test_a_private_url_is_bound_to_its_person_and_a_public_one_is_not_changed():
    fields = {"plain": {"url": {}}}
    urls = ["https://a.example/x", "https://a.example/?q=v", None, "https://a.example/?q=v"]
    out, _ = treat([{"plain": url} for url in urls], subjects=[1, 1, 1, 2], fields=fields)
    assert out["plain"][0] == urls[0]
    assert out["plain"][1] == "https://a.example/?q=" + hexed("acme/test\0plain", 1, "v")
    assert out["plain"][2] is None
    assert out["plain"][3] == "https://a.example/?q=" + hexed("acme/test\0plain", 2, "v")


def test_numbers_have_one_text():
    assert [number_text(value) for value in (42, 42.0, 0.1, -0.5, 1e300)] == [
        "42",
        "42",
        "0.1",
        "-0.5",
        "1e+300",
    ]
    from pii_pipeline.contracts.record_type import Scalar

    texts = pa.array(["0.1", "1e+300", None])
    assert from_texts(texts, Scalar("number")).to_pylist() == [0.1, 1e300, None]
    assert from_texts(pa.array(["true", None, "false"]), Scalar("boolean")).to_pylist() == [True, None, False]


def test_equal_input_gives_equal_output():
    rows = [{"id": str(i % 3), "plain": "v", "items": [{"sku": "s"}]} for i in range(10)]
    fields = {"plain": {"encrypt": {"level": 1}}}
    assert (
        treat(rows, subjects=[0] * 10, fields=fields)[0] == treat(rows, subjects=[0] * 10, fields=fields)[0]
    )


def test_an_empty_chunk_is_an_empty_chunk():
    out, _ = treat([], fields={"plain": {"url": {}}, "flag": {"encrypt": {"level": 1}}, "gone": {"mask": {}}})
    assert all(values == [] for values in out.values())


@pytest.mark.parametrize(
    ("step", "number", "expected"),
    [
        (0.01, 52.3791, 52.37),
        (0.01, 52.37, 52.37),
        (0.01, -0.011, -0.02),
        (0.1, 0.3, 0.3),
        (0.1, 0.29999999, 0.2),
        (0.5, 19.99, 19.5),
        (2.5, -3.0, -5.0),
        (0.5, 1e15 + 0.625, 1e15 + 0.5),
    ],
)
def test_multiples_of_a_step_are_those_of_its_decimals(step: float, number: float, expected: float):
    column = pa.array([number, None])
    assert generalize_column(column, Scalar("number"), Generalize(step=step)).to_pylist() == [expected, None]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("step", "number", "expected"),
    [
        (10, 1.5e308, 1.5e308),
        (0.01, 1e308, 1e308),
        (10, 1e17 + 16, 1e17 + 16),
        (1e308, -1.5e308, None),
        (1e-9, 1e300, 1e300),
        (1e-9, -3.5, -3.5),
        (10, 2**63 - 1, 9223372036854775800),
        (10, -(2**63), None),
        (0.5, 2**63 - 1, None),
        (1e19, 7, 0),
        (1e19, -7, None),
    ],
)
def test_what_a_type_cannot_hold_is_null(step: float, number: float, expected: float | None):
    kind = "integer" if isinstance(number, int) else "number"
    column = pa.array([number, None, 0])
    assert generalize_column(column, Scalar(kind), Generalize(step=step)).to_pylist() == [expected, None, 0]


@pytest.mark.parametrize("unit", ["year", "month", "day", "hour"])
def test_whole_numbers_are_milliseconds_of_the_years_that_text_can_say(unit: Any):
    first, last = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC))
    ends = [(moment - EPOCH) // timedelta(milliseconds=1) for moment in (first, last)]
    column = pa.array([*ends, ends[0] - 1, ends[1] + 1, 10**18, -(10**18), 2**63 - 1, -(2**63), None, 1984])
    found = generalize_column(column, Scalar("integer"), Generalize(date=unit)).to_pylist()
    assert found[0] == ends[0]
    assert generalize_date((EPOCH + timedelta(milliseconds=found[1])).isoformat(), unit) == generalize_date(
        last.isoformat(), unit
    )
    assert found[2:] == [None] * 7 + [0]


@given(st.floats(-1e9, 1e9), st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.5, 2.5, 1000.25]))
def test_a_number_goes_down_by_less_than_a_step_and_then_no_further(number: float, step: float):
    def floor(value: float) -> float:
        return generalize_column(pa.array([value]), Scalar("number"), Generalize(step=step))[0].as_py()

    floored = floor(number)
    assert Decimal(repr(floored)) % Decimal(repr(step)) == 0
    assert floored <= number < floored + step * (1 + 1e-9)
    assert floor(floored) == floored
