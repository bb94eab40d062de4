"""The catalogue: every column says what it is, what was done to it and where it comes from."""

import json
from pathlib import Path

import dagster as dg
import pytest

from pii_pipeline.assets import columns, summaries, words
from pii_pipeline.assets.rows import Column, row
from pii_pipeline.assets.specs import FRESHNESS, NOBODY
from pii_pipeline.contracts.treatments import (
    Drop,
    Encrypt,
    Generalize,
    Keep,
    Mask,
    Pseudonymize,
    Treatment,
    Url,
)
from pii_pipeline.definitions import build
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.validate import validated_schema
from pii_pipeline.settings import project_root, read_settings
from pii_pipeline.streams.datasets import dataset_schema
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream
from pii_pipeline_tests.integration.small_streams import environment
from pii_pipeline_tests.unit.contracts.examples import changed
from pii_pipeline_tests.unit.streams.test_loader import STREAM, make

INSTALLATION = Installation(read_settings({"PII_STREAMS_DIR": str(project_root() / "streams")}))
STREAMS = INSTALLATION.streams
GRAPH = build(INSTALLATION).resolve_asset_graph()
SHOWN = 1_000
"""Characters of Markdown that the UI shows in place."""

Place = tuple[str, str, str]
"""Stream, dataset, column."""


def schema(key: dg.AssetKey) -> dg.TableSchema:
    return GRAPH.get(key).metadata["dagster/column_schema"]


def column(stream: str, dataset: str, name: str) -> dg.TableColumn:
    found = {item.name: item for item in schema(dg.AssetKey([stream, dataset])).columns}
    return found[name]


def place(key: dg.AssetKey, name: str) -> Place:
    stream, dataset = key.path
    return stream, dataset, name


def lineage() -> dict[Place, set[Place]]:
    """For every column of every asset, those it is made of."""
    return {
        place(key, name): {place(dep.asset_key, dep.column_name) for dep in deps}
        for key in GRAPH.get_all_asset_keys()
        for name, deps in GRAPH.get(key).metadata["dagster/column_lineage"].deps_by_column.items()
    }


def origins(of: Place, known: dict[Place, set[Place]]) -> set[Place]:
    """The columns without lineage that a column is made of in the end."""
    return set().union(*(origins(source, known) for source in known[of])) if known[of] else {of}


@pytest.fixture(params=STREAMS.values(), ids=lambda stream: stream.name)
def stream(request: pytest.FixtureRequest) -> Stream:
    return request.param


def test_every_column_is_described_and_says_whether_it_is_personal():
    for key in GRAPH.get_all_asset_keys():
        names = [item.name for item in schema(key).columns]
        assert names and len(set(names)) == len(names)
        for item in schema(key).columns:
            assert item.description, (key, item.name)
            assert "personal_data" in item.tags or item.type.endswith("record"), (key, item.name)


def test_lineage_names_columns_that_are_there_in_assets_upstream():
    known = lineage()
    for key in GRAPH.get_all_asset_keys():
        for item in schema(key).columns:
            for stream, dataset, name in known[place(key, item.name)]:
                assert dg.AssetKey([stream, dataset]) in GRAPH.get(key).parent_keys
                assert (stream, dataset, name) in known


def test_every_lake_column_comes_from_fields_that_were_sent(stream: Stream):
    known, contract = lineage(), stream.contract
    declared = {item.name for item in columns.raw_columns(stream)}
    said_by_the_contract = {
        "_consent": contract.consent is None or contract.consent.field is None,
        "_event_id_reused": contract.event_id_field is None,
        "_contract": stream.contract_field is None,
    }
    for item in columns.pseudonymized_columns(stream):
        found = origins((stream.name, "pseudonymized_events", item.name), known)
        if said_by_the_contract.get(item.name):
            ((_, dataset, name),) = found
            assert "Always " in str(column(stream.name, dataset, name).description)
        else:
            assert {dataset for _, dataset, _ in found} == {"raw_events"}
            assert {name for _, _, name in found} <= declared


def test_every_derived_column_comes_from_the_lake(stream: Stream):
    known = lineage()
    lake = {item.name for item in columns.pseudonymized_columns(stream)}
    for dataset in stream.derived:
        for item in columns.derived_columns(stream, dataset):
            assert known[stream.name, dataset, item.name] == {
                (stream.name, "pseudonymized_events", item.name)
            }
            assert item.name in lake


