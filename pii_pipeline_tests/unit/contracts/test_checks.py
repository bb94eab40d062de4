"""What does not fit the events that a contract's schema describes: on which line, with which mend."""

import pytest

from pii_pipeline.contracts.checks import CONTROL, MAX_REVERSIBLE_PATH
from pii_pipeline.contracts.treatments import SelfDescribing
from pii_pipeline.vault import model
from pii_pipeline_tests.unit.contracts.examples import (
    INSIDE,
    USER,
    changed,
    inside,
    load,
    problem_of,
    problems_of,
    with_properties,
)

# --- paths and types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "time_field: ts",
            "time_field: tss",
            "4: time_field: the schema declares no field `tss` — did you mean `ts`?",
        ),
        ("key_field: session", "key_field: sesion", "5: key_field: the schema declares no field `sesion`"),
        (
            "event_id_field: id",
            "event_id_field: zzz",
            "6: event_id_field: the schema declares no field `zzz` — declare",
        ),
        (
            "{field: person",
            "{field: persn",
            "7: data_subject.field: the schema declares no field `persn` — did you",
        ),
        (
            "{field: levels",
            "{field: level",
            "8: consent.field: the schema declares no field `level` — did you mean",
        ),
        (
            "premium: keep",
            "product/sk: keep",
            "11: fields.product/sk: the schema declares no field `product/sk` — did",
        ),
        ("premium: keep", "items/sku: keep", "no field `items/sku` — did you mean `items[]/sku`?"),
        ("premium: keep", "product.sku: keep", "no field `product.sku` — did you mean `product/sku`?"),
        (
            "premium: keep",
            "context/a: keep",
            "11: fields.context/a: `context` is stored whole, as JSON text: nothing inside it has a name — "
            "treat `context` as a whole",
        ),
        (
            "field: price",
            "field: prise",
            "13: validations[0].field: the schema declares no field `prise` — did you",
        ),
        (
            "time_field: ts",
            "time_field: price",
            "4: time_field: `price` is a number — name a string or integer field",
        ),
        ("time_field: ts", "time_field: price", "outside lists, or $arrival"),
        ("time_field: ts", "time_field: tags[]", "4: time_field: `tags[]` is a string inside a list"),
        (
            "key_field: session",
            "key_field: product",
            "5: key_field: `product` is a record — name a string or",
        ),
        (
            "event_id_field: id",
            "event_id_field: tags",
            "6: event_id_field: `tags` is a list — name a string or",
        ),
        (
            "{field: person",
            "{field: premium",
            "7: data_subject.field: `premium` is a boolean — name a string",
        ),
        (
            "{field: levels",
            "{field: tags",
            "8: consent.field: `tags` is a list — name a list of integers, an",
        ),
        ("{field: levels", "{field: context", "8: consent.field: `context` is stored as JSON text"),
        ("{field: levels", "{field: 'levels[]'", "8: consent.field: `levels[]` is an integer inside a list"),
    ],
)
def test_fields_that_must_exist_and_fit(tmp_path, old, new, text):
    found = problem_of(tmp_path, changed(old, new))
    assert found.startswith("contract.yaml:")
    assert text in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("time_field: ts", "time_field: $arrival"),
        ("time_field: ts", "time_field: created_ms"),
        ("key_field: session", "key_field: product/sku"),
        ("key_field: session", "key_field: quantity"),
        ("{field: levels", "{field: quantity"),
        ("{field: levels", "{field: session"),
    ],
)
def test_other_fields_that_fit(tmp_path, old, new):
    assert load(tmp_path, changed(old, new))


IP = "{generalize: {ipv4_prefix: 24}}"
DAY = "{generalize: {date: day}}"
STEP = "{generalize: {step: 10}}"


