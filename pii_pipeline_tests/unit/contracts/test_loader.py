"""A contract's file: what is refused, on which line, with which mend; what is warned of; the digest."""

import json
import pickle
from datetime import timedelta

import pytest

from pii_pipeline.contracts.errors import ConfigurationError, Problem
from pii_pipeline.contracts.loader import LoadedContract, linkable_after_erasure, load_contract, meaning
from pii_pipeline.contracts.model import Consent, Contract, Rule
from pii_pipeline.contracts.treatments import (
    TREATMENTS,
    Drop,
    Encrypt,
    Generalize,
    Keep,
    Mask,
    Pseudonymize,
    SelfDescribing,
    Url,
)
from pii_pipeline_tests.unit.contracts.examples import CONTRACT, SCHEMA, changed, with_properties, write


def problems_of(folder, contract=CONTRACT, schema: object = SCHEMA) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_contract(write(folder, contract, schema))
    return caught.value.problems


def problem_of(folder, contract=CONTRACT, schema: object = SCHEMA) -> str:
    """The only problem, without the folder: ``file:line: field: problem — mend``."""
    (problem,) = problems_of(folder, contract, schema)
    return str(problem).removeprefix(f"{folder}/")


def load(folder, contract=CONTRACT, schema: object = SCHEMA) -> LoadedContract:
    return load_contract(write(folder, contract, schema))


def cautions_of(folder, contract=CONTRACT, schema: object = SCHEMA) -> list[str]:
    return [str(caution).removeprefix(f"{folder}/") for caution in load(folder, contract, schema).warnings]


def test_a_good_contract(tmp_path):
    loaded = load(tmp_path)
    assert loaded.warnings == ()
    assert loaded.contract.json_schema == SCHEMA
    assert loaded.contract.record.get("email") is not None
    assert loaded.contract.treatment("email") == Encrypt(level=2)
    assert len(loaded.contract.digest) == 64


def test_picklable(tmp_path):
    loaded = load(tmp_path, changed("premium: keep", "premium: pseudonymize"))
    again = pickle.loads(pickle.dumps(loaded))
    assert again == loaded
    assert again.contract.record == loaded.contract.record
    assert again.contract.digest == loaded.contract.digest


def test_the_error_is_picklable(tmp_path):
    error = ConfigurationError(problems_of(tmp_path, changed("key_field: session", "key_field: sessions")))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# --- the file as such ---------------------------------------------------------------------------------------


