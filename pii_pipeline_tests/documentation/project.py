"""A copy of the project in which a page's commands are run, as its reader would in a clone."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from pii_pipeline_tests.documentation.markdown import ROOT

SECONDS = 300
"""How long one command may take."""

_END = "\x1e"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NOT_COPIED = shutil.ignore_patterns("var", ".venv", ".git", "__pycache__", "*.egg-info", ".*_cache")


class Project:
    """The copy at `folder`, and a shell in it that goes on from command to command.

    What ``make`` would install is there already: the Python that runs this. So nothing is downloaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=_NOT_COPIED)
        _install(folder / ".venv")
        # Without what a `make test` around this says to the `make` that a page calls.
        others = ("PII_", "DAGSTER_", "MAKE", "MFLAGS")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(others)}
        modules = os.pathsep.join(filter(None, (str(folder), kept.get("PYTHONPATH"))))
        self._environment = kept | {"PYTHONPATH": modules}
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def close(self) -> None:
        """Ends the shell and whatever it left running."""
        _kill(self._shell)

    def run(self, command: str) -> tuple[str, int]:
        """What `command` prints, standard error too, and its exit code. The copy's path is told as ``…``."""
        if command == "make ui":
            return self._user_interface(), 0
        assert self._shell.stdin and self._shell.stdout
        self._shell.stdin.write(f"eval {shlex.quote(command)} </dev/null; printf '{_END}%s\\n' $?\n")
        self._shell.stdin.flush()
        overdue = Timer(SECONDS, self.close)
        overdue.start()
        output = ""
        try:
            for line in self._shell.stdout:
                printed, ended, code = line.partition(_END)
                output += printed
                if ended:
                    return self._shown(output), int(code)
        finally:
            overdue.cancel()
        raise AssertionError(f"the shell ended, or took more than {SECONDS} s: {command}\n{output}")

    def script(self, code: str) -> tuple[str, int]:
        """What a Python script prints, and its exit code; standard error only where it failed."""
        file, errors = (self.folder.with_suffix(suffix) for suffix in (".py", ".errors"))
        file.write_text(code, "utf-8")
        python, log = (shlex.join([".venv/bin/python", str(file)]), shlex.quote(str(errors)))
        return self.run(f"{python} 2>{log} || (cat {log}; exit 1)")

    def write(self, name: str, text: str) -> None:
        """Writes a file of the project."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def change(self, name: str, difference: str) -> None:
        """Replaces the lines that begin with ``-`` by those that begin with ``+``, others around them."""
        lines = [line if line.strip() else " \n" for line in difference.splitlines(keepends=True)]
        old, new = ("".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in "-+")
        text = (self.folder / name).read_text("utf-8")
        assert text.count(old) == 1, f"{name} has these lines {text.count(old)} times:\n{old}"
        self.write(name, text.replace(old, new))

    def _shown(self, output: str) -> str:
        plain = _COLOURS.sub("", output).replace(str(self.folder.resolve()), "…")
        return plain.replace(str(self.folder), "…")

    def _user_interface(self) -> str:
        """What ``make ui`` prints until the UI answers; then it is ended."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(
            ["make", "ui", f"PORT={port}"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/server_info", server)
        finally:
            _kill(server)
        assert server.stdout is not None
        return self._shown(server.stdout.read().replace(f":{port}", ":3000"))


def _install(venv: Path) -> None:
    """Has what make and the pages call from `venv` go to the environment that this runs in."""
    (venv / "bin").mkdir(parents=True)
    for name in ("python", "pii", "dagster"):
        file = venv / "bin" / name
        file.write_text(
            f'#!/bin/sh\nexec {shlex.quote(str(Path(sys.executable).parent / name))} "$@"\n', "utf-8"
        )
        file.chmod(0o755)
    (venv / "installed").touch()


@contextmanager
def project(folder: Path) -> Iterator[Project]:
    """A copy of the project at `folder`, until the end of the block."""
    copy = Project(folder)
    try:
        yield copy
    finally:
        copy.close()


def _wait_for(url: str, server: subprocess.Popen[str]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    _kill(server)
    assert server.stdout is not None
    raise AssertionError(f"{url} does not answer:\n{server.stdout.read()}")


def _kill(process: subprocess.Popen[str]) -> None:
    """Ends a process and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
