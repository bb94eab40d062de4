"""A process that reads as `slow` from several threads, one record a call, and prints how many it was told.

``python -m pii_pipeline_tests.unit.vault.spender URL FOLDER THREADS READS``
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pii_pipeline.vault.errors import VaultRefused
from pii_pipeline.vault.model import LawfulBasis, Reason
from pii_pipeline_tests.unit.vault.examples import ip, make


def main() -> None:
    url, folder, threads, reads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    parts = make(url, folder, (folder / "vault-policy.yaml").read_text())
    ready = threading.Barrier(threads)

    def read(thread: int) -> int:
        told = 0
        ready.wait()
        for _ in range(reads):
            try:
                parts.vault.read("slow", Reason(LawfulBasis.CONTRACT, "support"), [ip(thread)])
                told += 1
            except VaultRefused as refused:
                assert refused.why == "limit"
        return told

    with ThreadPoolExecutor(threads) as running:
        print(sum(running.map(read, range(threads))))
    parts.audit.close()
    parts.store.close()


if __name__ == "__main__":
    main()