def test_no_file(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load_contract(tmp_path / "contract.yaml")
    mend = "make the file, or mend the name that leads to it"
    assert str(caught.value) == f"{tmp_path}/contract.yaml:1: does not exist — {mend}"


def test_yaml_syntax(tmp_path):
    text = problem_of(tmp_path, changed("- {field: price, min: 0}", "- {field: items[]/price, min: 0}"))
    assert text.startswith("contract.yaml:13: not YAML: ")
    assert "needs quotes" in text


@pytest.mark.parametrize("content", ["- a\n", "word\n", ""])
def test_not_a_mapping(tmp_path, content):
    assert problem_of(tmp_path, content).startswith("contract.yaml:1: not a mapping — ")


def test_not_utf8(tmp_path):
    file = write(tmp_path)
    file.write_bytes(b"contract: acme/x/1.0.0\nstate: \xff\n")
    with pytest.raises(ConfigurationError, match=r"contract\.yaml:2: not UTF-8"):
        load_contract(file)


def test_duplicate_key(tmp_path):
    assert problem_of(tmp_path, changed("  premium: keep", "  premium: keep\n  email: drop")) == (
        "contract.yaml:12: fields.email: stands twice (first in line 10) — remove one of them"
    )


def test_key_that_yaml_does_not_read_as_text(tmp_path):
    assert problem_of(tmp_path, changed("premium: keep", "premium: keep\n  on: keep")) == (
        'contract.yaml:12: fields.on: a key that YAML does not read as text — put it in quotes: "on"'
    )


def test_a_file_that_contains_itself(tmp_path):
    assert "contract.yaml:1: not YAML" in problem_of(tmp_path, "a: &a\n  b: *a\n")


@pytest.mark.parametrize("line", [4, 5])
def test_missing_key(tmp_path, line):
    lines = CONTRACT.splitlines()
    key = lines.pop(line - 1).partition(":")[0]
    assert problem_of(tmp_path, "\n".join(lines)) == f"contract.yaml:1: {key}: is missing — add `{key}:`"


def test_misspelt_key_suggests_the_nearest(tmp_path):
    assert problem_of(tmp_path, changed("event_id_field", "event_id_feild")) == (
        "contract.yaml:6: event_id_feild: unknown key — did you mean `event_id_field`?"
    )


def test_misspelt_key_further_in(tmp_path):
    assert problem_of(tmp_path, changed("level: 2", "levle: 2, level: 2")) == (
        "contract.yaml:10: fields.email.encrypt.levle: unknown key — did you mean `level`?"
    )
    assert problem_of(tmp_path, changed("namespace: customer", "namespace: customer, fielt: x")) == (
        "contract.yaml:7: data_subject.fielt: unknown key — did you mean `field`?"
    )
    assert problem_of(tmp_path, changed("min: 0", "minimum: 0, min: 0")) == (
        "contract.yaml:13: validations[0].minimum: unknown key — did you mean `min`?"
    )


@pytest.mark.parametrize("key", ["digest", "record", "json_schema", "schema_file"])
def test_what_the_loader_fills_in_cannot_be_written(tmp_path, key):
    assert problem_of(tmp_path, f"{CONTRACT}{key}: x\n").startswith(
        f"contract.yaml:14: {key}: unknown key — "
    )


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "premium: keep",
            "premium: kep",
            "11: fields.premium: unknown treatment `kep` — did you mean `keep`?",
        ),
        (
            "premium: keep",
            "premium: hash",
            "11: fields.premium: unknown treatment `hash` — one of keep, drop, pseudonymize, encrypt, "
            "generalize, url, mask",
        ),
        (
            "premium: keep",
            "premium: [keep]",
            "11: fields.premium: not a treatment — write one word (keep) or",
        ),
        ("{encrypt: {level: 2}}", "encrypt", "10: fields.email.encrypt.level: is missing — add `level:`"),
        (
            "level: 2",
            "level: -2",
            "10: fields.email.encrypt.level: Input should be greater than or equal to 0",
        ),
        (
            "premium: keep",
            "price: {generalize: {}}",
            "11: fields.price: not exactly one kind — say",
        ),
        ("state: active", "state: activ", "2: state: unknown value 'activ' — did you mean `active`?"),
        ("shop/1.0.0", "shop/1.0", "1: contract: String should match pattern"),
        ("shop/1.0.0", "shop/1.0", "write it as handle/name/version in lower case: acme/webshop-click/1.0.0"),
        (
            "key_field: session",
            "key_field: session\nmax_age: 7",
            "6: max_age: not a duration — write a whole",
        ),
        ("key_field: session", "key_field: session\nmax_age: 0d", "6: max_age: not a duration"),
        ("key_field: session", "key_field: session\nmax_age: 9999999999d", "6: max_age: longer than"),
        ("min: 0", "min: .inf", "13: validations[0].min: Input should be a finite number"),
        (
            "min: 0",
            "min: 0, max: 1",
            "13: validations[0]: not exactly one check — write one rule each for regex",
        ),
        ("price, min: 0", "email, regex: '('", "13: validations[0]: not a regular expression (missing )"),
        ("price, min: 0", "price, not_empty: false", "13: validations[0]: `not_empty: false` checks nothing"),
        ("price, min: 0", "email, enum: [2026-01-01]", "13: validations[0].enum[0]: Input should be a valid"),
    ],
)
def test_wrong_values(tmp_path, old, new, text):
    found = problem_of(tmp_path, changed(old, new))
    assert found.startswith("contract.yaml:")
    assert text in found


