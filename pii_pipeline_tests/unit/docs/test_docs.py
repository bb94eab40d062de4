"""What the documentation names is there: links, commands, options, settings, make targets, YAML.

What it shows of a run is compared in integration/test_pages.py.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from pydantic import TypeAdapter

from pii_pipeline import settings
from pii_pipeline.cli import cli
from pii_pipeline.contracts.model import Contract
from pii_pipeline.contracts.treatments import TREATMENTS, AnyTreatment
from pii_pipeline.formats import problems
from pii_pipeline.pipeline import bad_events
from pii_pipeline.relay import settings as relay_settings
from pii_pipeline.streams.model import StreamSettings
from pii_pipeline.validation import failures
from pii_pipeline.vault_client import connection
from pii_pipeline_tests.documentation.markdown import DOCS, ROOT, Block, anchors, blocks, links, prose, read
from pii_pipeline_tests.documentation.pages import FOLLOWED, commands
from pii_pipeline_tests.documentation.reference import keys

PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CHANGELOG.md",
    ROOT / "deploy" / "README.md",
    *sorted(DOCS.glob("*.md")),
]
LANGUAGES = ("sh", "sql", "yaml", "json", "text", "mermaid")
"""What a block may be; in a page that is followed also what is run there."""
RUN = ("console", "console fails", "python", "diff")

_CODE = re.compile(r"`([^`\n]+)`")
_REQUIRED = {
    Contract: {
        "contract": "a/b/1.0.0",
        "state": "active",
        "schema": "s.json",
        "time_field": "t",
        "key_field": "k",
    },
    StreamSettings: {"description": "…"},
}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_links_lead_somewhere(page: Path):
    for link in links(read(page)):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(read(target)), link


def test_every_page_is_in_the_index():
    index = {link.partition("#")[0] for link in links(read(DOCS / "README.md"))}
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= index


def test_commands_of_blocks_can_be_meant(page: Path):
    for block in blocks(read(page)):
        for words in _pii(block):
            command, path, rest = _command(words)
            try:
                command.make_context(path, list(rest))
            except click.MissingParameter as missing:
                raise AssertionError(f"{shlex.join(words)}: {missing.message}") from None
            except click.BadParameter as wrong:
                # A file that is not here.
                assert wrong.param and isinstance(wrong.param.type, click.Path | click.File), (
                    f"{shlex.join(words)}: {wrong}"
                )
            except click.exceptions.Exit:
                assert "--help" in rest


def test_commands_in_the_text_exist(page: Path):
    for said in _CODE.findall(prose(read(page))):
        if not said.startswith("pii ") or "…" in said:
            continue
        for one in _alternatives(shlex.split(said)):
            command, path, rest = _command(one)
            command.make_parser(click.Context(command, info_name=path)).parse_args(rest)


def _pii(block: Block) -> Iterator[list[str]]:
    """The commands of ours in a block, as words."""
    if block.language.startswith("console"):
        lines = [command for command, _ in commands(block)]
    elif block.language == "sh":
        lines = [block.text]
    else:
        return
    for line in lines:
        said = re.sub(r"\s+(# .*|> [\w./-]+$)", "", line)
        lexer = shlex.shlex(said, posix=True, punctuation_chars="|;&()\n")
        lexer.whitespace, lexer.whitespace_split = " \t", True
        found: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip("|;&()\n"):
                found.append(word)
                continue
            if found and Path(found[0]).name == "pii":
                yield found
            found = []


def _command(words: list[str]) -> tuple[click.Command, str, list[str]]:
    """The command of ``pii …``, its name, and the words behind that."""
    command: click.Command = cli
    path, rest = "pii", words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        inner = command.get_command(click.Context(command), rest[0])
        assert inner is not None, f"{path} has no command {rest[0]}: {shlex.join(words)}"
        command, path, rest = inner, f"{path} {rest[0]}", rest[1:]
    return command, path, rest


def _alternatives(words: list[str]) -> Iterator[list[str]]:
    """``contract check|show`` as the two that it is short for."""
    at = next((number for number, word in enumerate(words) if "|" in word), None)
    if at is None:
        yield words
        return
    for word in words[at].split("|"):
        yield [*words[:at], word, *words[at + 1 :]]


def test_settings_are_read(page: Path):
    files = (settings.__file__, relay_settings.__file__, connection.__file__)
    source = "".join(Path(file).read_text("utf-8") for file in files)
    zones = {f"PII_{zone.upper()}_URI" for zone in settings.ZONES}
    for name in re.findall(r"\bPII_[A-Z0-9_]+\b", read(page)):
        assert name in zones or f'"{name}"' in source, name


def test_every_setting_is_documented():
    known = set(re.findall(r'"(PII_[A-Z0-9_]+|DAGSTER_HOME)"', Path(settings.__file__).read_text("utf-8")))
    readme = read(ROOT / "README.md")
    assert [name for name in sorted(known) if f"`{name}`" not in readme] == []


def test_make_targets_exist(page: Path):
    makefile = read(ROOT / "Makefile")
    for target in re.findall(r"(?:^|`|\$ )make ([a-z]+)", read(page), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_yaml_can_be_read(page: Path):
    for block in blocks(read(page)):
        # What is written to a file is checked where the page is followed.
        if block.language != "yaml" or block.file:
            continue
        data = yaml.safe_load(block.text)
        model = next((model for model in (Contract, StreamSettings) if set(data) <= set(keys(model))), None)
        assert model is not None, f"line {block.line}: neither of contract.yaml nor of stream.yaml"
        model.model_validate(_REQUIRED[model] | data)


def test_treatments_can_be_read(page: Path):
    adapter = TypeAdapter(AnyTreatment)
    for said in _CODE.findall(read(page)):
        if re.match(rf"\{{({'|'.join(TREATMENTS)}): ", said) and "…" not in said:
            adapter.validate_python(yaml.safe_load(said))


def test_no_path_of_a_machine_is_named(page: Path):
    for path in re.findall(r"(?<![\w.…/\])}])(?:/[\w.@-]+){2,}", read(page)):
        personal = re.match(r"/(home|root|Users|tmp|mnt|private)/", path)
        assert not personal, path
        assert not Path(path).exists() or path.startswith(("/dev/", "/usr/bin/")), path


@pytest.mark.parametrize("name", [page.name for page in DOCS.glob("*.md")])
def test_every_block_says_what_it_is_and_nothing_is_shown_that_is_not_run(name: str):
    before = ""
    for block in blocks(read(DOCS / name)):
        allowed = (*LANGUAGES, *RUN) if name in FOLLOWED else LANGUAGES
        assert block.language in allowed, (
            f"{name}:{block.line}: a block is one of {', '.join(allowed)}; what a command prints is a "
            "`console` block of a page in FOLLOWED (pii_pipeline_tests/documentation/pages.py)"
        )
        if name in FOLLOWED and block.language == "text":
            assert before == "python", f"{name}:{block.line}: output of what?"
        assert block.language != "diff" or block.file, f"{name}:{block.line}: of which file?"
        before = block.language


def test_every_reason_and_column_of_bad_events_is_documented():
    text = read(DOCS / "bad-events.md")
    reasons = {*failures.FailureType.__args__, *problems.ProblemType.__args__}
    assert [name for name in sorted(reasons | set(bad_events.SCHEMA.names)) if f"`{name}`" not in text] == []