@pytest.mark.parametrize(
    ("path", "treatment", "need"),
    [
        (
            "quantity",
            "mask",
            "`mask` is for string fields, `quantity` is an integer — pseudonymize, encrypt,",
        ),
        ("premium", "url", "`url` is for string fields, `premium` is a boolean"),
        ("context", "mask", "`mask` is for string fields, `context` is stored as JSON text"),
        ("tags", "url", "`url` is for string fields, `tags` is a list — list what it is meant for: `tags[]`"),
        ("items", "mask", "`items` is a list — list what it is meant for: `items[]/sku`"),
        ("product", DAY, "`product` is a record — list what it is meant for: `product/sku`"),
        ("quantity", IP, "`generalize by IP prefix` is for string fields, `quantity` is an integer"),
        ("price", DAY, "`generalize by date` is for string or integer fields, `price` is a number"),
        ("ts", STEP, "`generalize by step` is for integer or number fields, `ts` is a string"),
    ],
)
def test_treatments_that_do_not_fit(tmp_path, path, treatment, need):
    found = problem_of(
        tmp_path,
        changed(
            "premium: keep",
            f"premium: keep\n  {path}: {treatment}".replace(
                f"premium: keep\n  premium: {treatment}", f"premium: {treatment}"
            ),
        ),
    )
    assert f"fields.{path}: " in found
    assert need in found


@pytest.mark.parametrize(
    ("path", "treatment"),
    [
        ("session", IP),
        ("ts", DAY),
        ("created_ms", DAY),
        ("price", STEP),
        ("quantity", STEP),
        ("tags[]", "mask"),
        ("items[]/sku", "url"),
        ("items", "{encrypt: {level: 1}}"),
        ("product", "{encrypt: {level: 1}}"),
        ("product", "drop"),
        ("context", "pseudonymize"),
        ("context", "{encrypt: {level: 1}}"),
        ("items[]", "keep"),
    ],
)
def test_treatments_that_fit(tmp_path, path, treatment):
    assert load(tmp_path, changed("premium: keep", f"premium: keep\n  {path}: {treatment}"))


@pytest.mark.parametrize("path", ["items[]", "items[]/price"])
def test_nothing_can_be_listed_inside_what_is_encrypted_as_one_value(tmp_path, path):
    contract = changed("premium: keep", f"premium: keep\n  items: {{encrypt: {{level: 1}}}}\n  {path}: keep")
    assert problem_of(tmp_path, contract) == (
        f"contract.yaml:13: fields.{path}: `items` is encrypted as one value, with this field inside it — "
        "remove it, or list the fields of `items` one by one"
    )


def test_an_exception_inside_a_dropped_record_and_under_an_encrypted_default(tmp_path):
    load(tmp_path / "a", changed("premium: keep", "premium: keep\n  product: drop\n  product/sku: keep"))
    load(
        tmp_path / "b",
        changed("premium: keep", "premium: keep\n  product/sku: keep\ndefault: {encrypt: {level: 1}}"),
    )


@pytest.mark.parametrize("default", ["mask", "url", STEP])
def test_a_default_must_fit_every_field(tmp_path, default):
    name = default.strip("{").partition(":")[0]
    assert problem_of(tmp_path, changed("fields:", f"default: {default}\nfields:")) == (
        f"contract.yaml:9: default: `{name}` does not fit every field — "
        "one of pseudonymize, encrypt, drop, keep"
    )


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            "field: session, min: 0",
            "validations[0].min: the rule needs an integer or number, `session` is a string",
        ),
        (
            "field: premium, max: 0",
            "validations[0].max: the rule needs an integer or number, `premium` is a bool",
        ),
        (
            "field: price, regex: a",
            "validations[0].regex: the rule needs a string, `price` is a number — name",
        ),
        ("field: tags, regex: a", "the rule needs a string, `tags` is a list"),
        ("field: price, max_length: 1", "the rule needs a string or list, `price` is a number"),
        ("field: product, min_length: 1", "the rule needs a string or list, `product` is a record"),
        (
            "field: product, not_empty: true",
            "the rule needs a string, number, boolean or list, `product` is a re",
        ),
        ("field: context, not_empty: true", "`context` is stored as JSON text (it has no single type)"),
        ("field: tags, enum: [a]", "the rule needs a string, number or boolean, `tags` is a list"),
        ("field: session, enum: [1]", "validations[0].enum: 1 is not a string — write text in quotes"),
        ("field: session, enum: [yes]", "True is not a string"),
        ("field: quantity, enum: [true]", "True is not an integer"),
        ("field: quantity, enum: [1.5]", "1.5 is not an integer"),
        ("field: price, enum: ['1']", "'1' is not a number"),
        ("field: premium, enum: [1]", "1 is not a boolean"),
        ("field: session, enum: []", "validations[0].enum: lists no value — list the allowed values"),
    ],
)
def test_rules_that_do_not_fit(tmp_path, rule, text):
    found = problem_of(tmp_path, changed("field: price, min: 0", rule))
    assert found.startswith("contract.yaml:13: validations[0].")
    assert text in found


