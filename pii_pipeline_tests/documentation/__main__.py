"""``make docs``: makes again what is generated in docs/ and what its pages show of a run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pii_pipeline_tests.documentation.examples import filled
from pii_pipeline_tests.documentation.markdown import DOCS, read
from pii_pipeline_tests.documentation.pages import FOLLOWED, follow, renewed
from pii_pipeline_tests.documentation.project import project
from pii_pipeline_tests.documentation.reference import reference


def main(names: list[str]) -> None:
    """All pages, or those named."""
    made = {"contract-reference.md": reference, "treatments.md": lambda: filled(read(DOCS / "treatments.md"))}
    for name, make in made.items():
        if name in names or not names:
            _write(DOCS / name, make())
    for name in FOLLOWED:
        if name in names or not names:
            _write(DOCS / name, _followed(name))


def _followed(name: str) -> str:
    """The page with what its commands print now, where that is not what it shows."""
    text = read(DOCS / name)
    with tempfile.TemporaryDirectory() as folder, project(Path(folder) / "project") as copy:
        for command in FOLLOWED[name]:
            copy.run(command)
        return renewed(text, list(follow(text, copy)))


def _write(file: Path, text: str) -> None:
    if not file.exists() or text != read(file):
        file.write_text(text, "utf-8")
        print(file.relative_to(DOCS.parent))


main(sys.argv[1:])
