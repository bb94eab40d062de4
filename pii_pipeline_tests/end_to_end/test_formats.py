"""Samples of every format through the whole pipeline: what was planted is what is found."""

import os
from datetime import UTC, datetime

from pii_pipeline.samples.generate import expected_counts
from pii_pipeline.settings import project_root
from pii_pipeline.streams.loader import load_streams
from pii_pipeline.streams.scaffold import FORMATS, new_stream
from pii_pipeline_tests.end_to_end.deployment import Deployment

END = datetime(2026, 11, 22, 11, tzinfo=UTC)
EVENTS = 1_000


def test_what_was_planted_is_found_in_every_format(tmp_path):
    folders = (tmp_path / "streams", project_root() / "streams")
    for format in FORMATS:
        new_stream(folders[0], f"new_{format}", format)
    names = ["retail", "snowplow", *(f"new_{format}" for format in FORMATS)]
    deployment = Deployment(tmp_path / "deployment")
    deployment.environment["PII_STREAMS_DIR"] = os.pathsep.join(map(str, folders))
    for name in names:
        deployment.pii("sample", name, "--events", str(EVENTS), "--seed", "5", "--end", str(END), "--land")
    deployment.pii("run")
    found = {status["stream"]: status for status in deployment.json("status")}
    streams = load_streams(folders)
    for name in names:
        stream, status = streams[name], found[name]
        limit, form = stream.max_record_bytes, stream.format.form
        planted = expected_counts(stream.contract, EVENTS, 5, END, limit, form)
        assert status["records"] == planted.records == EVENTS, name
        assert status["bad_by_reason"] == dict(planted.failure_types), name
        assert status["duplicates"] == planted.duplicates, name
        assert status["pseudonymized"] == status["validated"] == planted.validated, name
        assert status["pseudonymized"] > 0, name
