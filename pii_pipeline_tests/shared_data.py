"""Real input kept outside the project: tests that read it skip where it is absent."""

import os
from pathlib import Path

import pytest


def shared_data() -> Path:
    """The folder of real input: `PII_SHARED_DATA`, or ``shared/data`` beside the checkout."""
    folder = Path(os.environ.get("PII_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real input is not here (set PII_SHARED_DATA)")
    return folder
