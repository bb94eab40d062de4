"""What holds for all tests."""

from pathlib import Path

from hypothesis.configuration import set_hypothesis_home_dir

# Beside pytest's cache: nothing is written outside var/.
set_hypothesis_home_dir(Path(__file__).parents[1] / "var" / "cache" / "hypothesis")
