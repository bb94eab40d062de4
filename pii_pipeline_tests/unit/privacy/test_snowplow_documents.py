"""Every document of Snowplow's sample files: what is listed stays readable, nothing else does."""

import json
import re

import pytest

from pii_pipeline.privacy.consent import ConsentRequest
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.privacy.document_reference import Reference, comparable, exactly
from pii_pipeline_tests.unit.privacy.test_documents import derive, treat

FILES = ("enriched_contexts.tsv", "enriched_mixed.tsv", "enriched_unstruct.tsv")
COLUMNS = (52, 58, 122)
"""Positions of contexts, unstruct_event and derived_contexts among the 131."""
DOCUMENTS = {"enriched_contexts.tsv": 122, "enriched_mixed.tsv": 114, "enriched_unstruct.tsv": 122}

SNOWPLOW = "iglu:com.snowplowanalytics.snowplow"
ALLOWED = {
    f"{SNOWPLOW}/ua_parser_context/jsonschema/1-*-*": ["useragentFamily", "osFamily", "deviceFamily"],
    f"{SNOWPLOW}/client_session/jsonschema/1-0-*": ["sessionIndex", "storageMechanism"],
    f"{SNOWPLOW}/consent_withdrawn/jsonschema/1-*-*": ["all"],
    f"{SNOWPLOW}/parquet_test_a/jsonschema/*-*-*": [
        "i_field[]/c_field",
        "a_field/c_field/d_field",
        "e_field",
    ],
    f"{SNOWPLOW}/link_click/jsonschema/1-0-1": ["targetUrl"],
    "iglu:org.w3/PerformanceTiming/jsonschema/1-*-*": ["requestStart", "navigationStart"],
}


def documents(file):
    """The texts of a file's documents; lines that do not have 131 fields hold none."""
    texts = []
    with (shared_data() / "snowplow" / file).open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            texts += [fields[column] for column in COLUMNS if len(fields) == 131 and fields[column]]
    return texts


def entities_of(document):
    return document["data"] if isinstance(document["data"], list) else [document["data"]]


def names_and_values(value):
    if isinstance(value, dict):
        below = [names_and_values(inner) for inner in value.values()]
        return {*value}.union(*(names for names, _ in below)), [one for _, values in below for one in values]
    if isinstance(value, list):
        below = [names_and_values(inner) for inner in value]
        return set().union(*(names for names, _ in below)), [one for _, values in below for one in values]
    return set(), [value]


def tells(text, outputs):
    """Whether a text of 4 and more characters is in the outputs, not merely as digits of a pseudonym."""
    if re.fullmatch("[0-9a-f]{4,11}", text):
        return text in outputs
    return len(text) >= 4 and any(text in output for output in outputs)


@pytest.mark.parametrize("file", FILES)
def test_where_nothing_is_listed_no_value_and_no_name_of_an_entity_survives(file):
    texts = documents(file)
    _, columns = treat(texts)
    found = columns["contexts"].to_pylist()
    for text, output in zip(texts, found, strict=True):
        before, after = json.loads(text), json.loads(output)
        assert before["schema"] == after["schema"]
        for entity, treated in zip(entities_of(before), entities_of(after), strict=True):
            assert treated.keys() == entity.keys()
            assert re.fullmatch("[0-9a-f]{64}", treated["schema"])
            names, values = names_and_values(entity["data"])
            hidden, pseudonyms = names_and_values(treated["data"])
            assert len(hidden) == len(names)
            assert [value is None for value in pseudonyms].count(True) == values.count(None)
            assert len(pseudonyms) == len(values)
            shown = [*hidden, *(value for value in pseudonyms if value is not None)]
            assert all(re.fullmatch("[0-9a-f]{64}", one) for one in shown)
            assert not any(tells(name, shown) for name in names)
            assert not any(tells(str(value), shown) for value in values)
    assert len(found) == DOCUMENTS[file]


@pytest.mark.parametrize("file", FILES)
def test_with_an_allowlist_exactly_what_it_lists_survives(file):
    texts = documents(file)
    listed = {criterion: dict.fromkeys(paths, "keep") for criterion, paths in ALLOWED.items()}
    plan, columns = treat(texts, listed)
    reference = Reference("contexts", plan.contract.fields["contexts"], plan.contract.default)
    kept = 0
    for subject, (text, output) in enumerate(zip(texts, columns["contexts"].to_pylist(), strict=True)):
        assert exactly(json.loads(output)) == exactly(comparable(reference.document(text, subject)))
        _, values = names_and_values([entity["data"] for entity in entities_of(json.loads(output))])
        readable = [one for one in values if not (isinstance(one, str) and re.fullmatch("[0-9a-f]{64}", one))]
        _, originals = names_and_values([entity["data"] for entity in entities_of(json.loads(text))])
        assert all(one in originals for one in readable)
        kept += sum(one is not None for one in readable)
    assert kept == sum(map(listed_values, texts)) > 0


def listed_values(text):
    """How many values of a document the allowlist names, found without the code that is tested."""
    count = 0
    for entity in entities_of(json.loads(text)):
        schema, _, version = entity["schema"].rpartition("/")
        for criterion, paths in ALLOWED.items():
            wanted, _, numbers = criterion.rpartition("/")
            if schema == wanted and re.fullmatch(numbers.replace("*", r"\d+"), version):
                for path in paths:
                    values = [entity["data"]]
                    for part in path.split("/"):
                        values = [
                            value.get(part.removesuffix("[]")) for value in values if isinstance(value, dict)
                        ]
                        if part.endswith("[]"):
                            values = [one for value in values if value is not None for one in value]
                    count += sum(value is not None for value in values)
    return count


@pytest.mark.parametrize("file", FILES)
def test_what_is_sealed_comes_back_with_its_type(file):
    texts = documents(file)
    plan, columns = treat(texts, default={"encrypt": {"level": 1}})
    opened = derive(plan, columns, range(len(texts)), ConsentRequest(level=1))
    for text, document in zip(texts, opened, strict=True):
        for before, after in zip(entities_of(json.loads(text)), entities_of(document), strict=True):
            _, values = names_and_values(before["data"])
            _, back = names_and_values(after["data"])
            assert sorted(map(repr, map(exactly, back))) == sorted(map(repr, map(exactly, values)))
