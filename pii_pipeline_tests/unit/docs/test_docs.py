"""What the documentation names is there: links, commands, options, settings, YAML keys, make targets."""

import re
from pathlib import Path

import click
import pytest

from pii_pipeline import settings
from pii_pipeline.cli import cli
from pii_pipeline.contracts.model import Consent, Contract, DataSubject, Rule
from pii_pipeline.contracts.treatments import TREATMENTS
from pii_pipeline.formats import problems
from pii_pipeline.pipeline import bad_events
from pii_pipeline.settings import project_root
from pii_pipeline.streams.model import Derived, StreamSettings, WarehouseColumn, WarehouseTable
from pii_pipeline.validation import failures

ROOT = project_root()
PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_links_lead_somewhere(page: Path):
    for link in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(target), link


def test_commands_and_options_exist(page: Path):
    known = {
        name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))
    }
    text = page.read_text("utf-8")
    for line in re.findall(r"^(?:.*\| )?pii .*$", text, re.MULTILINE) + re.findall(r"`(pii [^`]+)`", text):
        words = line[line.index("pii ") :].partition("#")[0].split()[1:]
        if words[0].startswith("…"):
            continue
        assert words[0] in known, line
        command = known[words[0]]
        assert command is not None
        if isinstance(command, click.Group) and len(words) > 1:
            for name in words[1].split("|"):
                assert name in command.commands, line
            command = command.commands[words[1].split("|")[0]]
        options = {option for param in command.params for option in param.opts} | {"--help"}
        # Words behind a quote are SQL.
        said = " ".join(words).partition('"')[0]
        assert set(re.findall(r"(?<= )--[a-z][a-z-]*", said)) <= options, line


def test_settings_are_read(page: Path):
    source = Path(settings.__file__).read_text("utf-8")
    zones = {f"PII_{zone.upper()}_URI" for zone in settings.ZONES}
    for name in re.findall(r"\bPII_[A-Z_]+\b", page.read_text("utf-8")):
        assert name in zones or f'"{name}"' in source, name


def test_every_setting_is_documented():
    read = set(re.findall(r'"(PII_[A-Z_]+|DAGSTER_HOME)"', Path(settings.__file__).read_text("utf-8")))
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in sorted(read) if f"`{name}`" not in readme] == []


def test_make_targets_exist(page: Path):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_key_of_the_yaml_is_documented():
    text = (ROOT / "docs" / "contract.md").read_text("utf-8")
    keys = set(TREATMENTS)
    of_stream = (StreamSettings, Derived, WarehouseTable, WarehouseColumn)
    for model in (Contract, Consent, DataSubject, Rule, *of_stream, *TREATMENTS.values()):
        keys |= {field.alias or name for name, field in model.model_fields.items() if not field.exclude}
    keys -= {"name", "field", "type", "namespace", "entities"}
    missing = [key for key in sorted(keys) if not re.search(rf"`\{{?{key}[`:]", text)]
    assert missing == []


def test_every_reason_and_column_of_bad_events_is_documented():
    text = (ROOT / "docs" / "bad-events.md").read_text("utf-8")
    reasons = {*failures.FailureType.__args__, *problems.ProblemType.__args__}
    assert [name for name in sorted(reasons | set(bad_events.SCHEMA.names)) if f"`{name}`" not in text] == []