def test_all_problems_are_reported_at_once_in_order(tmp_path):
    contract = """\
        contract: acme/shop/1.0.0
        state: activ
        schema: event.schema.json
        time_field: tss
        key_field: sesion
        colour: red
        fields:
          email: encript
          preimum: keep
        validations:
          - {field: price, minn: 0}
          - {field: prize, min: 0}
        """
    found = [(problem.line, problem.field) for problem in problems_of(tmp_path, contract)]
    assert found == [
        (2, "state"),
        (4, "time_field"),
        (5, "key_field"),
        (6, "colour"),
        (8, "fields.email"),
        (9, "fields.preimum"),
        (11, "validations[0].minn"),
        (12, "validations[1].field"),
    ]


def test_shape_and_meaning_are_reported_together(tmp_path):
    contract = changed("premium: keep", "preimum: keep\n  price: kep").replace(
        "price, min: 0", "price, mn: 0"
    )
    contract += "  - {field: prize, max: 0}\n"
    found = [(problem.line, problem.field) for problem in problems_of(tmp_path, contract)]
    assert (11, "fields.preimum") in found  # against the schema
    assert (12, "fields.price") in found  # no such treatment
    assert (15, "validations[1].field") in found  # counted as in the file, although the rule before is wrong


# --- the schema's file --------------------------------------------------------------------------------------


def test_no_schema_file(tmp_path):
    assert problem_of(tmp_path, changed("event.schema.json", "evnt.schema.json")) == (
        "contract.yaml:3: schema: there is no file `evnt.schema.json` — did you mean `event.schema.json`?"
    )


def test_schema_syntax(tmp_path):
    assert problem_of(tmp_path, schema='{\n"type": "object",\n}').startswith(
        "event.schema.json:3: not JSON: "
    )
    assert "surrogates" in problem_of(tmp_path, schema='{"title": "\\ud800"}')
    assert "NaN is not JSON" in problem_of(tmp_path, schema='{"minimum": NaN}')


def test_schema_with_a_key_twice(tmp_path):
    schema = '{\n\t"type": "object",\n\t"properties": {\n\t\t"a": {},\n\t\t"a": {}\n\t}\n}'
    assert problem_of(tmp_path, schema=schema) == (
        "event.schema.json:5: properties.a: stands twice (first in line 4) — remove one of them"
    )


def test_schema_problems_have_their_line(tmp_path):
    schema = json.dumps(with_properties(_id={"type": "string"}), indent=2)
    line = schema.splitlines().index('    "_id": {') + 1
    text = problem_of(tmp_path, schema=schema)
    assert text.startswith(f"event.schema.json:{line}: properties._id: the property '_id' starts with `_`")
    assert text.endswith("— rename it")


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


# --- what loads, but is risky -------------------------------------------------------------------------------


def test_encrypted_without_consent(tmp_path):
    contract = changed("consent: {field: levels, type: granular}\n", "")
    assert cautions_of(tmp_path, contract) == [
        "contract.yaml:9: fields.email: encrypted, but no `consent` says who may ever read it: drop it, or "
        "declare `consent`"
    ]


def test_keep_as_default(tmp_path):
    (first, *_) = cautions_of(tmp_path, changed("fields:", "default: keep\nfields:"))
    assert first.startswith("contract.yaml:9: default: every field that is not listed stays readable")