def test_every_column_of_a_table_comes_from_fields_that_were_sent(stream: Stream):
    known = lineage()
    for table, declared in stream.warehouse.items():
        for item in columns.table_columns(stream, table):
            assert {dataset for _, dataset, _ in known[stream.name, table, item.name]} == {declared.dataset}
            found = origins((stream.name, table, item.name), known)
            assert {dataset for _, dataset, _ in found} == {"raw_events"}


def test_the_columns_are_those_of_the_files(stream: Stream):
    def top(found: list[Column]) -> set[str]:
        return {item.name.partition("/")[0].removesuffix("[]") for item in found}

    lake = dataset_schema(stream, "pseudonymized_events")
    assert top(columns.pseudonymized_columns(stream)) == set(lake.names)
    assert top(columns.validated_columns(stream)) == set(validated_schema(stream).names)


def test_every_treated_field_has_its_treatment_in_tags(stream: Stream):
    lake = {item.name: item.tags for item in columns.pseudonymized_columns(stream)}
    for path, _, treatment in stream.contract.treated():
        tags = lake.get(row(path))
        if isinstance(treatment, Drop):
            assert tags is None
        else:
            assert tags is not None
            assert tags["treatment"] == treatment.name
            assert (tags["personal_data"] == "no") == isinstance(treatment, Keep)
            assert tags.get("level") == (str(treatment.level) if isinstance(treatment, Encrypt) else None)


def test_system_columns_come_from_what_they_are_computed_of():
    known = lineage()

    def sources(stream: str, dataset: str, name: str) -> set[tuple[str, str]]:
        return {(upstream, source) for _, upstream, source in known[stream, dataset, name]}

    def lake(name: str) -> set[str]:
        return {source for _, source in sources("webshop", "pseudonymized_events", name)}

    assert lake("_key_link") == lake("_subject_token") == {"user_id", "session_id", "_event_time"}
    assert lake("_consent") == {"consent_levels"}
    assert lake("_event_id_reused") == {"event_id"}
    assert sources("webshop", "validated_events", "_event_time") == {("raw_events", "ts")}
    assert sources("logins", "validated_events", "_event_time") == {("raw_events", "$arrival")}
    assert sources("webshop", "bad_events", "subject_tag") == {("raw_events", "user_id")}
    assert ("raw_events", "*") in sources("webshop", "bad_events", "sealed_record")


def test_what_happens_to_a_field_is_said_wherever_it_is():
    link = "[marketing](/assets/webshop/marketing)"
    rekeyed = "pseudonyms are this dataset's own"
    said = {
        ("raw_events", "email"): f"In the lake **encrypted** (level 2), opened in {link}.",
        ("raw_events", "notes"): "In the lake **dropped**.",
        ("raw_events", "order/delivery/city"): "In the lake inside `order/delivery`.",
        ("pseudonymized_events", "order/delivery"): "**Encrypted** (level 3), opened in no dataset.",
        ("pseudonymized_events", "items[]/sku"): "**Kept**.",
        ("marketing", "email"): "**Decrypted**.",
        ("marketing", "user_agent"): "**Encrypted** (level 1) still, and once more for this dataset.",
        ("marketing", "session_id"): f"**Pseudonymized**, alike within one person; {rekeyed}.",
        ("marketing", "ip"): "**Made coarser**: IPv4 to /24, IPv6 to /48.",
    }
    for (dataset, name), text in said.items():
        assert text in (column("webshop", dataset, name).description or "").split("  \n"), (dataset, name)
    email = column("webshop", "marketing", "email")
    assert (email.description or "").startswith("The account's address; null before log-in.  \n")
    assert email.tags == {"treatment": "decrypt", "level": "2", "personal_data": "clear"}
    user = column("webshop", "raw_events", "user_id")
    assert user.tags == {"personal_data": "clear", "role": "data subject"}


