"""A server and a browser for the journeys; these are skipped, with the reason, where tools are missing."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START = 120.0  # seconds in which a server answers, compilers included
SETTLE = 30_000  # ms in which the page shows what it was asked for, on a busy machine


@dataclass
class Hub:
    """A server in a process of its own."""

    url: str  # with the token
    folder: Path
    process: subprocess.Popen

    @property
    def origin(self) -> str:
        return self.url.split("/?")[0]

    def trainers(self) -> list[int]:
        """Its trainers' process ids; Linux only."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.process.pid and b"fathom.hub.trainer" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found


@dataclass
class Visit:
    """A page, with all that it complained about and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    expected: str = ""  # what a complaint may say


def _executable() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(
            f"no browser: none of {', '.join(BROWSERS)} is on the path (Debian: `apt install chromium`)"
        )
    return found


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright, which drives the browser."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: `pip install playwright`"
    )
    with api.sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Any) -> Iterator[Any]:
    """The machine's own Chromium."""
    running = playwright.chromium.launch(executable_path=_executable(), args=["--no-sandbox"])
    yield running
    running.close()


def start(folder: Path) -> Hub:
    """Serve a folder on a free port."""
    code = (
        "import sys; from pathlib import Path; from fathom.hub.server import hub; "
        "hub(Path(sys.argv[1]), open_page=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        },
    )
    assert process.stdout is not None
    late = threading.Timer(START, process.kill)
    late.start()
    url = process.stdout.readline().strip()
    late.cancel()
    assert url.startswith("http://127.0.0.1:"), f"the server said {url!r} and ended with {process.poll()}"
    return Hub(url, folder, process)


def stop(hub: Hub) -> None:
    """End the server as Ctrl-C does."""
    hub.process.send_signal(signal.SIGINT)
    try:
        hub.process.wait(15)
    except subprocess.TimeoutExpired:
        hub.process.kill()
        hub.process.wait()
    assert hub.process.stdout is not None
    hub.process.stdout.close()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One server for all journeys; every page has a run of its own."""
    pytest.importorskip("starlette", reason="the extra `hub` is not installed")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: `pip install playwright`")
    _executable()
    running = start(tmp_path_factory.mktemp("served"))
    yield running
    stop(running)


@pytest.fixture
def visit(browser: Any, hub: Hub) -> Iterator[Callable[..., Any]]:
    """Opens pages. At the end: no complaint on the console, no request to elsewhere."""
    visits: list[Visit] = []
    contexts: list[Any] = []

    def go(
        fragment: str = "#/tabular",
        *,
        address: str = "",
        quiet: bool = False,
        expected: str = "",
        **options: Any,
    ) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        context.set_default_timeout(SETTLE)
        contexts.append(context)
        page = context.new_page()
        made = Visit(page, expected=expected)
        if not quiet:
            visits.append(made)
        page.on("console", lambda m: m.type in ("error", "warning") and made.complaints.append(m.text))
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.on("request", lambda request: made.requests.append(request.url))
        page.goto(address or hub.url + fragment)
        return page

    yield go
    for context in contexts:
        for page in context.pages:
            # Left properly, so that its trainer stops, and serves the next journey.
            page.goto("about:blank")
        context.close()
    for made in visits:
        assert [said for said in made.complaints if not made.expected or made.expected not in said] == []
        own = (hub.origin + "/", "data:", f"blob:{hub.origin}/", "file:", "about:")
        assert [url for url in made.requests if not url.startswith(own)] == []


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, the accessibility checker, as installed by `npm ci` in web/."""
    path = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not installed: run `npm ci` in web/")
    return path.read_text()