@pytest.mark.parametrize(
    ("name", "part", "why"),
    [
        ("subscribed", {"type": "boolean"}, "a boolean takes two values"),
        ("size", {"enum": ["S", "M", "L"]}, "takes only 3 values"),
        ("size", {"type": "string", "enum": [str(n) for n in range(50)]}, "takes only 50 values"),
        ("country", {"type": "string"}, "its name promises few values"),
        ("billingCountry", {"type": "string"}, "its name promises few values"),
        ("birth_date", {"type": "string"}, "its name promises few values"),
        ("postal_code", {"type": "string"}, "its name promises few values"),
        ("GENDER", {"type": "string"}, "its name promises few values"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_few_values_pseudonymized(tmp_path, name, part, why, listed):
    contract = changed("premium: keep", f"premium: keep\n  {name}: pseudonymize") if listed else CONTRACT
    (caution,) = cautions_of(tmp_path, contract, with_properties(**{name: part}))
    where = f"contract.yaml:12: fields.{name}" if listed else "contract.yaml:1: default"
    assert caution.startswith(f"{where}: `{name}` is pseudonymized but {why}: ")
    assert caution.endswith("keep it if it identifies nobody, else generalize, encrypt or drop it")


def test_few_values_by_a_rule_and_inside_lists(tmp_path):
    contract = changed("price, min: 0", "session, enum: [a, b]")
    assert "`session` is pseudonymized but takes only 2 values" in cautions_of(tmp_path, contract)[0]
    sizes = {"type": "array", "items": {"enum": ["S", "M"]}}
    assert (
        "`sizes[]` is pseudonymized but takes only 2"
        in cautions_of(tmp_path, schema=with_properties(sizes=sizes))[0]
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("size", {"type": "string", "enum": [str(n) for n in range(51)]}),
        ("capacity", {"type": "string"}),
        ("message", {"type": "string"}),
    ],
)
def test_many_values_pseudonymized(tmp_path, name, part):
    assert cautions_of(tmp_path, schema=with_properties(**{name: part})) == []


@pytest.mark.parametrize(
    ("name", "personal"),
    [
        ("contact_email", True),
        ("mobilePhone", True),
        ("userIP", True),
        ("ipv4", True),
        ("ipAddress", True),
        ("iban", True),
        ("name", True),
        ("first_name", True),
        ("product_name", False),
        ("ship", False),
        ("telemetry", False),
        ("recipe", False),
    ],
)
def test_kept_though_the_name_sounds_personal(tmp_path, name, personal):
    contract = changed("premium: keep", f"premium: keep\n  {name}: keep")
    found = cautions_of(tmp_path, contract, with_properties(**{name: {"type": "string"}}))
    expected = (
        f"contract.yaml:12: fields.{name}: `{name}` is kept readable for everybody, and its name sounds like "
        "personal data"
    )
    assert found == ([expected] if personal else [])


def test_kept_with_its_parent_or_answered(tmp_path):
    user = {"type": "object", "properties": {"name": {"type": "string"}}}
    found = cautions_of(
        tmp_path / "a", changed("premium: keep", "premium: keep\n  user: keep"), with_properties(user=user)
    )
    assert [caution.partition(" is kept")[0] for caution in found] == [
        "contract.yaml:12: fields.user: `user/name`"
    ]
    contract = changed("premium: keep", "premium: keep\n  email_template: {keep: {allow: [email]}}")
    assert cautions_of(tmp_path / "b", contract, with_properties(email_template={"type": "string"})) == []


def test_what_stays_linkable_after_an_erasure(tmp_path):
    contract = changed(
        "premium: keep",
        "premium: keep\n  items: {pseudonymize: {joinable: true}}\n"
        "  session: {pseudonymize: {domain: none}}\n  id: {pseudonymize: {domain: shared}}",
    )
    loaded = load(tmp_path, contract)
    assert linkable_after_erasure(loaded.contract) == ["session", "items[]/sku", "items[]/price"]
    (caution,) = loaded.warnings
    assert (caution.line, caution.field) == (9, "fields")
    assert caution.message.endswith("still linkable after an erasure: session, items[]/sku, items[]/price")


# --- the digest ---------------------------------------------------------------------------------------------


EVERYTHING = (
    CONTRACT.replace("key_field", "max_age: 36h\nkey_field")
    + """\
  - {field: email, regex: '@'}
  - {field: tags, not_empty: true}
  - {field: quantity, enum: [1, 2]}
default: drop
"""
).replace(
    "  premium: keep\n",
    """\
  premium: keep
  id: {keep: {allow: [phone]}}
  session: {pseudonymize: {domain: visit, reversible: true}}
  person: {pseudonymize: {hash: SHA-256}}
  tags[]: {mask: {keep_last: 2}}
  product/sku: {url: {keep_query: [a]}}
  ts: {generalize: {date: day}}
  price: {generalize: {step: 0.5}}
  product/stock: drop
""",
)


def digest(folder, contract=CONTRACT, schema: object = SCHEMA) -> str:
    return load(folder, contract, schema).contract.digest


def test_digest_is_pinned(tmp_path):
    # An upgrade that changes it makes every batch of every stream again: that must be meant.
    assert digest(tmp_path / "a") == "556d99eca548c4f81b524d59a3fce31dc34b3244f03cfaa7962912fed2a3b77c"
    assert (
        digest(tmp_path / "b", EVERYTHING)
        == "13ac220e16d9df89cf3b7d085989948e018c9d52f1995003a4909a8214f9552c"
    )


def test_digest_tells_treatments_without_settings_apart_inside_entities_too():
    kept, dropped = (
        SelfDescribing(entities={"iglu:com.acme/page/jsonschema/1-*-*": {"url": item}})
        for item in (Keep(), Drop())
    )
    assert meaning(kept) != meaning(dropped)


def test_an_option_that_is_new_and_not_used_changes_no_digest(tmp_path):
    class LaterRule(Rule):
        multiple_of: int | None = None

    class LaterEncrypt(Encrypt, frozen=True):
        padded: bool = False

    class LaterContract(Contract):
        retention: timedelta = timedelta(days=90)

    def as_later(contract, **options):
        fields = {
            path: LaterEncrypt(level=treatment.level, **options)
            if isinstance(treatment, Encrypt)
            else treatment
            for path, treatment in contract.fields.items()
        }
        rules = [LaterRule.model_validate(dict(rule)) for rule in contract.validations]
        return LaterContract.model_validate(
            {**contract_settings(contract), "fields": fields, "validations": rules}
        )

    def contract_settings(contract):
        return {field.alias or name: getattr(contract, name) for name, field in Contract.model_fields.items()}

    contract = load(tmp_path, EVERYTHING).contract
    assert meaning(as_later(contract)) == meaning(contract)
    assert meaning(as_later(contract, padded=True)) != meaning(contract)


def test_defaults_are_pinned():
    # The digest leaves out what is as by default: a default that changes would change what contracts mean
    # under the same digest. A new option with a default of its own is added here.
    known = {
        Contract: {
            "time_format": None,
            "time_zone": "UTC",
            "max_age": timedelta(days=7),
            "data_subject": None,
            "event_id_field": None,
            "consent": None,
            "default": Pseudonymize(),
            "fields": {},
            "validations": (),
        },
        Consent: {"field": None, "values": None, "default": None},
        Rule: dict.fromkeys(("regex", "min", "max", "enum", "min_length", "max_length", "not_empty")),
        Keep: {"name": "keep", "allow": ()},
        Drop: {"name": "drop"},
        Pseudonymize: {
            "name": "pseudonymize",
            "domain": None,
            "joinable": False,
            "reversible": False,
            "hash": None,
        },
        Encrypt: {"name": "encrypt"},
        Generalize: {
            "name": "generalize",
            "ipv4_prefix": None,
            "ipv6_prefix": None,
            "date": None,
            "step": None,
        },
        Url: {"name": "url", "keep_query": (), "keep_path": True},
        Mask: {"name": "mask", "keep_first": 0, "keep_last": 0},
        SelfDescribing: {"name": "self_describing", "entities": {}},
    }
    assert set(known) >= set(TREATMENTS.values())
    for model, defaults in known.items():
        found = {
            name: field.default
            for name, field in model.model_fields.items()
            if not field.is_required() and not field.exclude
        }
        assert found == defaults, model


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state: active", "state: archived"),
        ("state: active", "# a comment\nstate: active"),
        ("key_field: session", "max_age: 168h\nkey_field: 'session'"),
        ("fields:", "default: {pseudonymize: {joinable: false}}\nfields:"),
        ("  premium: keep", "  premium: {keep: {}}"),
        (
            "  email: {encrypt: {level: 2}}\n  premium: keep",
            "  premium: keep\n  email: {encrypt: {level: 2}}",
        ),
    ],
)
def test_digest_ignores_what_does_not_reach_the_lake(tmp_path, old, new):
    assert digest(tmp_path / "a") == digest(tmp_path / "b", changed(old, new))


