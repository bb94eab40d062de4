"""The click stream: what it promises to contain is in it, counted by other means."""

import ipaddress
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from pii_pipeline.contracts.treatments import TREATMENTS
from pii_pipeline.samples.generate import expected_counts, generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.samples.webshop_bad import KINDS
from pii_pipeline.streams.loader import load_stream
from pii_pipeline_tests.unit.samples.reference import STREAMS, Reference, contract_of

END = datetime(2026, 11, 22, 10, 55, tzinfo=UTC)
EVENTS = 24_000  # two slices, so that repetitions reach back into an earlier one
CONTRACT = contract_of("webshop")


class Sample:
    """A sample, judged record by record."""

    def __init__(self) -> None:
        self.planted = Planted()
        self.blocks = list(generate(CONTRACT, EVENTS, 7, END, self.planted))
        self.records = b"".join(self.blocks).split(b"\n")[:-1]
        judge = Reference(CONTRACT, END).judge
        verdicts = [judge(record) for record in self.records]
        self.failures = Counter(verdict for verdict in verdicts if verdict)
        self.good = [record for record, verdict in zip(self.records, verdicts, strict=True) if not verdict]
        self.events = [json.loads(record) for record in self.good]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


def test_every_record_is_there_and_the_bad_ones_fail_as_planted(sample: Sample) -> None:
    assert len(sample.records) == sample.planted.records == EVENTS
    assert sample.failures == sample.planted.failure_types
    assert set(sample.planted.bad) == {kind.name for kind in KINDS} | {"oversized"}
    assert sample.planted.bad["oversized"] == 1
    assert 0.008 < sample.planted.bad.total() / EVENTS < 0.012


def test_redeliveries_and_reused_ids_are_as_many_as_planted(sample: Sample) -> None:
    contents: defaultdict[str, set[bytes]] = defaultdict(set)
    duplicates = reused = 0
    for record, event in zip(sample.good, sample.events, strict=True):
        seen = contents[event["event_id"]]
        duplicates += record in seen
        reused += bool(seen) and record not in seen
        seen.add(record)
    assert (duplicates, reused) == (sample.planted.duplicates, sample.planted.reused_ids)
    assert sample.planted.validated == len(sample.good) - duplicates
    assert 0.002 < duplicates / EVENTS < 0.004
    assert 0.0002 < reused / EVENTS < 0.001


def test_the_same_arguments_give_the_same_bytes_and_others_give_other_ids(sample: Sample) -> None:
    assert list(generate(CONTRACT, EVENTS, 7, END)) == sample.blocks
    ids = {event["event_id"] for event in sample.events}
    for seed, end in ((8, END), (7, END + timedelta(hours=1))):
        other = b"".join(generate(CONTRACT, 900, seed, end)).split(b"\n")[:-1]
        judge = Reference(CONTRACT, end).judge
        assert ids.isdisjoint(json.loads(record)["event_id"] for record in other if judge(record) is None)


def test_events_come_in_the_order_of_time_within_the_hour_before_arrival(sample: Sample) -> None:
    seen: set[bytes] = set()
    times: list[datetime] = []
    for record, event in zip(sample.good, sample.events, strict=True):
        if record not in seen:  # a redelivery comes late
            seen.add(record)
            times.append(datetime.fromisoformat(event["ts"]))
    assert times == sorted(times)
    assert END - timedelta(hours=1) <= times[0] and times[-1] < END


def test_sessions_overlap_and_last_for_minutes(sample: Sample) -> None:
    sessions: defaultdict[str, list[dict]] = defaultdict(list)
    for event in sample.events:
        sessions[event["session_id"]].append(event)
    assert 6.5 < len(sample.events) / len(sessions) < 9.5
    changes = sum(a["session_id"] != b["session_id"] for a, b in pairwise(sample.events))
    assert changes > 0.95 * len(sample.events)
    spans = [
        datetime.fromisoformat(events[-1]["ts"]) - datetime.fromisoformat(events[0]["ts"])
        for events in sessions.values()
    ]
    assert timedelta(minutes=2) < sum(spans, timedelta()) / len(spans) < timedelta(minutes=10)
    people = [[event["user_id"] for event in events] for events in sessions.values()]
    never = sum(all(user is None for user in users) for users in people)
    on_the_way = sum(users[0] is None and users[-1] is not None for users in people)
    assert 0.25 < never / len(people) < 0.4 and on_the_way > 0.15 * len(people)
    assert all(len({user for user in users if user}) <= 1 for users in people)
    top = Counter(users[-1] for users in people if users[-1]).most_common(10)
    assert top[0][1] > 10 and top[0][1] > 1.5 * top[-1][1]


def test_it_looks_like_life(sample: Sample) -> None:
    events = sample.events
    versions = Counter(ipaddress.ip_address(event["ip"]).version for event in events)
    assert min(versions[4], versions[6]) > len(events) // 5
    emails = {event["email"] for event in events if event["email"]}
    assert any("+" in email for email in emails) and any(not email.isascii() for email in emails)
    assert {tuple(event.get("consent_levels") or ["none"]) for event in events} >= {
        ("none",),
        (1,),
        (1, 2),
        (1, 2, 3),
    }
    assert {event["event"] for event in events} == set(CONTRACT.json_schema["properties"]["event"]["enum"])
    assert any("email=" in event["page_url"] for event in events)
    declared = set(CONTRACT.json_schema["properties"])
    unlisted = sum(not declared.issuperset(event) for event in events)
    assert 0.003 < unlisted / len(events) < 0.008
    plain = sum(len(record) + 1 for record in sample.records if len(record) < 100_000)
    assert 680 < plain / EVENTS < 800


def test_small_samples_stay_small_and_large_ones_have_an_oversized_record() -> None:
    assert expected_counts(CONTRACT, 999, 1, END).bad["oversized"] == 0
    assert expected_counts(CONTRACT, 1_000, 1, END).bad["oversized"] == 1
    assert expected_counts(CONTRACT, 1, 1, END).records == 1
    assert list(generate(CONTRACT, 0, 1, END)) == []


def test_the_contract_uses_every_treatment_of_plain_fields_and_warns_of_joinable_ones_only() -> None:
    stream = load_stream(STREAMS / "webshop")
    used = {treatment.name for treatment in (*stream.contract.fields.values(), stream.contract.default)}
    assert used == set(TREATMENTS) - {"self_describing"}
    assert ["joinable" in str(warning) for warning in stream.warnings] == [True]


@pytest.mark.parametrize("wrong", [{"events": -1}, {"seed": -1}, {"end": datetime(2026, 11, 22)}])
def test_impossible_arguments_are_refused_at_once(wrong: dict) -> None:
    with pytest.raises(ValueError):
        generate(CONTRACT, **{"events": 1, "seed": 1, "end": END} | wrong)
