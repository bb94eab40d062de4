"""The web shop with nothing on this machine but keys and ledger: every zone a bucket."""

import gzip
import shutil
from datetime import UTC, datetime

import pyarrow.parquet as pq
import zstandard
from pyarrow import fs

from pii_pipeline.samples.generate import generate
from pii_pipeline.samples.planted import Planted
from pii_pipeline.settings import ZONES, project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline_tests.aws import REGION
from pii_pipeline_tests.end_to_end.deployment import HOUR, S3Deployment

END = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
WRITTEN = ("restricted", "lake", "consented")


def clicks(events, seed, planted=None):
    contract = load_streams((project_root() / "streams",))["webshop"].contract
    return b"".join(generate(contract, events, seed, END, planted))


def test_the_web_shop_on_s3(tmp_path, aws, aws_endpoint):
    deployment = S3Deployment(tmp_path, aws, aws_endpoint)
    deployment.worth_workers = 0  # every object a batch, and batches in worker processes
    planted = Planted()
    first = gzip.compress(clicks(1500, 1, planted), mtime=0)
    deployment.land("webshop", "first.jsonl.gz", first)
    deployment.land("webshop", "second.jsonl.zst", zstandard.compress(clicks(1500, 2, planted)))
    deployment.land("webshop", "first.jsonl.gz", first)
    assert "(already there)" in deployment.said
    assert len(deployment.files("landing")) == 2

    report = deployment.json("run", "webshop")
    assert report["failed"] == []
    (status,) = deployment.json("status", "webshop", "--hour", HOUR)
    assert (status["records"], status["bad"]) == (planted.records, planted.bad.total())
    assert status["bad_by_reason"] == dict(planted.failure_types)
    assert status["duplicates"] == planted.duplicates
    assert status["pseudonymized"] == status["validated"] == planted.validated

    rows = deployment.query(
        "SELECT count(*) AS n, count(DISTINCT _hour) AS hours FROM webshop.pseudonymized_events"
    )
    assert rows == [{"n": planted.validated, "hours": 1}]
    events = "webshop.pseudonymized_events"
    twice = f"SELECT count(*) AS n FROM {events} a JOIN {events} b USING (event_id)"
    assert deployment.query(twice)[0]["n"] >= planted.validated

    written = deployment.objects(*WRITTEN)
    assert deployment.json("run", "webshop")["up_to_date"] == [HOUR]
    assert deployment.objects(*WRITTEN) == written, "nothing is made again"

    lake, consented = deployment.files("lake"), deployment.files("consented")
    assert deployment.json("run", "webshop", "--force")["failed"] == []
    assert (deployment.files("lake"), deployment.files("consented")) == (lake, consented)
    assert deployment.query("SELECT count(*) AS n FROM webshop.pseudonymized_events") == [
        {"n": planted.validated}
    ]

    # `pii files` names what other tools open.
    found = deployment.pii("files", "webshop", "pseudonymized_events").split()
    assert all(name.startswith("s3://acme-lake/pii/webshop/pseudonymized_events/") for name in found)
    s3 = fs.S3FileSystem(
        access_key="testing", secret_key="testing", region=REGION, endpoint_override=aws_endpoint
    )
    assert (
        sum(pq.read_metadata(name.removeprefix("s3://"), filesystem=s3).num_rows for name in found)
        == planted.validated
    )

    everything = deployment.objects(*ZONES)
    assert not any("/." in name for name in everything), "nothing hidden is left"
    for zone in ZONES:
        assert "Uploads" not in deployment.client.list_multipart_uploads(Bucket=f"acme-{zone}")
    assert not deployment.storage.exists()


def test_a_run_on_an_s3_that_fails_for_a_while_makes_what_it_makes_without(
    tmp_path, aws, aws_endpoint, faulty_aws
):
    deployment = S3Deployment(tmp_path, aws, aws_endpoint)
    planted = Planted()
    deployment.land("webshop", "clicks.jsonl", clicks(1000, 1, planted))
    deployment.pii("run", "webshop")
    lake = deployment.files("lake")

    rules = [
        faulty_aws.fail("slow_down", times=3, after=2),
        faulty_aws.fail("reset", times=2, after=3),
        faulty_aws.fail("internal_error", times=3, after=4),
        faulty_aws.fail("truncated", times=2, method="GET", path="acme-landing/pii/webshop"),
        faulty_aws.fail("truncated", times=1, method="GET", path="acme-restricted/pii/webshop"),
        faulty_aws.fail("lost_answer", times=2, method="PUT|DELETE"),
    ]
    deployment.pii("run", "webshop", "--force")
    assert [rule.met for rule in rules] == [3, 2, 3, 2, 1, 2]
    assert deployment.files("lake") == lake
    (status,) = deployment.json("status", "webshop", "--hour", HOUR)
    assert (status["records"], status["pseudonymized"]) == (planted.records, planted.validated)
    rules = [faulty_aws.fail("truncated", times=2, method="GET", path="acme-lake/pii/webshop")]
    assert deployment.query("SELECT count(*) AS n FROM webshop.pseudonymized_events") == [
        {"n": planted.validated}
    ]
    assert rules[0].met == 2


def test_a_bucket_that_cannot_be_used_is_said_in_one_line(tmp_path, aws, aws_endpoint, faulty_aws):
    deployment = S3Deployment(tmp_path, aws, aws_endpoint)
    deployment.land("webshop", "clicks.jsonl", clicks(50, 1))
    deployment.pii("run", "webshop")
    faulty_aws.fail("expired", method="GET")
    deployment.pii("query", "SELECT count(*) FROM webshop.pseudonymized_events", code=2)
    assert deployment.said == (
        "pii: s3://acme-lake: ListObjectsV2: the AWS credentials have expired — renew them"
        " (aws sso login, or a new session token)\n"
    )
    deployment.pii("run", "webshop", "--force", code=2)
    assert "s3://acme-landing: ListObjectsV2: the AWS credentials have expired" in deployment.said
    faulty_aws.heal()
    deployment.environment["PII_LAKE_URI"] = "s3://no-such-bucket"
    deployment.pii("run", "webshop", "--force", code=2)
    assert "the lake zone was at s3://acme-lake/pii" in deployment.said
    deployment.database.unlink()
    deployment.pii("run", "webshop", code=2)
    assert "s3://no-such-bucket: there is no such bucket" in deployment.said
    deployment.environment["PII_LAKE_URI"] = "gs://bucket"
    deployment.pii("run", "webshop", code=2)
    assert "PII_LAKE_URI: storage gs: is not supported" in deployment.said
    shutil.rmtree(deployment.home)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del deployment.environment[name]
    deployment.environment["PII_LAKE_URI"] = "s3://acme-lake/pii"
    deployment.pii("run", "webshop", code=2)
    assert "no AWS credentials can be had (NoCredentialsError) — set AWS_PROFILE" in deployment.said