def test_digest_ignores_the_schemas_layout(tmp_path):
    assert digest(tmp_path / "a") == digest(tmp_path / "b", schema=json.dumps(SCHEMA))
    # keywords in another order; the order of properties is that of the columns, and counts
    turned = {"properties": SCHEMA["properties"], "type": "object"}
    assert digest(tmp_path / "a") == digest(tmp_path / "c", schema=turned)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shop/1.0.0", "shop/1.0.1"),
        ("time_field: ts", "time_field: created_ms"),
        ("key_field: session", "key_field: id"),
        ("event_id_field: id\n", ""),
        ("namespace: customer", "namespace: guest"),
        ("field: person", "field: session"),
        ("type: granular", "type: cumulative"),
        ("level: 2", "level: 3"),
        ("premium: keep", "premium: drop"),
        ("fields:", "default: drop\nfields:"),
        ("fields:", "max_age: 6d\nfields:"),
        ("min: 0", "min: 1"),
        ("min: 0", "max: 0"),
    ],
)
def test_digest_sees_what_reaches_the_lake(tmp_path, old, new):
    assert digest(tmp_path / "a") != digest(tmp_path / "b", changed(old, new))


def test_digest_sees_the_schema(tmp_path):
    first = digest(tmp_path / "a")
    assert first != digest(tmp_path / "b", schema=with_properties(extra={"type": "string"}))
    assert first != digest(
        tmp_path / "c", schema=with_properties(email={"type": ["string", "null"], "minLength": 1})
    )
    order = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}
    assert first != digest(tmp_path / "d", schema=order)


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
        ("{type: granular, default: [-1]}", "consent.default[0]: Input should be greater than or equal to 0"),
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

