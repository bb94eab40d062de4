"""What the ledger's tests share: objects, counts and commits."""

from datetime import datetime, timedelta
from typing import Any

from pii_pipeline.ledger import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    Batch,
    CommitResult,
    CommittedFile,
    LandingObject,
    Ledger,
    hour_start,
)

HOUR = "2026-11-22T10"
NEXT_HOUR = "2026-11-22T11"


def landed(name: str, size: int = 10, minute: float = 0, etag: str | None = None) -> LandingObject:
    moment: datetime = hour_start(HOUR) + timedelta(minutes=minute)
    return LandingObject(f"file:///landing/{name}", size, etag or f"etag of {name}", moment)


def sealed(ledger: Ledger, *names: str, stream: str = "logins", hour: str = HOUR) -> list[Batch]:
    """One batch per name, sealed."""
    ledger.enter(stream, hour, [landed(name, minute=minute) for minute, name in enumerate(names)])
    return ledger.seal(stream, hour, max_batch_bytes=1)


def file(batch: Batch, dataset: str, fingerprint: str, size: int = 100) -> CommittedFile:
    return CommittedFile(dataset, f"{batch.stream}/{dataset}/{batch.id}-{fingerprint}.parquet", size, 8)


def validate(ledger: Ledger, batch: Batch, fingerprint: str = "v1", **more: Any) -> CommitResult:
    """A commit of 10 records: 8 validated, 1 bad, 1 duplicate."""
    counts = {"records": 10, "validated": 8, "bad": 1, "duplicate": 1, "bad_by_reason": {"not_json": 1}}
    files = [file(batch, VALIDATED_EVENTS, fingerprint), file(batch, "bad_events", fingerprint)]
    return ledger.commit(batch, VALIDATED_EVENTS, fingerprint, files, counts, 0.5, **more)


def pseudonymize(ledger: Ledger, batch: Batch, fingerprint: str = "p1", upstream: str = "v1") -> CommitResult:
    """A commit of 8 validated records: 6 pseudonymized, 1 erased, 1 expired."""
    counts = {"validated": 8, "pseudonymized": 6, "erased": 1, "expired": 1}
    files = [file(batch, PSEUDONYMIZED_EVENTS, fingerprint)]
    return ledger.commit(batch, PSEUDONYMIZED_EVENTS, fingerprint, files, counts, 0.25, upstream=upstream)


def derive(
    ledger: Ledger, batch: Batch, dataset: str, fingerprint: str = "d1", upstream: str = "p1"
) -> CommitResult:
    """A commit of 6 pseudonymized records: 4 admitted, 2 withheld."""
    counts = {"pseudonymized": 6, "admitted": 4, "withheld": 2}
    files = [file(batch, dataset, fingerprint)]
    return ledger.commit(batch, dataset, fingerprint, files, counts, 0.1, upstream=upstream)