@pytest.mark.parametrize(
    ("treatment", "text", "state"),
    [
        (Keep(), "**kept**", "no"),
        (Keep(allow=("email", "original")), "**kept**, not searched for email, values of other fields", "no"),
        (Drop(), "**dropped**", "no"),
        (Pseudonymize(), "**pseudonymized**, alike within one person", "pseudonymized"),
        (
            Pseudonymize(domain="user", joinable=True, reversible=True),
            "**pseudonymized**, alike for all people, in domain `user`; the vault has the original",
            "pseudonymized",
        ),
        (Pseudonymize(domain="none"), "**pseudonymized**, alike for all people", "pseudonymized"),
        (Pseudonymize(hash="MD5"), "**hashed** with MD5 and salt, alike for all people", "pseudonymized"),
        (Encrypt(level=3), "**encrypted** (level 3)", "encrypted"),
        (Generalize(ipv4_prefix=24), "**made coarser**: IPv4 to /24, IPv6 to null", "generalized"),
        (Generalize(date="month"), "**made coarser**: to the month", "generalized"),
        (Generalize(step=0.5), "**made coarser**: down to a multiple of 0.5", "generalized"),
        (
            Url(keep_path=False),
            "**cleaned as a URL**: the host stays, values of parameters are pseudonymized",
            "pseudonymized",
        ),
        (Mask(), "**masked** whole", "masked"),
        (Mask(keep_first=2, keep_last=1), "**masked** but for the first 2 and last 1 characters", "masked"),
    ],
)
def test_treatments_in_words(treatment: Treatment, text: str, state: str):
    assert words.done(treatment) == text
    assert words.state(treatment) == state


def test_a_column_of_documents_tells_what_is_done_inside(tmp_path: Path):
    user = "iglu:com.acme/user/jsonschema/1-*-*"
    inside = "{mail: {encrypt: {level: 2}}, age: {generalize: {step: 10}}, a: drop, b: drop}"
    treatment = f"{{self_describing: {{{user}: {inside}, 'iglu:com.acme/*/jsonschema/*-*-*': {{}}}}}}"
    contract = changed("premium: keep", f"premium: keep\n  context: {treatment}")
    make(tmp_path, stream=STREAM, contract=contract)
    stream = load_streams([tmp_path])["shop"]
    (lake,) = [item for item in columns.pseudonymized_columns(stream) if item.name == "context"]
    first = "**Treated entity by entity**, what is not named as the contract's default says:"
    rest = "`age` **made coarser**: down to a multiple of 10; `a`, `b` **dropped**"
    link = "[marketing](/assets/shop/marketing)"
    name = "- `*` `*-*-*` of com.acme: only its name is **kept**."
    assert lake.done.splitlines() == [
        first,
        f"- `user` `1-*-*` of com.acme: `mail` **encrypted** (level 2), opened in {link}; {rest}",
        name,
    ]
    assert lake.type == "string"
    assert lake.tags == {
        "treatment": "self_describing",
        "personal_data": "encrypted, generalized, pseudonymized",
    }
    (opened,) = [item for item in columns.derived_columns(stream, "marketing") if item.name == "context"]
    mail = "`mail` **decrypted**"
    assert opened.done.splitlines() == [first, f"- `user` `1-*-*` of com.acme: {mail}; {rest}", name]
    assert opened.tags["personal_data"] == "clear, generalized, pseudonymized"


def test_versions_that_differ_are_told_one_by_one(tmp_path: Path):
    folder = environment(tmp_path)
    alpha = tmp_path / "streams" / "alpha"
    settings = (alpha / "stream.yaml").read_text()
    both = "contracts: [contract.yaml, contract_2.yaml]\ncontract_field: page\n"
    (alpha / "stream.yaml").write_text(both + settings)
    newer = (alpha / "contract.yaml").read_text().replace("1.0.0", "1.1.0")
    (alpha / "contract_2.yaml").write_text(newer.replace("page: keep", "page: pseudonymize"))
    stream = Installation(read_settings(folder, project=tmp_path)).streams["alpha"]
    found = {item.name: item for item in columns.pseudonymized_columns(stream)}
    assert found["page"].done.splitlines() == [
        "- `tests/alpha/1.1.0`: **Pseudonymized**, alike within one person.",
        "- `tests/alpha/1.0.0`: **Kept**.",
    ]
    assert found["page"].tags == {"treatment": "pseudonymize, keep", "personal_data": "pseudonymized"}
    assert found["email"].done.startswith("**Encrypted** (level 1)"), "both say the same"
    assert found["_contract"].sources == (("validated_events", "_contract"),)
    (named,) = [item for item in columns.validated_columns(stream) if item.name == "_contract"]
    assert named.sources == (("raw_events", "page"),)


