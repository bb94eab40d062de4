"""Enriched events: what they promise to contain is in them, by plain Python; and the real ones."""

import ipaddress
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from pii_pipeline.formats.kinds import SNOWPLOW_ENRICHED_TSV
from pii_pipeline.samples.generate import expected_counts, generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.snowplow_bad import KINDS
from pii_pipeline_tests.shared_data import shared_data
from pii_pipeline_tests.unit.samples.reference import Reference, contract_of

END = datetime(2026, 11, 22, 10, 55, tzinfo=UTC)
EVENTS = 24_000  # two slices
CONTRACT = contract_of("snowplow")
COLUMNS = list(CONTRACT.json_schema["properties"])


def records_of(content: bytes) -> list[str]:
    return content.decode(errors="surrogateescape").split("\n")[:-1]


class Sample:
    """A sample, judged record by record; `events` are the good ones."""

    def __init__(self) -> None:
        self.planted = Planted()
        made = generate(CONTRACT, EVENTS, 7, END, self.planted, format=SNOWPLOW_ENRICHED_TSV)
        self.content = b"".join(made)
        self.records = records_of(self.content)
        reference = Reference(CONTRACT, END)
        self.failures: Counter[str] = Counter()
        self.events: list[dict] = []
        for record in self.records:
            fields = record.split("\t")
            verdict = reference.judge_fields(record, COLUMNS, fields)
            if verdict:
                self.failures[verdict] += 1
            else:
                self.events.append(reference.event_of(dict(zip(COLUMNS, fields, strict=True))))

    def filled(self, column: str) -> float:
        return sum(column in event for event in self.events) / len(self.events)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


def test_every_record_is_there_and_the_bad_ones_fail_as_planted(sample: Sample) -> None:
    assert len(COLUMNS) == 131 and tuple(COLUMNS) == SNOWPLOW_ENRICHED_TSV.columns
    assert len(sample.records) == sample.planted.records == EVENTS
    assert sample.failures == sample.planted.failure_types
    assert set(sample.planted.bad) == {kind.name for kind in KINDS} | {"oversized"}
    assert 0.008 < sample.planted.bad.total() / EVENTS < 0.012
    assert sample.planted.duplicates == 0


def test_the_same_arguments_give_the_same_bytes_and_others_give_other_ids(sample: Sample) -> None:
    again = b"".join(generate(CONTRACT, EVENTS, 7, END, format=SNOWPLOW_ENRICHED_TSV))
    assert again == sample.content
    ids = {event["event_id"] for event in sample.events}
    assert len(ids) == len(sample.events)
    for seed, end in ((8, END), (7, END + timedelta(hours=1))):
        other = records_of(b"".join(generate(CONTRACT, 900, seed, end, format=SNOWPLOW_ENRICHED_TSV)))
        assert ids.isdisjoint(record.split("\t")[6] for record in other if record.count("\t") == 130)


def test_events_come_in_the_order_of_time_within_the_hour_before_arrival(sample: Sample) -> None:
    def times(column: str) -> list[datetime]:
        return [datetime.fromisoformat(event[column]).replace(tzinfo=UTC) for event in sample.events]

    received = times("collector_tstamp")
    assert received == sorted(received)
    assert END - timedelta(hours=1) <= received[0] and received[-1] < END
    for earlier, later in (("dvce_created_tstamp", "dvce_sent_tstamp"), ("collector_tstamp", "etl_tstamp")):
        assert all(a < b for a, b in zip(times(earlier), times(later), strict=True))


def test_who_it_was_is_often_not_known_and_the_browser_always(sample: Sample) -> None:
    assert sample.filled("network_userid") == sample.filled("collector_tstamp") == 1
    assert 0.3 < sample.filled("user_id") < 0.7
    for column in ("domain_sessionid", "domain_userid", "app_id", "derived_contexts"):
        assert 0.6 < sample.filled(column) < 0.97, column
    for column in ("user_fingerprint", "page_referrer", "br_features_pdf", "mkt_medium"):
        assert 0.1 < sample.filled(column) < 0.7, column
    people = defaultdict(set)
    for event in sample.events:
        people[event["network_userid"]].add(event.get("user_id"))
    assert all(len(users - {None}) <= 1 for users in people.values()), "one browser, one person"
    versions = Counter(ipaddress.ip_address(event["user_ipaddress"]).version for event in sample.events)
    assert min(versions.values()) > len(sample.events) // 5


