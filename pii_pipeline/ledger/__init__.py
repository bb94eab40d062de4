"""The ledger: the one truth about what came and what was made of it. It never holds a value from the data."""

from pii_pipeline.hours import arrival_in, hour_of, hour_start
from pii_pipeline.ledger.conservation import Counts, add_counts, rows_count, violations
from pii_pipeline.ledger.contents import HourContents
from pii_pipeline.ledger.fingerprint import fingerprint
from pii_pipeline.ledger.lease import Lease, process_owner
from pii_pipeline.ledger.ledger import DEFAULT_MAX_BATCH_BYTES, Ledger
from pii_pipeline.ledger.model import (
    PSEUDONYMIZED_EVENTS,
    VALIDATED_EVENTS,
    ActiveContract,
    Batch,
    Commit,
    CommitResult,
    CommittedFile,
    ConservationError,
    Earlier,
    Known,
    LandingObject,
    LeaseHeld,
    LeaseLost,
    LedgerError,
    SealedObject,
    StaleHead,
    StaleUpstream,
    UnknownBatch,
    Waiting,
    table_layer,
    upstream_of,
)
from pii_pipeline.ledger.retention import Deletion, Expiring, Placed, RestrictedFile
from pii_pipeline.ledger.status import HourStatus, LayerStatus

__all__ = [
    "DEFAULT_MAX_BATCH_BYTES",
    "PSEUDONYMIZED_EVENTS",
    "VALIDATED_EVENTS",
    "ActiveContract",
    "Batch",
    "Commit",
    "CommitResult",
    "CommittedFile",
    "ConservationError",
    "Counts",
    "Deletion",
    "Earlier",
    "Expiring",
    "HourContents",
    "HourStatus",
    "Known",
    "LandingObject",
    "LayerStatus",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Ledger",
    "LedgerError",
    "Placed",
    "RestrictedFile",
    "SealedObject",
    "StaleHead",
    "StaleUpstream",
    "UnknownBatch",
    "Waiting",
    "add_counts",
    "arrival_in",
    "fingerprint",
    "hour_of",
    "hour_start",
    "process_owner",
    "rows_count",
    "table_layer",
    "upstream_of",
    "violations",
]
