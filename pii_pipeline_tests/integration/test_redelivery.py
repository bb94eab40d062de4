"""Messages delivered again in any order, over objects, batches and hours: each counts once."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pii_pipeline.formats import MESSAGES_SUFFIX, Message, message_line
from pii_pipeline.lake import read_parquet
from pii_pipeline.pipeline.installation import Installation
from pii_pipeline.pipeline.landing import land
from pii_pipeline.pipeline.pseudonymize import pseudonymize_hour
from pii_pipeline.pipeline.seal import seal_hour
from pii_pipeline.pipeline.validate import validate_hour
from pii_pipeline_tests.integration.small_streams import BAD, GOOD, install

SENT = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOURS = ("2026-11-22T10", "2026-11-22T11")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    opened = install(tmp_path)
    opened.batch_bytes = 1  # each object is a batch
    yield opened
    opened.close()


def rows_of(installation: Installation, dataset: str) -> list[dict[str, object]]:
    zone = installation.zone_holding(dataset)
    return [
        row
        for path in installation.ledger.files("alpha", dataset)
        for part in read_parquet(zone, path)
        for row in part.to_pylist()
    ]


@pytest.mark.parametrize("seed", range(4))
def test_each_message_counts_once(installation: Installation, seed: int) -> None:
    chance = random.Random(seed)
    messages = [
        Message(f"id-{number}", SENT, {}, {}, json.dumps(chance.choice(GOOD if number % 3 else BAD)))
        for number in range(40)
    ]
    known: set[str] = set()
    expected: Counter[str] = Counter()
    stream = installation.streams["alpha"]
    for turn in range(6):
        hour = chance.choice(HOURS)
        delivered = chance.choices(messages, k=25)
        by_hand = chance.choices([*GOOD, *BAD], k=3)
        land(
            installation.zones.landing,
            "alpha",
            hour,
            f"drained-{turn}{MESSAGES_SUFFIX}",
            io.BytesIO(b"".join(message_line(message) for message in delivered)),
        )
        raw = b"".join(json.dumps(event).encode() + b"\n" for event in by_hand)
        land(installation.zones.landing, "alpha", hour, f"raw-{turn}.jsonl", io.BytesIO(raw))
        for body in [
            *map(json.dumps, by_hand),
            *(m.body for name, m in {m.id: m for m in delivered}.items() if name not in known),
        ]:
            expected["bad" if json.loads(body) in BAD else "validated"] += 1
        known |= {message.id for message in delivered}
        expected["records"] += 28
        for made in HOURS:  # at once, so that what is earlier is what landed earlier
            seal_hour(installation, stream, made)
            validate_hour(installation, stream, made)
            pseudonymize_hour(installation, stream, made)
    expected["duplicate"] = expected["records"] - expected["bad"] - expected["validated"]
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for hour in HOURS:
        found = validate_hour(installation, stream, hour).counts
        counts.update({name: found.get(name, 0) for name in expected})
        by_reason = found["bad_by_reason"]
        assert isinstance(by_reason, dict)
        reasons.update(by_reason)
    assert counts == expected
    assert reasons == {"schema_violation": expected["bad"]}
    assert len(rows_of(installation, "pseudonymized_events")) == expected["validated"]
    bad = rows_of(installation, "bad_events")
    assert len(bad) == len({row["id"] for row in bad}) == expected["bad"]


def test_one_batch_with_both_deliveries_of_a_message_that_is_bad(installation: Installation) -> None:
    bad = message_line(Message("m", SENT, {}, {}, json.dumps(BAD[0])))
    for name in ("one", "two"):
        content = bad * 2 if name == "one" else bad
        land(installation.zones.landing, "alpha", HOURS[0], f"{name}{MESSAGES_SUFFIX}", io.BytesIO(content))
    installation.batch_bytes = 1 << 20
    stream = installation.streams["alpha"]
    seal_hour(installation, stream, HOURS[0])
    counts = validate_hour(installation, stream, HOURS[0]).counts
    assert (counts["records"], counts["bad"], counts["duplicate"]) == (3, 1, 2)
    (row,) = rows_of(installation, "bad_events")
    assert row["landing_object"].endswith("one.sqs.jsonl") and row["record_number"] == 0  # type: ignore[union-attr]
