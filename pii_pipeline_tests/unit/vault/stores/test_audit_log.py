"""The audit log over DynamoDB, where an append is a transaction of conditions."""

import threading
from pathlib import Path

from pii_pipeline.vault.audit import Action, Event
from pii_pipeline_tests.unit.vault.examples import make


def test_on_dynamodb_two_logs_of_four_threads_make_one_unbroken_chain(dynamodb_url: str, tmp_path: Path):
    parts = make(dynamodb_url, tmp_path)
    logs, told = [parts.audit, parts.again()], []

    def record(number: int) -> None:
        for entry in range(8):
            batch = {"batch": f"{number}/{entry}"}
            told.append(logs[number % 2].record(Event(Action.LOAD, "pipeline", detail=batch)))

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    entries = parts.entries()
    loads = {entry["number"]: entry["detail"]["batch"] for entry in entries if entry["action"] == "load"}
    assert sorted(told) == sorted(loads) and len(set(loads.values())) == len(loads) == 64
    found = parts.audit.verify()
    assert found.broken is None and found.entries == len(entries)
    parts.store.close()
