"""``python -m pii_pipeline.cli``."""

from pii_pipeline.cli import main

main()
