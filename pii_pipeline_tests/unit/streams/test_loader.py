"""Folders of streams: what loads, what is refused on which line with which mend, what is warned of."""

import json
import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from pii_pipeline.contracts.errors import ConfigurationError
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.model import Stream
from pii_pipeline_tests.unit.contracts.examples import CONTRACT, SCHEMA, changed, with_properties, write

STREAM = """\
description: Clicks.
owners: [team:web]
derived:
  marketing:
    description: For newsletters.
    consent: {purposes: [2]}
"""


def make(folder: Path, name: str = "shop", stream: str = STREAM, contract: str = CONTRACT) -> Path:
    """A stream below `folder`."""
    write(folder / name, contract)
    (folder / name / "stream.yaml").write_text(stream)
    return folder / name


def load(folder: Path, stream: str = STREAM, contract: str = CONTRACT) -> Stream:
    make(folder, stream=stream, contract=contract)
    return load_streams([folder])["shop"]


def problems_in(*folders: Path) -> list[str]:
    streams = load_streams(folders)
    return [str(problem) for problem in streams.problems_of(streams.broken)]


def problem_of(folder: Path, stream: str = STREAM, contract: str = CONTRACT) -> str:
    """The only problem of a stream called shop, without its folder."""
    make(folder, stream=stream, contract=contract)
    (problem,) = problems_in(folder)
    return problem.removeprefix(f"{folder}/shop/")


def test_a_good_stream(tmp_path):
    stream = load(tmp_path)
    assert (stream.name, stream.folder) == ("shop", tmp_path / "shop")
    assert stream.contract.contract == "acme/shop/1.0.0"
    assert stream.contract.record.get("email") is not None
    assert stream.derived["marketing"].consent.purposes == (2,)
    assert stream.derived["marketing"].joinable_with_lake is None
    assert stream.warnings == ()


def test_defaults(tmp_path):
    stream = load(tmp_path, "description: Clicks.\n")
    assert stream.contracts == ("contract.yaml",)
    assert stream.bad_event_threshold == 0.05
    assert stream.max_record_bytes == 1_048_576
    assert stream.dedupe_window == timedelta(days=7)
    assert (stream.owners, stream.derived, stream.contract_field) == ((), {}, None)


def test_picklable_and_frozen(tmp_path):
    stream = load(tmp_path)
    again = pickle.loads(pickle.dumps(stream))
    assert again == stream
    assert again.contract.record == stream.contract.record
    with pytest.raises(ValueError, match="frozen"):
        stream.name = "other"  # type: ignore[misc]


def test_several_folders_and_what_is_no_stream(tmp_path):
    make(tmp_path / "a", "shop")
    make(tmp_path / "b", "logins")
    (tmp_path / "a" / "_schemas").mkdir()
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / "README.md").write_text("")
    assert list(load_streams([tmp_path / "a", tmp_path / "b"])) == ["shop", "logins"]
    assert list(load_streams([tmp_path / "a", tmp_path / "a"])) == ["shop"]
    assert load_streams([]) == {}


def test_no_folder(tmp_path):
    make(tmp_path / "a")
    with pytest.raises(ConfigurationError) as caught:
        load_streams([tmp_path / "a", tmp_path / "x"])
    assert str(caught.value) == (
        f"{tmp_path}/x:1: there is no such folder of streams — make it, or mend PII_STREAMS_DIR"
    )


def test_a_broken_stream_breaks_no_other(tmp_path):
    make(tmp_path, "logins", contract=changed("acme/shop", "acme/logins"))
    make(tmp_path, "shop", contract=changed("email:", "emial:"))
    make(tmp_path, "yaml", "description: [")
    (tmp_path / "empty").mkdir()
    streams = load_streams([tmp_path])
    assert (list(streams), len(streams), "shop" in streams) == (["logins"], 1, False)
    assert streams["logins"].name == "logins"
    assert sorted(streams.broken) == ["empty", "shop", "yaml"]
    with pytest.raises(ConfigurationError, match=r"shop/contract\.yaml:10: fields\.emial"):
        streams["shop"]
    with pytest.raises(KeyError):
        streams["other"]
    assert [problem.file.parent.name for problem in streams.problems_of(["yaml", "logins", "shop"])] == [
        "yaml",
        "shop",
    ]