def test_somebody_owns_every_asset_and_it_is_to_be_fresh(tmp_path: Path):
    unowned = environment(tmp_path)
    file = tmp_path / "streams" / "beta" / "stream.yaml"
    file.write_text(file.read_text().replace("owners: [team:tests]\n", ""))
    graph = build(Installation(read_settings(unowned, project=tmp_path))).resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert graph.get(key).owners == ([NOBODY] if key.path[0] == "beta" else ["team:tests"])
        assert graph.get(key).freshness_policy_or_from_metadata == FRESHNESS


def test_source_code_is_the_contract_the_stream_and_what_makes_the_asset(stream: Stream):
    for key in GRAPH.get_all_asset_keys():
        if key.path[0] == stream.name:
            found = GRAPH.get(key).metadata["dagster/code_references"].value.code_references
            assert all(Path(reference.file_path).is_file() for reference in found)
            *files, code = [reference.label for reference in found]
            assert files == [f"{stream.name}/contract.yaml", f"{stream.name}/stream.yaml"]
            assert code.startswith("pipeline/")
            line = Path(found[-1].file_path).read_text().splitlines()[found[-1].line_number - 1]
            assert line.startswith("def "), line


def test_summaries_are_short_enough_to_be_shown_in_place(stream: Stream):
    many = 10**12
    reasons = {f"reason_number_{number:02}": many + number for number in range(30)}
    counts = {"records": 40 * many, "validated": many, "duplicate": many, "bad": 30 * many}
    counts |= {"pseudonymized": many, "erased": 7, "expired": 7, "admitted": 1, "withheld": many - 1}
    for text in (
        summaries.validated(counts | {"bad_by_reason": reasons}),
        summaries.bad(counts | {"bad_by_reason": reasons}),
        summaries.pseudonymized(stream, counts),
        *(summaries.derived(stream, dataset, counts) for dataset in stream.derived),
        summaries.loaded("pseudonymized_events", counts | {"loaded": many}),
    ):
        assert len(text) < SHOWN


def test_a_summary_says_counts_reasons_and_treatments():
    counts = {"records": 1000, "validated": 980, "duplicate": 5, "bad": 15}
    reasons = {"too_large": 4, "not_json": 11}
    assert summaries.validated(counts | {"bad_by_reason": reasons}).splitlines() == [
        "| records | validated | bad | duplicate |",
        "| --- | --- | --- | --- |",
        "| 1,000 | 980 (98.0%) | 15 (1.5%) | 5 (0.5%) |",
        "",
        "| bad because | records |",
        "| --- | --- |",
        "| not_json | 11 |",
        "| too_large | 4 |",
    ]
    lake = {"validated": 980, "pseudonymized": 980, "erased": 0, "expired": 0}
    assert summaries.pseudonymized(STREAMS["logins"], lake).splitlines() == [
        "| validated | pseudonymized | erased | expired |",
        "| --- | --- | --- | --- |",
        "| 980 | 980 | 0 | 0 |",
        "",
        "| treatment | fields | which |",
        "| --- | --- | --- |",
        "| pseudonymize | 3 | user_id, ip, device_id |",
        "| keep | 3 | app_version, device_type, locale |",
    ]
    consented = {"pseudonymized": 980, "admitted": 98, "withheld": 882}
    assert summaries.derived(STREAMS["webshop"], "marketing", consented).splitlines()[2:] == [
        "| 980 | 98 (10.0%) | 882 (90.0%) |",
        "",
        "| treatment | fields | which |",
        "| --- | --- | --- |",
        "| decrypted | 2 | email, loyalty_number |",
        "| still encrypted | 3 | user_agent, search/text, order/delivery |",
    ]
    assert summaries.validated({}).startswith("| records |")  # nothing landed


def test_a_name_with_a_bar_does_not_break_a_summary(tmp_path: Path):
    folder = environment(tmp_path)
    file = tmp_path / "streams" / "alpha" / "event.schema.json"
    changed = json.loads(file.read_text())
    changed["properties"]["a|b"] = {"type": "string", "description": "First line.\nSecond."}
    file.write_text(json.dumps(changed))
    stream = Installation(read_settings(folder, project=tmp_path)).streams["alpha"]
    assert "a\\|b" in summaries.pseudonymized(stream, {})
    (found,) = [item for item in columns.raw_columns(stream) if item.name == "a|b"]
    assert found.says == "First line. Second."
