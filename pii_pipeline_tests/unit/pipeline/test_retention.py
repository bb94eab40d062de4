"""Which files of an hour go, as a function of what the ledger says."""

from datetime import UTC, datetime, timedelta

import pytest

from pii_pipeline.contracts.model import LONGEST
from pii_pipeline.ledger import CommittedFile, RestrictedFile
from pii_pipeline.pipeline.retention import digests_since, spent
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams

AT = datetime(2026, 11, 26, 3, 30, tzinfo=UTC)
HOUR = "2026-11-10T10"
DAY = timedelta(days=1)


def found(dataset: str, used: timedelta | None = None, batch: str = "1") -> RestrictedFile:
    """A file whose batch has been in the lake for so long."""
    used_at = None if used is None else AT - used
    return RestrictedFile(HOUR, batch, CommittedFile(dataset, f"{dataset}-{batch}", 10, 1), used_at)


def going(files: list[RestrictedFile], keep: timedelta, since: str = HOUR) -> list[str]:
    return [item.file.path for item in spent(files, AT, keep, since)[0]]


def test_validated_events_go_when_they_have_been_in_the_lake_for_so_long() -> None:
    files = [found("validated_events", DAY)]
    assert going(files, timedelta(0)) == going(files, DAY) == ["validated_events-1"]
    assert going(files, DAY + timedelta(seconds=1)) == []


def test_validated_events_that_are_not_in_the_lake_stay_and_are_told() -> None:
    files = [found("validated_events"), found("event_digests")]
    assert spent(files, AT, timedelta(0), "2026-11-20T00") == ([], files[:1])


def test_digests_go_by_their_hour_and_after_the_validated_events_of_their_batch() -> None:
    files = [found("validated_events", DAY), found("event_digests", DAY), found("event_digests", DAY, "2")]
    assert going(files, timedelta(0), since=HOUR) == ["validated_events-1"]
    later = "2026-11-10T11"
    assert going(files, timedelta(0), since=later) == [
        "validated_events-1",
        "event_digests-1",
        "event_digests-2",
    ]
    assert going(files, 2 * DAY, since=later) == ["event_digests-2"]


@pytest.mark.parametrize(
    ("landing", "window", "oldest", "since"),
    [
        (7 * DAY, 7 * DAY, None, "2026-11-12T03"),
        (7 * DAY, 7 * DAY, "2026-11-25T00", "2026-11-12T03"),  # what arrives now may be of any hour since
        (7 * DAY, 7 * DAY, "2026-10-10T10", "2026-10-03T10"),
        (DAY, 2 * DAY, None, "2026-11-23T03"),
        (LONGEST, LONGEST, None, "2026-01-01T00"),
    ],
)
def test_digests_are_asked_for_by_what_can_still_be_made(
    landing: timedelta, window: timedelta, oldest: str | None, since: str
) -> None:
    stream = load_streams((project_root() / "streams",))["webshop"]
    kept = stream.retention.model_copy(update={"landing": landing})
    stream = stream.model_copy(update={"retention": kept, "dedupe_window": window})
    assert digests_since(stream, AT, oldest) == since