def test_a_contradiction_breaks_those_who_have_it(tmp_path):
    make(tmp_path, "clicks")
    make(tmp_path, "logins", contract=changed("acme/shop", "acme/logins"))
    make(tmp_path, "shop", contract=changed("premium: keep", "premium: drop"))
    streams = load_streams([tmp_path])
    assert (list(streams), sorted(streams.broken)) == (["logins"], ["clicks", "shop"])
    assert streams.broken["clicks"] == streams.broken["shop"]
    assert len(streams.problems_of(streams.broken)) == 1


def test_the_same_stream_in_two_folders(tmp_path):
    first, second = make(tmp_path / "a"), make(tmp_path / "b")
    assert problems_in(tmp_path / "a", tmp_path / "b") == [
        f"{second}/stream.yaml:1: the stream `shop` is also in {first} — rename or remove one of them"
    ]


def test_a_folder_without_stream_file(tmp_path):
    (tmp_path / "shop").mkdir()
    mend = "add it, or rename the folder to `_shop` if it is no stream"
    assert problems_in(tmp_path) == [f"{tmp_path}/shop/stream.yaml:1: does not exist — {mend}"]


def test_a_folder_that_is_called_like_the_stream_file(tmp_path):
    (tmp_path / "shop" / "stream.yaml").mkdir(parents=True)
    assert [problem.partition(" — ")[0] for problem in problems_in(tmp_path)] == [
        f"{tmp_path}/shop/stream.yaml:1: is no file"
    ]


