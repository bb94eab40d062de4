"""Dagster's web server over a deployment, and its pages in a real Chromium."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from pii_pipeline.settings import project_root
from pii_pipeline_tests.end_to_end.deployment import Deployment
from pii_pipeline_tests.end_to_end.test_canaries import MARK

SCREENSHOTS = Path(os.environ.get("PII_SCREENSHOTS") or project_root() / "var" / "screenshots")

SIZE: ViewportSize = {"width": 1600, "height": 1000}
"""Of the page, in pixels."""

_START = 90.0
_STOP = 20.0
"""Seconds that the server may take."""
_PATIENCE = 30_000.0
"""Milliseconds that something may take to appear."""

_QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """The Chromium to drive: that of PII_CHROMIUM, or the system's; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("PII_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def web_server(deployment: Deployment) -> Iterator[str]:
    """The address of a web server over the deployment's Dagster; it and all it started end with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = deployment.folder / "webserver.log"
    command = [str(Path(sys.executable).parent / "dagster-webserver"), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workspace", str(project_root() / "workspace.yaml")]
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            env=deployment.environment,
            cwd=deployment.folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_served(address, server, log)
        yield address
    finally:
        _end(server)


def _wait_until_served(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + _START
    while True:
        assert server.poll() is None and time.monotonic() < give_up, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{address}/server_info", timeout=5):
            return
        time.sleep(0.1)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server's process group: the server, and the process that loads the definitions for it."""
    give_up = time.monotonic() + _STOP
    signals = [signal.SIGTERM]
    while True:
        try:
            os.killpg(server.pid, signals.pop() if signals else 0)
        except ProcessLookupError:
            return
        server.poll()  # a child that ended is there until somebody looks
        if time.monotonic() > give_up:
            signals, give_up = [signal.SIGKILL], give_up + _STOP
        time.sleep(0.05)


@contextmanager
def browser_page(executable: str) -> Iterator[Page]:
    """A page of a Chromium without a window."""
    flags = [*_QUIET, "--no-sandbox"] if os.geteuid() == 0 else [*_QUIET]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            page = browser.new_page(viewport=SIZE, timezone_id="UTC")
            # As somebody leaves it who hides the navigation: more room for what the pictures are of.
            page.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
            page.set_default_timeout(_PATIENCE)
            expect.set_options(timeout=_PATIENCE)
            yield page
        finally:
            browser.close()


class Ui:
    """Dagster's UI as somebody sees it who opens the catalogue."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self._address = address

    def open(self, path: str) -> Page:
        """The page at `path`."""
        self.page.goto(self._address + path)
        return self.page

    def asset(self, stream: str, dataset: str, view: str = "overview") -> Page:
        """A tab of an asset's page."""
        return self.open(f"/assets/{stream}/{dataset}?view={view}")

    def column(self, name: str) -> Locator:
        """The row of a column in the table of the asset that is open."""
        cell = self.page.locator("td:first-child").get_by_text(name, exact=True)
        return self.page.locator("tr").filter(has=cell)

    def graphql(self, query: str) -> dict:
        """The server's answer to a query."""
        answer = self.page.request.post(f"{self._address}/graphql", data={"query": query}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def picture(self, name: str) -> None:
        """Writes a screenshot, of a page that holds no canary and shows no path of this machine."""
        assert MARK not in self.page.content().lower()
        assert str(project_root()) not in self.page.inner_text("body")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(self.page.screenshot(animations="disabled")))
        # 256 colours: the pages use few, and the file is a third of the size.
        picture.quantize().save(SCREENSHOTS / f"{name}.png", optimize=True)