USER = "iglu:com.acme/user/jsonschema/1-*-*"
INSIDE = f"""\
  premium: keep
  context:
    self_describing:
      {USER}:
        address: {{encrypt: {{level: 2}}}}
        plan: keep
"""
"""Replaces ``premium: keep``: what is listed starts in line 15."""


def inside(*lines: str) -> str:
    """The contract with these lines below the criterion instead."""
    text = INSIDE.partition("        address")[0] + "".join(f"        {line}\n" for line in lines)
    return changed("  premium: keep\n", text)


def test_what_is_listed_inside_documents(tmp_path):
    loaded = load(tmp_path, changed("  premium: keep\n", INSIDE))
    assert loaded.warnings == ()
    treatment = loaded.contract.fields["context"]
    assert isinstance(treatment, SelfDescribing)
    assert treatment.entities == {USER: {"address": Encrypt(level=2), "plan": Keep()}}
    assert Encrypt(level=2) in loaded.contract.treatments()
    again = pickle.loads(pickle.dumps(loaded))
    assert again == loaded


@pytest.mark.parametrize("written", ["context: self_describing", "context: {self_describing: {}}"])
def test_nothing_need_be_listed_inside_documents(tmp_path, written):
    loaded = load(tmp_path, changed("premium: keep", f"premium: keep\n  {written}"))
    assert loaded.contract.fields["context"] == SelfDescribing()


@pytest.mark.parametrize(
    ("lines", "line", "place", "text"),
    [
        (["plan: kep"], 15, "plan", "unknown treatment `kep` — did you mean `keep`?"),
        (
            ["plan: keep", "email: {encrypt: {levle: 2, level: 2}}"],
            16,
            "email.encrypt.levle",
            "unknown key — did you mean `level`?",
        ),
        (["plan: keep", "email: {encrypt: {}}"], 16, "email.encrypt.level", "is missing — add `level:`"),
        (
            ["a: {pseudonymize: {hash: SHA256}}"],
            15,
            "a.pseudonymize.hash",
            "unknown value 'SHA256' — did you mean `SHA-256`?",
        ),
        (
            ["a: {generalize: {step: 5, date: day}}"],
            15,
            "a",
            "not exactly one kind — say ipv4_prefix and/or ipv6_prefix, or date, or step",
        ),
        (
            ["plan: keep", "a: {self_describing: {}}"],
            16,
            "a",
            "documents inside documents are not taken apart — pseudonymize, encrypt, drop or keep it",
        ),
        (
            ["a//b: keep"],
            15,
            "a//b",
            "`a//b` is not a path inside an entity's data — write names with / between them, [] for every "
            "element of a list: items[]/sku, []/sku",
        ),
        (
            ["address/city: keep", "address: {encrypt: {level: 2}}"],
            15,
            "address/city",
            "`address` is encrypted as one value, with this place inside it — remove it, or list what is in "
            "`address` one by one",
        ),
        (["plan: keep", "plan: drop"], 16, "plan", "stands twice (first in line 15) — remove one of them"),
    ],
)
def test_what_is_wrong_inside_documents_is_told_at_its_line(tmp_path, lines, line, place, text):
    found = [str(problem) for problem in problems_of(tmp_path, inside(*lines))]
    where = f"{tmp_path}/contract.yaml:{line}: fields.context.self_describing.{USER}.{place}: {text}"
    assert found == [where]


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
    assert digest(tmp_path / "b", contract) != digest(tmp_path / "c", without)


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