@pytest.mark.parametrize("name", ["Shop", "2shop", "web-shop", "shöp", "bad_events"])
def test_names(tmp_path, name):
    make(tmp_path, name)
    (problem,) = problems_in(tmp_path)
    assert problem.startswith(f"{tmp_path}/{name}/stream.yaml:1: `{name}` is ")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("description: Clicks.\n", "", "stream.yaml:1: description: is missing — add `description:`"),
        ("owners", "owner", "stream.yaml:2: owner: unknown key — did you mean `owners`?"),
        (
            "team:web",
            "web",
            "stream.yaml:2: owners[0]: `web` is no owner — write team:web or an e-mail address",
        ),
        (
            "[team:web]",
            '[team:web]\nformat: {csv: {delimiter: ";;"}}',
            "stream.yaml:3: format: the delimiter is one ASCII character, and no quote or end of a line — ",
        ),
        (
            "[team:web]",
            "[team:web]\nformat: {csv: {encoding: utf-9}}",
            "stream.yaml:3: format.csv.encoding: unknown encoding `utf-9` — write utf-8, utf-16",
        ),
        (
            "[team:web]",
            "[team:web]\nformat:\n  csv: {separator: x}",
            "stream.yaml:4: format.csv.separator: unknown key — one of delimiter, encoding",
        ),
        (
            "[team:web]",
            "[team:web]\nformat: xml",
            "stream.yaml:3: format: unknown format `xml` — one of json, csv, snowplow_enriched_tsv, avro",
        ),
        (
            "[team:web]",
            "[team:web]\ndedupe_window: 1w",
            "stream.yaml:3: dedupe_window: not a duration — write a",
        ),
        (
            "[team:web]",
            "[team:web]\ndedupe_window: 800000d",
            "stream.yaml:3: dedupe_window: longer than 365000 days — write 365000d",
        ),
        (
            "[team:web]",
            f"[team:web]\ndedupe_window: {'9' * 5000}s",
            "stream.yaml:3: dedupe_window: longer than 365000 days",
        ),
        (
            "[team:web]",
            "[team:web]\nbad_event_threshold: 5",
            "stream.yaml:3: bad_event_threshold: is more than 1",
        ),
        ("[team:web]", "[team:web]\nmax_record_bytes: 0", "stream.yaml:3: max_record_bytes: is less than 1"),
        (
            "[team:web]",
            "[team:web]\ncontract: x",
            "stream.yaml:3: contract: unknown key — did you mean `contracts`?",
        ),
        ("[team:web]", "[team:web]\nname: x", "stream.yaml:3: name: unknown key"),
        (
            "[team:web]",
            "[team:web]\ncontracts: []",
            "stream.yaml:3: contracts: Tuple should have at least 1 item",
        ),
        (
            "[team:web]",
            "[team:web]\ncontracts: [contrat.yaml]",
            "stream.yaml:3: contracts[0]: there is no file `contrat.yaml` — did you mean `contract.yaml`?",
        ),
        (
            "[team:web]",
            "[team:web]\ncontract_field: sesion",
            "stream.yaml:3: contract_field: the schema of acme/shop/1.0.0 declares no field `sesion` "
            "— did you "
            "mean `session`?",
        ),
        (
            "[team:web]",
            "[team:web]\ncontract_field: price",
            "3: contract_field: in the schema of acme/shop/1.0.0, `price` is not one string — name a",
        ),
        (
            "[team:web]",
            "[team:web]\ncontract_field: tags[]",
            "3: contract_field: in the schema of acme/shop/1.0.0, `tags[]` is not one string — name",
        ),
        (
            "  marketing:",
            "  raw_events:",
            "4: derived.raw_events: `raw_events` is the name of a layer",
        ),
        (
            "  marketing:",
            "  Market:",
            "stream.yaml:4: derived.Market: `Market` is not lower-case letters, digits",
        ),
        (
            "purposes: [2]",
            "purposes: []",
            "stream.yaml:6: derived.marketing.consent: asks for no purpose — name at",
        ),
        (
            "{purposes: [2]}",
            "{}",
            "6: derived.marketing.consent: not exactly one request — write `purp",
        ),
        ("purposes: [2]", "purposes: [2], level: 2", "derived.marketing.consent: not exactly one request"),
        (
            "purposes: [2]",
            "purposes: [-1]",
            "derived.marketing.consent.purposes[0]: is less than 0",
        ),
        (
            "purposes: [2]",
            "purpose: [2]",
            "derived.marketing.consent.purpose: unknown key — did you mean `purposes`?",
        ),
        (
            "purposes: [2]",
            "level: 2",
            "stream.yaml:6: derived.marketing.consent: does not fit the contract's granular consent — write "
            "`purposes: [2]`",
        ),
        (
            "{purposes: [2]}",
            "{purposes: [2]}\n    joinable_with_lake: true",
            "stream.yaml:7: derived.marketing.joinable_with_lake: Input should be",
        ),
        (
            "{purposes: [2]}",
            "{purposes: [2]}\n    joinable_with_lake: {reason: ''}",
            "stream.yaml:7: derived.marketing.joinable_with_lake.reason: String should have at least 1",
        ),
    ],
)
def test_what_is_refused(tmp_path, old, new, text):
    assert text in problem_of(tmp_path, changed(old, new, STREAM))


def test_cumulative_consent(tmp_path):
    contract = changed("type: granular", "type: cumulative")
    assert problem_of(tmp_path / "a", contract=contract) == (
        "stream.yaml:6: derived.marketing.consent: does not fit the contract's cumulative consent — "
        "write `level: 2`"
    )
    assert load(tmp_path / "b", changed("purposes: [2]", "level: 3", STREAM), contract).warnings == ()


def test_derived_without_consent_in_the_contract(tmp_path):
    contract = changed("consent: {field: levels, type: granular}\n", "")
    assert problem_of(tmp_path, contract=contract) == (
        "stream.yaml:6: derived.marketing.consent: `acme/shop/1.0.0` does not say where an event's consent "
        "is — declare `consent` in the contract, or remove the derived dataset"
    )


@pytest.mark.parametrize("request_", ["purposes: [1, 3]", "purposes: [1]"])
def test_a_dataset_that_opens_nothing_is_warned_of(tmp_path, request_):
    (caution,) = load(tmp_path, changed("purposes: [2]", request_, STREAM)).warnings
    assert (caution.line, caution.field) == (6, "derived.marketing.consent")
    assert "opens nothing" in caution.message