def test_each_kind_of_event_has_its_own_fields(sample: Sample) -> None:
    events = defaultdict(list)
    for event in sample.events:
        events[event["event_name"]].append(event)
    own = {
        "page_view": "page_url",
        "page_ping": "pp_yoffset_max",
        "link_click": "unstruct_event",
        "contact_form": "unstruct_event",
        "event": "se_action",
        "transaction": "tr_orderid",
        "transaction_item": "ti_sku",
    }
    assert set(events) == set(own)
    for name, column in own.items():
        assert all(column in event for event in events[name]), name
        others = {other for other in own if own[other] == column}
        if column != "page_url":
            assert not any(column in event for other in set(own) - others for event in events[other]), name
    named = {event["unstruct_event"]["data"]["schema"].split("/")[1] for event in events["contact_form"]}
    assert named == {"contact_form"}
    orders = {event["tr_orderid"] for event in events["transaction"]}
    assert orders & {event["ti_orderid"] for event in events["transaction_item"]}


def test_contexts_describe_themselves_and_people(sample: Sample) -> None:
    entities: Counter[str] = Counter()
    users: list[dict] = []
    for event in sample.events:
        for column in ("contexts", "derived_contexts"):
            for entity in event.get(column, {}).get("data", []):
                name = entity["schema"].removeprefix("iglu:").split("/")[1]
                entities[name] += 1
                if name == "user":
                    users.append(entity["data"])
                    assert column == "contexts"
    assert set(entities) == {
        *("web_page", "user", "PerformanceTiming", "client_session"),
        *("ua_parser_context", "spiders_and_robots"),
    }
    assert min(entities.values()) > len(sample.events) // 10
    user = users[0]
    assert "@" in user["email"] and isinstance(user["address"]["geo"]["latitude"], float)
    assert len(user["address"]["lines"]) == 2 and isinstance(user["newsletter"], bool)
    assert {len(user["phones"]) for user in users} == {0, 1}
    assert 1_500 < len(sample.content) / EVENTS < 3_000


def test_small_samples_stay_small() -> None:
    def counts(events: int) -> Planted:
        return expected_counts(CONTRACT, events, 1, END, format=SNOWPLOW_ENRICHED_TSV)

    assert counts(999).bad["oversized"] == 0 and counts(1_000).bad["oversized"] == 1
    assert counts(1).records == 1
    assert list(generate(CONTRACT, 0, 1, END, format=SNOWPLOW_ENRICHED_TSV)) == []


def test_under_another_key_the_records_without_one_are_bad() -> None:
    by_user = CONTRACT.model_copy(update={"key_field": "user_id"})
    planted = Planted()
    records = records_of(b"".join(generate(by_user, 2_000, 7, END, planted, format=SNOWPLOW_ENRICHED_TSV)))
    judge = Reference(by_user, END).judge_fields
    verdicts = Counter(judge(record, COLUMNS, record.split("\t")) for record in records)
    del verdicts[None]
    assert verdicts == planted.failure_types and verdicts["empty_key"] > 500


@pytest.mark.parametrize(
    ("file", "verdicts"),
    [
        ("enriched_contexts.tsv", {None: 100}),
        ("enriched_unstruct.tsv", {None: 100}),
        ("enriched_mixed.tsv", {None: 48, "malformed_record": 2}),
    ],
)
def test_the_real_events_are_of_the_same_kind(file: str, verdicts: dict) -> None:
    records = records_of((shared_data() / "snowplow" / file).read_bytes())
    judge = Reference(CONTRACT, datetime(2022, 2, 2, 2, tzinfo=UTC)).judge_fields
    assert Counter(judge(record, COLUMNS, record.split("\t")) for record in records) == verdicts