def test_what_is_wrong_in_one_place_hides_nothing_elsewhere(tmp_path):
    found = problems_of(tmp_path, inside("a: kep", "b//c: keep", "d: {mask: {keep: 1}}"))
    assert [problem.line for problem in found] == [15, 16, 17]


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


def test_cautions_reach_into_documents(tmp_path):
    contract = inside("country: pseudonymize", "email: keep", "device: {pseudonymize: {hash: MD5}}")
    contract = contract.replace("  email: {encrypt: {level: 2}}\n", "  email: drop\n")
    where = f"fields.context.self_describing.{USER}"
    found = cautions_of(tmp_path / "a", contract)
    assert [caution.partition(" but ")[0] for caution in found] == [
        f"contract.yaml:15: {where}.country: `context {USER} country` is pseudonymized",
        f"contract.yaml:16: {where}.email: `context {USER} email` is kept readable for everybody, and its "
        "name sounds like personal data",
        "contract.yaml:9: fields: joinable across people, so still linkable after an erasure: "
        f"context {USER} device",
    ]
    sealed = inside("address: {encrypt: {level: 3}}").replace(
        "consent: {field: levels, type: granular}\n", ""
    )
    assert (
        f"contract.yaml:14: {where}.address: encrypted, but no `consent` says"
        in cautions_of(tmp_path / "b", sealed)[-1]
    )


def test_a_joinable_default_reaches_what_is_not_listed_in_documents(tmp_path):
    contract = changed("fields:", "default: {pseudonymize: {joinable: true}}\nfields:").replace(
        "  premium: keep\n", INSIDE
    )
    assert "context" in linkable_after_erasure(load(tmp_path, contract).contract)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("level: 2}}\n        plan", "level: 3}}\n        plan"),
        ("plan: keep", "plan: drop"),
        ("1-*-*", "1-0-*"),
    ],
)
def test_digest_sees_what_is_listed_inside_documents(tmp_path, old, new):
    contract = changed("  premium: keep\n", INSIDE)
    assert digest(tmp_path / "a", contract) != digest(tmp_path / "b", changed(old, new, contract))


def test_digest_sees_the_order_of_criteria_and_not_that_of_paths(tmp_path):
    one, other = (
        f"      {USER}:\n        a: keep\n",
        "      iglu:com.acme/user/jsonschema/1-0-0:\n        a: drop\n",
    )
    head = INSIDE.partition("      iglu")[0]
    first = changed("  premium: keep\n", head + one + other)
    assert digest(tmp_path / "a", first) != digest(tmp_path / "b", changed(one + other, other + one, first))
    paths = inside("a: keep", "b: drop")
    assert digest(tmp_path / "c", paths) == digest(tmp_path / "d", inside("b: drop", "a: keep"))
    assert load(tmp_path / "e", paths).contract.hashes is False
    assert load(tmp_path / "f", inside("a: {pseudonymize: {hash: MD5}}")).contract.hashes is True
    assert load(
        tmp_path / "g", changed("premium: keep", "premium: {pseudonymize: {hash: MD5}}")
    ).contract.hashes