def test_what_is_encrypted_inside_documents_counts(tmp_path):
    inside = "{iglu:com.acme/user/jsonschema/1-*-*: {mail: {encrypt: {level: 3}}}}"
    contract = changed("premium: keep", f"premium: keep\n  context: {{self_describing: {inside}}}")
    assert load(tmp_path, changed("purposes: [2]", "purposes: [3]", STREAM), contract).warnings == ()


def test_a_cumulative_dataset_that_opens_nothing_is_warned_of(tmp_path):
    contract = changed("type: granular", "type: cumulative")
    (caution,) = load(tmp_path, changed("purposes: [2]", "level: 1", STREAM), contract).warnings
    assert "opens nothing" in caution.message


def test_the_contracts_cautions_are_the_streams(tmp_path):
    (caution,) = load(tmp_path, contract=changed("premium: keep", "premium: pseudonymize")).warnings
    assert caution.file == tmp_path / "shop" / "contract.yaml"


def two_contracts(folder: Path, second: str) -> Path:
    make(folder, stream=changed("owners: [team:web]", "contracts: [contract.yaml, newer.yaml]", STREAM))
    (folder / "shop" / "newer.yaml").write_text(second)
    return folder


def test_without_a_contract_field_exactly_one_contract_is_active(tmp_path):
    newer = changed("1.0.0", "1.1.0")
    draft = newer.replace("state: active", "state: draft")
    stream = load_streams([two_contracts(tmp_path / "a", draft)])["shop"]
    assert stream.contract.contract == "acme/shop/1.0.0"
    two = two_contracts(tmp_path / "b", newer)
    assert problems_in(two) == [
        f"{two}/shop/stream.yaml:2: contracts: more than one contract is active (newer.yaml, "
        "contract.yaml), and nothing says which governs an event — archive all but one, or name the events' "
        "own field that says it in `contract_field`"
    ]
    assert problem_of(tmp_path / "c", contract=changed("state: active", "state: in_review")) == (
        "stream.yaml:1: contracts: no contract is active (contract.yaml is in_review) — "
        "write `state: active` in one of them, or promote one (again, if that was interrupted)"
    )


def side_by_side(folder: Path, second: str, stream: str = "", schema: object = SCHEMA) -> Path:
    """The contract of `examples` and `second`, with a schema of its own, both in use for their events."""
    settings = f"contracts: [contract.yaml, newer.yaml]\ncontract_field: session\n{stream}"
    make(folder, stream=changed("owners: [team:web]\n", settings, STREAM))
    (folder / "shop" / "newer.schema.json").write_text(json.dumps(schema))
    second = changed("schema: event.schema.json", "schema: newer.schema.json", second)
    (folder / "shop" / "newer.yaml").write_text(second)
    return folder


NEWER = changed("1.0.0", "1.10.0")


def test_versions_side_by_side_the_newest_first(tmp_path):
    folder = side_by_side(tmp_path, NEWER)
    (folder / "shop" / "contract.yaml").write_text(changed("1.0.0", "1.9.0"))
    stream = load_streams([folder])["shop"]
    assert [contract.contract for contract in stream.active] == ["acme/shop/1.10.0", "acme/shop/1.9.0"]
    assert stream.contract is stream.versions[0]
    assert stream.digest == f"{stream.active[0].digest} {stream.active[1].digest}"
    again = pickle.loads(pickle.dumps(stream))
    assert again.active == stream.active
    archived = changed("state: active", "state: archived", NEWER)
    alone = load_streams([side_by_side(tmp_path / "b", archived)])["shop"]
    assert [contract.contract for contract in alone.active] == ["acme/shop/1.0.0"]
    assert [contract.contract for contract in alone.versions] == ["acme/shop/1.10.0", "acme/shop/1.0.0"]


