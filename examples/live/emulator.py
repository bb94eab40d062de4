"""AWS in a process, at a port of this machine: moto's server, with a queue whose calls come in turn."""

from __future__ import annotations

import sys

from moto.server import main as serve

from pii_pipeline_tests.queues import one_call_at_a_time

if __name__ == "__main__":
    with one_call_at_a_time():
        serve(["--host", "127.0.0.1", "--port", sys.argv[1]])
