"""Again and again: nothing twice, nothing lost, the same bytes; on real log-ins and on samples."""

import gzip
import json
import shutil
from datetime import UTC, datetime

import pytest
import zstandard

from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline_tests.end_to_end.deployment import HOUR, Deployment
from pii_pipeline_tests.shared_data import shared_data

END = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def clicks(events, seed, planted=None):
    contract = load_streams((project_root() / "streams",))["webshop"].contract
    return b"".join(generate(contract, events, seed, END, planted))


def hour(deployment, stream):
    (status,) = deployment.json("status", stream, "--hour", HOUR)
    return status


def made(deployment, *arguments):
    """What a run made: every committed file of the restricted zone and the lake that it wrote anew."""

    def written():
        return {
            str(file): file.stat().st_mtime_ns
            for zone in ("restricted", "lake", "consented")
            for file in (deployment.storage / zone).rglob("*.parquet")
        }

    before = written()
    deployment.pii("run", *arguments)
    return {name.split("/storage/")[1] for name, moment in written().items() if before.get(name) != moment}


def test_real_log_ins(tmp_path):
    """99 log-ins and one message of another shape; the same address or device has the same mask."""
    messages = gzip.decompress((shared_data() / "login_queue" / "messages.json.gz").read_bytes())
    deployment = Deployment(tmp_path)
    deployment.land("logins", "messages.json.gz", gzip.compress(messages))
    deployment.pii("run", "logins")
    status = hour(deployment, "logins")
    assert (status["records"], status["validated"], status["bad"]) == (100, 99, 1)
    assert status["bad_by_reason"] == {"schema_violation": 1}

    original = [message for message in json.loads(messages) if "ip" in message]
    rows = deployment.query("SELECT ip, device_id, locale, app_version FROM logins.pseudonymized_events")
    for field in ("ip", "device_id"):
        masks = {}
        for message, row in zip(original, rows, strict=True):
            assert masks.setdefault(message[field], row[field]) == row[field] != message[field]
        assert len(set(masks.values())) == len(masks), "two originals, one mask"
    assert [row["locale"] for row in rows] == [message["locale"] for message in original]
    # A second log-in from one of the addresses, an hour later: the same mask, or nobody finds duplicates.
    again = {**original[0], "device_id": "another", "user_id": "another person"}
    deployment.land("logins", "later.json", json.dumps(again).encode(), hour="2026-11-22T11")
    deployment.pii("run", "logins")
    sql = f"SELECT count(*) AS n FROM logins.pseudonymized_events WHERE ip = '{rows[0]['ip']}'"
    assert deployment.query(sql) == [{"n": 2}]


def test_an_hour_is_made_once_and_again_only_where_something_changed(tmp_path):
    streams = tmp_path / "streams"
    shutil.copytree(project_root() / "streams" / "webshop", streams / "webshop")
    deployment = Deployment(tmp_path / "deployment", streams)
    planted = Planted()
    deployment.land("webshop", "first.jsonl.gz", gzip.compress(clicks(1500, 1, planted)))
    assert made(deployment, "webshop")
    first = deployment.files("lake")

    assert made(deployment, "webshop") == set(), "everything is up to date"
    assert made(deployment, "webshop", "--force")
    assert deployment.files("lake") == first, "made again, the same bytes"

    deployment.land("webshop", "second.jsonl.zst", zstandard.compress(clicks(1500, 2, planted)))
    second = made(deployment, "webshop")
    assert second, "the new object's batch is made"
    assert all("-0002-" in name for name in second), "and no other"
    status = hour(deployment, "webshop")
    assert status["records"] == planted.records == 3000
    assert status["bad"] == planted.bad.total()
    assert status["bad_by_reason"] == dict(planted.failure_types)
    assert status["duplicates"] == planted.duplicates
    assert status["pseudonymized"] == status["validated"] == planted.validated
    for dataset in status["derived"].values():
        assert dataset["admitted"] + dataset["withheld"] == planted.validated

    deployment.land("webshop", "redelivered.jsonl", clicks(1500, 1))
    deployment.pii("run", "webshop")
    once_more = hour(deployment, "webshop")
    assert once_more["pseudonymized"] == planted.validated, "the same events again add nothing"
    assert once_more["records"] == once_more["validated"] + once_more["bad"] + once_more["duplicates"]

    lake = deployment.files("lake")
    contract = streams / "webshop" / "contract.yaml"
    as_it_was = contract.read_text()
    contract.write_text(as_it_was.replace("  locale: keep\n", "  locale: drop\n"))
    deployment.pii("run", "webshop", code=1)
    assert "acme/webshop-click/1.0.0 has been active since" in deployment.said
    assert deployment.files("lake") == lake, "an active contract does not change under its version"
    contract.write_text(as_it_was)

    deployment.pii("contract", "new-version", "webshop")
    newer = contract.with_name("contract-1.1.0.yaml")
    newer.write_text(newer.read_text().replace("  locale: keep\n", "  locale: drop\n"))
    for _ in ("in_review", "approved", "active"):
        deployment.pii("contract", "promote", "acme/webshop-click/1.1.0")
    remade = made(deployment, "webshop")
    assert {name.split("/")[2] for name in remade} >= {
        "pseudonymized_events",
        "marketing",
        "product_analytics",
    }
    columns = deployment.query("DESCRIBE webshop.pseudonymized_events")
    assert "locale" not in {column["column_name"] for column in columns}
    assert hour(deployment, "webshop")["pseudonymized"] == planted.validated


def test_two_runs_at_once_are_one(tmp_path):
    """They get the same keys and count every record once."""
    deployment = Deployment(tmp_path)
    planted = Planted()
    for part in range(3):
        deployment.land("webshop", f"clicks-{part}.jsonl", clicks(700, part, planted))
    runs = [deployment.start("run", "webshop", "--hour", HOUR) for _ in range(2)]
    assert [run.wait(300) for run in runs] == [0, 0]
    status = hour(deployment, "webshop")
    assert (status["records"], status["pseudonymized"]) == (planted.records, planted.validated)
    before = deployment.files("lake")
    deployment.pii("run", "webshop", "--force")
    assert deployment.files("lake") == before


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_nobody_else_can_read_what_is_written(tmp_path, umask):
    deployment = Deployment(tmp_path / "deployment")
    deployment.folder.chmod(0o700)
    content = clicks(300, 1)
    deployment.land("webshop", "clicks.jsonl", content)
    process = deployment.start("run", "webshop", umask=umask)
    assert process.wait(120) == 0
    roots = [deployment.storage, deployment.home, deployment.folder / "keys"]
    written = [path for root in roots for path in (root, *root.rglob("*"))]
    written += list(deployment.folder.glob("pii.db*"))
    modes = {str(path): path.stat().st_mode & 0o777 for path in written if not path.is_symlink()}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