@pytest.mark.parametrize(
    "rule",
    [
        "field: 'items[]/price', max: 5",
        "field: quantity, min: 1",
        "field: 'tags[]', regex: a",
        "field: tags, min_length: 1",
        "field: session, max_length: 9",
        "field: items, not_empty: true",
        "field: person, not_empty: true",
        "field: price, enum: [1, 2.5]",
        "field: premium, enum: [true]",
    ],
)
def test_rules_that_fit(tmp_path, rule):
    assert load(tmp_path, changed("field: price, min: 0", rule))


# --- written times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "time_format: '%d/%m/%Y %H:%M'\ntime_zone: Europe/Amsterdam",
        "time_format: '%Y-%m-%d%z'",
        "time_zone: UTC",
    ],
)
def test_written_time(tmp_path, lines):
    assert load(tmp_path, changed("time_field: ts", f"time_field: ts\n{lines}")).warnings == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("time_format: '%d/%m/%y'", "time_format: unknown directive `%y` — one of %Y %m %d "),
        ("time_format: '%d/%m'", "time_format: `%Y` is missing — a format names year, month and day"),
        ("time_format: epoch_s", "time_format: `epoch_s` is for integer fields, `ts` is a string — declare"),
        (
            "time_zone: Europe/Amstrdam",
            "time_zone: unknown time zone `Europe/Amstrdam` — did you mean `Europe/Am",
        ),
        ("time_zone: Europe", "time_zone: unknown time zone `Europe` — "),
        ("time_zone: ../x", "time_zone: unknown time zone `../x` — "),
    ],
)
def test_written_time_refused(tmp_path, line, problem):
    text = problem_of(tmp_path, changed("time_field: ts", f"time_field: ts\n{line}"))
    assert text.startswith(f"contract.yaml:5: {problem}")


def test_written_time_of_another_type(tmp_path):
    counted = changed("time_field: ts", "time_field: created_ms\ntime_format: '%Y-%m-%d'")
    assert problem_of(tmp_path, counted) == (
        "contract.yaml:5: time_format: a text format is for string fields, `created_ms` is an integer — "
        "one of epoch_s, epoch_ms, epoch_us"
    )
    arrival = changed("time_field: ts", "time_field: $arrival\ntime_format: epoch_s")
    assert problem_of(tmp_path, arrival) == (
        "contract.yaml:5: time_format: `$arrival` is not written in the events — "
        "remove it, or name the field of the event's time"
    )


# --- consent ------------------------------------------------------------------------------------------------


FIELD = "consent: {field: levels, type: granular}"


@pytest.mark.parametrize(
    "consent",
    [
        "consent: {type: granular, default: [2]}",
        "consent: {type: cumulative, field: levels, default: [0, 2]}",
        "consent: {type: granular, field: email, values: {'yes': [1, 2], 'no': []}, default: [1]}",
        "consent: {type: granular, field: premium, values: {'true': [1]}}",
        "consent: {type: granular, field: quantity, values: {'1': [1]}}",
    ],
)
def test_consent(tmp_path, consent):
    assert load(tmp_path, changed(FIELD, consent)).contract.consent is not None


@pytest.mark.parametrize(
    ("consent", "problem"),
    [
        (
            "{type: granular}",
            "consent: says nobody's consent — add `field:`, or `default: [1]` for consent of all",
        ),
        ("{type: granular, default: []}", "consent.default: Tuple should have at least 1 item"),
        ("{type: granular, default: [-1]}", "consent.default[0]: is less than 0 — write at least 0"),
        (
            "{type: granular, values: {a: [1]}}",
            "consent: `values` are of no field — add `field:`, the events' own",
        ),
        (
            "{type: granular, field: email, values: {}}",
            "consent.values: Dictionary should have at least 1 item",
        ),
        (
            "{type: granular, field: email, values: {yes: [1]}}",
            "consent.values.yes: a key that YAML does not read",
        ),
        (
            "{type: granular, field: levels, values: {a: [1]}}",
            "consent.field: `levels` is a list — with `values`, name",
        ),
        (
            "{type: granular, field: premium}",
            "consent.field: `premium` is a boolean — name a list of integers",
        ),
    ],
)
def test_consent_refused(tmp_path, consent, problem):
    found = problems_of(tmp_path, changed(FIELD, f"consent: {consent}"))
    assert any(str(one).startswith(f"{tmp_path}/contract.yaml:8: {problem}") for one in found)


