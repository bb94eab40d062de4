"""`pii`, whose clocks run fast: ``python -m pii_pipeline_tests.hasty vault serve``.

The service's ticks come five a second, an anchor is due after a second, what KMS opened is held for half of
one, and at the service's end calls have two.
"""

from __future__ import annotations

from pii_pipeline.cli.group import main
from pii_pipeline.keys import kms
from pii_pipeline.vault import audit
from pii_pipeline.vault_service import server

ANCHOR_SECONDS = 1.0
HELD_SECONDS = 0.5

if __name__ == "__main__":
    server.TICK_SECONDS = 0.2
    server.GRACE_SECONDS = 2.0
    audit.ANCHOR_SECONDS = ANCHOR_SECONDS
    kms.HELD_SECONDS = HELD_SECONDS
    kms.KmsKey.held_seconds = HELD_SECONDS
    main()
