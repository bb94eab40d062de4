"""deploy/Dockerfile: what it is made from, what is in it, and what is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pii_pipeline.settings import project_root
from pii_pipeline_tests.deploy.compose import DEPLOY, dockerfile, image_environment

ROOT = project_root()


def test_it_runs_as_nobody_of_the_host_and_owns_nothing_of_itself() -> None:
    last = max(number for number, (name, _) in enumerate(dockerfile()) if name == "FROM")
    stage = dockerfile()[last:]
    (user,) = [rest for name, rest in stage if name == "USER"]
    number, group = map(int, user.split(":"))
    assert number == group >= 10000
    assert not [rest for name, rest in stage if name == "COPY" and "--chown" in rest]


def test_the_base_is_one_that_is_named_to_the_patch() -> None:
    arguments = dict(rest.split("=") for name, rest in dockerfile() if name == "ARG")
    assert re.fullmatch(r"3\.13\.\d+-slim-\w+", arguments["PYTHON"])
    assert {rest.split()[0] for name, rest in dockerfile() if name == "FROM"} == {"python:${PYTHON}"}


def test_the_builder_sees_what_is_copied_and_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    seen = {line.removeprefix("!") for line in rules if line.startswith("!")}
    copied = {
        source
        for name, rest in dockerfile()
        if name == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    }
    assert seen == copied
    assert all((ROOT / source).exists() for source in seen)
    assert not [source for source in seen if source.startswith(("var", ".", "deploy/.env"))]


def _locked() -> dict[str, Version]:
    """Every package of the lock, and that each of them has a hash."""
    text = (DEPLOY / "requirements.lock").read_text()
    found = re.findall(r"^([a-zA-Z0-9._-]+)(?:\[[^]]*\])?==(\S+) \\\n    --hash=sha256:", text, re.M)
    assert len(found) == len(re.findall(r"^\S+==", text, re.M)) > 50
    return {canonicalize_name(name): Version(version) for name, version in found}


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """`make lock` makes it again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = _locked()
    asked = [*project["dependencies"], *project["optional-dependencies"]["kubernetes"]]
    for requirement in map(Requirement, asked):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, made of what the builder sees, as the Dockerfile makes it."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pii_pipeline", folder / "pii_pipeline", ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."]
    subprocess.run(command, cwd=folder, check=True)
    (made,) = (folder / "dist").iterdir()
    return made


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    """Also those that are not Python: streams to start from, migrations."""
    package = ROOT / "pii_pipeline"
    files = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == files


def test_the_streams_of_the_image_are_whole(wheel: Path, tmp_path: Path) -> None:
    """A link of streams/ leads into the package, which is elsewhere in the image. The installed wheel loads
    them with the image's settings, outside of any checkout."""
    copied = tmp_path / "streams"
    (command,) = [rest for name, rest in dockerfile() if name == "RUN" and rest.startswith("cp ")]
    shell = command.replace(" streams /opt/pii/streams", f" {ROOT / 'streams'} {copied}")
    subprocess.run(shell.split(), check=True)
    assert not [path for path in copied.rglob("*") if path.is_symlink()]
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environment = {
        "PATH": "/usr/bin:/bin",
        **{name: value for name, value in image_environment().items() if name.startswith("PYTHON")},
        "PYTHONPATH": str(tmp_path / "installed"),
        "PII_STREAMS_DIR": str(copied),
    }
    assert image_environment()["PII_STREAMS_DIR"] == "/opt/pii/streams"
    program = (
        "import pii_pipeline; from pii_pipeline.definitions import build; "
        "from pii_pipeline.pipeline.installation import Installation; "
        "from pii_pipeline.settings import read_settings; "
        "found = Installation(read_settings()); build(found); print(pii_pipeline.__file__, *found.streams)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    place, *streams = done.stdout.split()
    assert place.startswith(str(tmp_path / "installed"))
    assert set(streams) == {path.name for path in (ROOT / "streams").iterdir()}
