import subprocess
import sys

from pii_pipeline_tests.vault_server import PROJECT

SCRIPT = """
import asyncio, logging
from pii_pipeline.vault_service.logs import log_to_stderr
log_to_stderr()
logging.getLogger("pii_pipeline.vault_service.calls").info("ours, %d", 7)
logging.getLogger("grpc._common").error("jane@planted.example")
try:
    raise ValueError("jane@planted.example")
except ValueError:
    logging.getLogger("grpc").exception("a call with %s", "jane@planted.example")
logging.getLogger("asyncio").info("jane@planted.example")
"""


def test_of_libraries_nothing_but_the_type_is_written():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=2)[2] for line in done.stderr.splitlines()]
    assert lines[0] == "INFO ours, 7"
    assert lines[1].startswith("ERROR grpc._common:") and lines[1].endswith("is not shown")
    assert lines[2].startswith("ERROR grpc:") and lines[2].endswith("unexpected ValueError")
    assert len(lines) == 3 and "planted" not in done.stderr