@pytest.mark.parametrize(
    ("old", "new", "properties", "problem"),
    [
        (
            "acme/shop/1.10.0",
            "acme/store/1.10.0",
            {},
            "stream.yaml:2: contracts: acme/shop and acme/store are active side by side (newer.yaml, "
            "contract.yaml) — give them one handle and name, as versions of one contract, or make "
            "two streams",
        ),
        (
            "event_id_field: id\n",
            "",
            {},
            "newer.yaml:1: event_id_field: an event's id is not declared here and id in "
            "contract.yaml, and both "
            "are active: by it redelivered events are told, whatever their version — declare the "
            "same in both, "
            "or archive acme/shop/1.0.0",
        ),
        (
            "namespace: customer",
            "namespace: guest",
            {},
            "newer.yaml:7: data_subject.namespace: the data subject's namespace is guest here and "
            "customer in ",
        ),
        (
            "consent: {field: levels, type: granular}\n",
            "",
            {},
            "stream.yaml:7: derived.marketing.consent: `acme/shop/1.10.0` does not say where an "
            "event's consent",
        ),
        (
            "premium: keep",
            "premium: keep",
            {"price": {"type": "integer"}},
            "newer.yaml:3: schema: `price` is int64 here and double in contract.yaml, and both are "
            "active: no "
            "column of validated_events can be both — give it another name, or archive acme/shop/1.0.0",
        ),
        (
            "premium: keep",
            "premium: keep",
            {"product": {"type": "object", "properties": {"stock": {"type": "string"}}}},
            "newer.yaml:3: schema: `product/stock` is string here and int64 in contract.yaml, and",
        ),
        (
            "premium: keep",
            "premium: keep",
            {"items": {"type": "array", "items": {"type": "string"}}},
            "newer.yaml:3: schema: `items[]` is string here and a record in contract.yaml, and",
        ),
        (
            "premium: keep",
            "premium: pseudonymize",
            {},
            "newer.yaml:11: fields.premium: `premium` is string here and bool in contract.yaml, and both are "
            "active: no column of pseudonymized_events can be both — treat it as there, or archive",
        ),
        (
            "premium: keep",
            "premium: keep\n  product: {encrypt: {level: 1}}",
            {},
            "newer.yaml:12: fields.product: `product` is string here and a record in contract.yaml, and both",
        ),
        (
            "premium: keep",
            "premium: keep\n  quantity: {encrypt: {level: 2}}",
            {},
            "newer.yaml:12: fields.quantity: `quantity` is int64 here and string in contract.yaml, "
            "and both are "
            "active: no column of marketing can be both",
        ),
    ],
)
def test_what_cannot_be_active_side_by_side(tmp_path, old, new, properties, problem):
    folder = side_by_side(tmp_path, changed(old, new, NEWER), schema=with_properties(**properties))
    (found,) = problems_in(folder)
    assert problem in found


def test_consent_of_two_types_cannot_be_side_by_side(tmp_path):
    folder = side_by_side(tmp_path, changed("type: granular", "type: cumulative", NEWER))
    settings = folder / "shop" / "stream.yaml"
    settings.write_text(settings.read_text().partition("derived:")[0])
    (found,) = problems_in(folder)
    assert "newer.yaml:8: consent.type: the type of consent is cumulative here and granular in" in found


def test_what_may_differ_side_by_side(tmp_path):
    newer = (
        NEWER.replace("time_field: ts", "time_field: created_ms\nmax_age: 3d")
        .replace("key_field: session", "key_field: device")
        .replace("field: person", "field: customer")
        .replace("field: levels", "field: purposes")
        .replace("email: {encrypt: {level: 2}}", "email: {encrypt: {level: 3}}")
        .replace("fields:", "default: drop\nfields:")
        .replace("min: 0", "min: 1")
    )
    schema = with_properties(
        device={"type": "string"},
        customer={"type": "string"},
        purposes={"type": "string"},
        product={"type": "object", "properties": {"stock": {"type": "integer"}, "name": {"type": "string"}}},
    )
    stream = load_streams([side_by_side(tmp_path, newer, schema=schema)])["shop"]
    assert len(stream.active) == 2


def test_one_contract_that_says_different_things_in_two_streams_is_refused(tmp_path):
    make(tmp_path, "clicks")
    make(tmp_path, "shop")
    assert len(load_streams([tmp_path])) == 2, "the same may serve two streams"
    make(tmp_path, "shop", contract=changed("premium: keep", "premium: drop"))
    assert problems_in(tmp_path) == [
        f"{tmp_path}/shop/contract.yaml:1: contract: acme/shop/1.0.0 is also in "
        f"{tmp_path}/clicks/contract.yaml, "
        "and says something else there — give one of them another name or version"
    ]