# --- inside documents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/a", "a/", "a~b", "a[]b", "a/[]"])
def test_paths_inside_documents_are_well_formed(tmp_path, path):
    assert "is not a path inside an entity's data" in problem_of(tmp_path, inside(f"'{path}': keep"))


@pytest.mark.parametrize("path", ["a", "a/b", "a[]/b", "[]/b", "[][]", "x~1y", "x~0", "a b", "é"])
def test_paths_of_all_kinds_are_read(tmp_path, path):
    assert load(tmp_path, inside(f"'{path}': drop")).warnings == ()


@pytest.mark.parametrize(
    "criterion",
    [
        "iglu:com.acme/user/jsonschema/1-*",
        "iglu:com.acme/user/1-*-*",
        "iglu:com.*/user/jsonschema/1-0-0",
        "iglu:com.acme/user*/jsonschema/1-0-0",
        "iglu:com.acme/user/*/1-0-0",
        "iglu:*",
        "com.acme/user/jsonschema/1-0-0",
        "iglu:com.acme/user/jsonschema/0-0-0",
    ],
)
def test_criteria_are_well_formed(tmp_path, criterion):
    (problem,) = problems_of(tmp_path, changed("  premium: keep\n", INSIDE.replace(USER, criterion)))
    assert (problem.line, problem.problem) == (14, "not a schema criterion")
    assert problem.field == f"fields.context.self_describing.{criterion}"


@pytest.mark.parametrize("written", ["keep", "", "[a, b]"])
def test_a_criterion_has_paths(tmp_path, written):
    contract = changed(
        "premium: keep", f"premium: keep\n  context: {{self_describing: {{{USER!r}: {written}}}}}"
    )
    assert problem_of(tmp_path, contract) == (
        f"contract.yaml:12: fields.context.self_describing.{USER}: not paths with treatments — write them "
        "below the criterion: {address/city: keep}, or {} for the schema's name alone"
    )


@pytest.mark.parametrize(
    "criterion",
    [USER, "iglu:*/user/jsonschema/1-0-0", "iglu:com.acme/*/jsonschema/*-*-*", "iglu:*/*/avro/*-*-*"],
)
def test_a_criterion_may_list_no_path_and_name_any_vendor_and_schema(tmp_path, criterion):
    listed = f"premium: keep\n  context: {{self_describing: {{{criterion!r}: {{}}}}}}"
    contract = changed("premium: keep", listed)
    loaded = load(tmp_path / "a", contract)
    assert loaded.warnings == ()
    assert loaded.contract.fields["context"] == SelfDescribing(entities={criterion: {}})
    without = changed("premium: keep", "premium: keep\n  context: {self_describing: {}}")
    assert loaded.contract.digest != load(tmp_path / "b", without).contract.digest


@pytest.mark.parametrize(
    ("field", "described"),
    [
        ("quantity", "an integer"),
        ("product", "a record"),
        ("'tags[]'", "a string inside a list"),
        ("tags", "a list"),
        ("'items[]/sku'", "a string inside a list"),
    ],
)
def test_documents_are_json_text_outside_lists(tmp_path, field, described):
    contract = changed("premium: keep", f"premium: keep\n  {field}: self_describing")
    path = field.strip("'")
    assert problem_of(tmp_path, contract) == (
        f"contract.yaml:12: fields.{path}: `self_describing` is for JSON text outside lists, `{path}` is "
        f"{described} — name a string, or an object without declared properties"
    )


def test_documents_are_no_default(tmp_path):
    contract = changed("fields:", "default: self_describing\nfields:")
    assert problem_of(tmp_path, contract).startswith(
        "contract.yaml:9: default: `self_describing` does not fit"
    )


