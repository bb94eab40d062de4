"""A contract's file: what cannot be read, on which line, with which mend."""

import json
import pickle

import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.contracts.treatments import Encrypt, Keep, SelfDescribing
from pii_pipeline_tests.unit.contracts.examples import (
    CONTRACT,
    INSIDE,
    SCHEMA,
    USER,
    changed,
    inside,
    load,
    problem_of,
    problems_of,
    refusal,
    with_properties,
    write,
)


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
    mend = "make the file, or mend the name that leads to it"
    assert str(refusal(tmp_path / "contract.yaml")) == f"{tmp_path}/contract.yaml:1: does not exist — {mend}"


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
    assert str(refusal(file)).startswith(f"{file}:2: not UTF-8")


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
            "10: fields.email.encrypt.level: is less than 0 — write at least 0",
        ),
        (
            "premium: keep",
            "session: {generalize: {ipv4_prefix: 33}}",
            "11: fields.session.generalize.ipv4_prefix: is more than 32 — write at most 32",
        ),
        (
            "premium: keep",
            "session: {generalize: {ipv6_prefix: 4.5}}",
            "11: fields.session.generalize.ipv6_prefix: is not a whole number — write one without quotes",
        ),
        *(
            (
                "premium: keep",
                f"price: {{generalize: {{step: {step}}}}}",
                f"fields.price.generalize.step: {said}",
            )
            for step, said in (
                (".inf", "is not a finite number — write one that is"),
                ("1e400", "is not a finite number — write one that is"),
                ("'ten'", "is not a number — write one without quotes"),
                (".nan", "is not a finite number — write one that is"),
                ("1e-310", "is less than 1e-09 — write at least 1e-09"),
                ("1.0e-10", "is less than 1e-09 — write at least 1e-09"),
                ("0", "is less than 1e-09 — write at least 1e-09"),
                ("-5", "is less than 1e-09 — write at least 1e-09"),
            )
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
        ("min: 0", "min: .inf", "13: validations[0].min: is not a finite number"),
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


# --- inside documents ---------------------------------------------------------------------------------------


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


def test_what_is_wrong_in_one_place_hides_nothing_elsewhere(tmp_path):
    found = problems_of(tmp_path, inside("a: kep", "b//c: keep", "d: {mask: {keep: 1}}"))
    assert [problem.line for problem in found] == [15, 16, 17]