@pytest.mark.parametrize("dropped", [{"clicks"}, {"logins"}, {"shop"}])
def test_of_three_streams_with_one_contract_all_are_broken_whichever_contradicts(tmp_path, dropped):
    for name in ("clicks", "logins", "shop"):
        said = changed("premium: keep", "premium: drop") if name in dropped else CONTRACT
        make(tmp_path, name, contract=said)
    broken = load_streams([tmp_path]).broken
    assert sorted(broken) == ["clicks", "logins", "shop"]
    for name, problems in broken.items():
        assert all(f"/{name}/contract.yaml" in str(problem) for problem in problems)
        assert all("says something else there" in str(problem) for problem in problems)


def test_one_version_cannot_be_two_contracts(tmp_path):
    folder = two_contracts(tmp_path, changed("state: active", "state: archived"))
    assert problems_in(folder) == [
        f"{folder}/shop/stream.yaml:2: contracts[1]: `acme/shop/1.0.0` is also in contract.yaml — "
        "give the newer one a new version"
    ]


def test_problems_of_all_files_of_all_streams_are_reported_at_once(tmp_path):
    make(tmp_path, "logins", changed("owners", "owner", STREAM), changed("email:", "emial:"))
    make(tmp_path, "shop", contract=changed("key_field: session", "key_field: sesion"))
    assert [line.removeprefix(f"{tmp_path}/").split(": ")[:2] for line in problems_in(tmp_path)] == [
        ["logins/stream.yaml:2", "owner"],
        ["logins/contract.yaml:10", "fields.emial"],
        ["shop/contract.yaml:5", "key_field"],
    ]


def test_a_schema_shared_by_two_contracts_is_reported_once(tmp_path):
    folder = two_contracts(tmp_path, changed("state: active", "state: draft").replace("1.0.0", "1.1.0"))
    (folder / "shop" / "event.schema.json").write_text('{"type": "object"}')
    assert len(problems_in(folder)) == 1


STREAMS = Path(__file__).parents[3] / "streams"


@pytest.mark.parametrize("name", ["logins", "webshop"])
def test_the_projects_own_streams_load(name):
    stream = load_streams([STREAMS])[name]
    # nothing to look at but what is joinable on purpose, and said so in the file
    assert [caution.field for caution in stream.warnings] == ["fields"]


def test_a_queue_and_its_limits(tmp_path):
    assert load(tmp_path).source is None
    source = load(
        tmp_path, f"{STREAM}source: {{sqs: clicks.fifo, batch_messages: 500, batch_time: 1m}}\n"
    ).source
    assert source is not None
    assert (source.sqs, source.batch_messages, source.batch_bytes) == ("clicks.fifo", 500, 64 << 20)
    assert source.batch_time == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "{sqs: the clicks}",
            "source.sqs: `the clicks` is no queue — write its name (logins, logins.fifo) or its URL",
        ),
        (
            "{sqs: clicks, batch_message: 5}",
            "source.batch_message: unknown key — did you mean `batch_messages`?",
        ),
    ],
)
def test_a_queue_that_cannot_be_meant(tmp_path, source, said):
    assert problem_of(tmp_path, f"{STREAM}source: {source}\n") == f"stream.yaml:7: {said}"


def test_a_format_with_a_header_does_not_come_from_a_queue(tmp_path):
    found = problem_of(tmp_path, f"{STREAM}format: csv\nsource: {{sqs: clicks}}\n")
    assert found == (
        "stream.yaml:8: source: a message is one record, and `csv` has something before its records — "
        "set `format` to json or snowplow_enriched_tsv, or remove it"
    )


def test_two_streams_do_not_share_a_queue(tmp_path):
    for name in ("shop", "stall"):
        make(tmp_path, name, f"{STREAM}source: {{sqs: clicks}}\n")
    (problem,) = problems_in(tmp_path)
    assert problem == (
        f"{tmp_path}/stall/stream.yaml:7: source.sqs: the stream `shop` takes its events from that queue — "
        "give each a queue of its own"
    )