@pytest.mark.parametrize(
    ("met", "refused"),
    [
        ("com.acme/user/jsonschema/1-0-*", True),
        ("com.acme/user/jsonschema/*-*-*", True),
        ("*/user/jsonschema/*-0-0", True),
        ("com.acme/*/jsonschema/1-*-*", True),
        ("com.acme/user/jsonschema/2-*-*", False),
        ("*/page/jsonschema/1-*-*", False),
        ("*/*/avro/1-*-*", False),
    ],
)
def test_what_another_criterion_seals_cannot_be_listed_one_by_one(tmp_path, met, refused):
    other = f"      iglu:{met}:\n        address/city: keep\n"
    contract = changed("  premium: keep\n", INSIDE + other)
    if refused:
        assert "contract.yaml:18: " in (text := problem_of(tmp_path, contract))
        assert "`address` is encrypted as one value, with this place inside it" in text
    else:
        assert load(tmp_path, contract).warnings == ()


# --- what the vault takes -----------------------------------------------------------------------------------

REVERSIBLE = "{pseudonymize: {reversible: true}}"
LONGEST = MAX_REVERSIBLE_PATH - len(f"context {USER} ")


def test_a_reversible_path_is_one_that_the_vault_takes():
    for text in (
        "a" * MAX_REVERSIBLE_PATH,
        "a" * (MAX_REVERSIBLE_PATH + 1),
        "ä/ö [] x",
        "a\nb",
        "\x7f",
        "\x85",
    ):
        refused = len(text) > MAX_REVERSIBLE_PATH or CONTROL.search(text) is not None
        assert refused == (model.FIELD.fullmatch(text) is None)


def test_a_reversible_path_in_documents_is_not_too_long(tmp_path):
    longest = "b/" * (LONGEST // 2 - 1) + "c" * (2 + LONGEST % 2)
    assert load(tmp_path, inside(f"{longest}: {REVERSIBLE}", f"{longest}s: drop"))
    (problem,) = problems_of(tmp_path, inside(f"{longest}s: {REVERSIBLE}"))
    path = f"context {USER} {longest}s"
    assert (problem.line, problem.field) == (15, f"fields.context.self_describing.{USER}.{longest}s")
    assert problem.problem == f"`{path}` is reversible, and of its 256 characters the vault takes 255"
    assert problem.mend == "remove `reversible`, or give the field another name in the schema"


@pytest.mark.parametrize(
    ("contract", "where"),
    [
        (changed("premium: keep", f"premium: keep\n  deep: {REVERSIBLE}"), "contract.yaml:12: fields.deep: "),
        (
            changed("fields:", f"default: {REVERSIBLE}\nfields:"),
            "contract.yaml:9: default: ",
        ),
    ],
)
def test_a_long_path_below_what_is_reversible_is_refused_where_that_is_said(tmp_path, contract, where):
    inner = {"type": "object", "properties": {"n" * 251: {"type": "string"}}}
    schema = with_properties(deep=inner)
    assert problem_of(tmp_path, contract, schema).startswith(f"{where}`deep/{'n' * 251}` is reversible")
    assert load(tmp_path, contract, with_properties(deep={**inner, "properties": {"n" * 250: {}}}))


def test_a_reversible_path_has_no_control_characters(tmp_path):
    schema = with_properties(**{"a\u0085b": {"type": "string"}})
    contract = changed("premium: keep", f'premium: keep\n  "a\\u0085b": {REVERSIBLE}')
    assert "the vault takes no control characters in a path — remove `reversible`" in problem_of(
        tmp_path, contract, schema
    )


def test_what_documents_have_beside_what_is_listed_has_a_path_too(tmp_path):
    name = "n" * 246
    contract = changed("  premium: keep\n", INSIDE.replace("context:", f"{name}:"))
    schema = with_properties(**{name: {"type": "object"}})
    assert load(tmp_path, contract, schema)
    contract = contract.replace("fields:", f"default: {REVERSIBLE}\nfields:")
    assert problem_of(tmp_path, contract, schema).startswith(f"contract.yaml:9: default: `{name} $unlisted`")
