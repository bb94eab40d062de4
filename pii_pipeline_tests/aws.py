"""An AWS of our own for tests: moto's server, spoken to over HTTP as the real one is.

`aws` gives a session of boto3 and an empty account, with the environment set as a user would set it, so that
processes started by the test find it too.
"""

from __future__ import annotations

import functools
import logging
import urllib.request
from collections.abc import Iterator

import boto3
import botocore.session
import pytest
from botocore.loaders import create_loader

from pii_pipeline_tests.faulty_proxy import FaultyProxy

REGION = "eu-central-1"

# What boto3 says of the services itself is the same for every session: megabytes of JSON, which would be read
# again for every client of every test.
botocore.session.create_loader = functools.cache(create_loader)


def aws_environment(endpoint: str) -> dict[str, str]:
    """What a user sets to use the AWS at `endpoint`."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        # Neither the machine's own configuration nor its role has a part in this.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """The URL of the server, which lasts as long as the session."""
    from moto.server import ThreadedMotoServer  # takes a second to import

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A session, and an account with nothing in it."""
    urllib.request.urlopen(urllib.request.Request(f"{aws_endpoint}/moto-api/reset", method="POST")).close()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in aws_environment(aws_endpoint).items():
        monkeypatch.setenv(name, value)
    return boto3.Session()


@pytest.fixture
def faulty_aws(
    aws: boto3.Session, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyProxy]:
    """A proxy that whoever reads the environment from now on talks to; `aws_endpoint` is behind it."""
    proxy = FaultyProxy(aws_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()


def make_bucket(session: boto3.Session, name: str) -> str:
    """A new bucket in the session's region; its URI."""
    session.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return f"s3://{name}"
