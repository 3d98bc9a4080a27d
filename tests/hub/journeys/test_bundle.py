"""The built page: the same bytes from the same sources, small, and asking nobody for anything."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hub.journeys.conftest import ROOT

WEB, STATIC = ROOT / "web", ROOT / "src" / "fathom" / "hub" / "static"
SCRIPT_AT_MOST = 120 * 1024  # bytes of the page's script, gzipped


def node(*arguments: str) -> subprocess.CompletedProcess:
    """Run Node in web/; left out where it or the packages are not there."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (WEB / "node_modules").is_dir():
        pytest.skip("the page's packages are not installed: run `npm ci` in web/")
    return subprocess.run(["node", *arguments], cwd=WEB, capture_output=True, text=True, check=False)


@pytest.mark.browser
def test_building_again_gives_the_committed_bytes(tmp_path: Path) -> None:
    built = node("build.mjs", str(tmp_path / "static"))
    assert built.returncode == 0, built.stderr
    made = {path.name: path.read_bytes() for path in (tmp_path / "static").iterdir()}
    kept = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert sorted(made) == sorted(kept)
    assert [name for name in made if made[name] != kept[name]] == []


@pytest.mark.browser
def test_the_page_s_own_logic() -> None:
    """Node's test runner over web/test/."""
    ran = node("test.mjs")
    assert ran.returncode == 0, ran.stdout


@pytest.mark.browser
def test_types_hold() -> None:
    checked = node("node_modules/typescript/bin/tsc", "--noEmit")
    assert checked.returncode == 0, checked.stdout


def test_the_script_is_within_its_budget() -> None:
    assert len(gzip.compress((STATIC / "app.js").read_bytes(), 9)) <= SCRIPT_AT_MOST


def test_no_address_of_elsewhere_and_no_inline_script_or_style() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|style=|<script(?![^>]*\bsrc=)|\son\w+=", page)
    for name in ("index.html", "app.js", "app.css", "dashboard.js", "dashboard.css"):
        text = (STATIC / name).read_text()
        # Names of XML vocabularies look like addresses; nothing is fetched from them.
        addresses = set(re.findall(r"https?://[\w./-]+", text))
        assert addresses <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1998/Math/MathML",
            "http://www.w3.org/1999/xhtml",
            "http://www.w3.org/1999/xlink",
        }, name
