"""A process that records entries from several threads, and prints the number of each that was acknowledged.

``python -m pii_pipeline_tests.unit.vault.recorder URL FOLDER NAME THREADS ENTRIES``
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from pii_pipeline.vault.anchors import open_anchors
from pii_pipeline.vault.audit import Action, AuditLog, Event
from pii_pipeline.vault.policy import load_policy
from pii_pipeline.vault.stores import open_store
from pii_pipeline_tests.unit.vault.examples import KEY, KNOWN


def main() -> None:
    """Each line: NAME/THREAD/ENTRY and the number that it got, written at once and as a whole."""
    url, folder, name, threads, entries = sys.argv[1:]
    policy = load_policy(Path(folder) / "vault-policy.yaml", KNOWN)
    anchors = open_anchors((Path(folder) / "anchors").as_uri(), policy.anchor_retention)
    audit = AuditLog(open_store(url), KEY, policy, anchors)
    ready = threading.Barrier(int(threads))

    def record(thread: int) -> None:
        ready.wait()
        for entry in range(int(entries)):
            label = f"{name}/{thread}/{entry}"
            number = audit.record(Event(Action.LOAD, "pipeline", detail={"batch": label}))
            os.write(1, f"{label} {number}\n".encode())

    running = [threading.Thread(target=record, args=(number,)) for number in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    audit.close()


if __name__ == "__main__":
    main()
