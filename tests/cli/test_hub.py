"""`fathom hub`, `fathom play`, `fathom dashboard`, and `fathom train --watch` where it cannot."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fathom.cli import main
from fathom.hub.recipe import Recipe, from_link, to_link


def test_play_writes_results_and_dashboard_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "results.json", tmp_path / "page.html"
    assert main(["play", "--episodes", "2", "--max-steps", "20", "-o", str(out)]) == 0
    told = json.loads(out.read_text())
    assert [len(env["returns"]) for env in told["envs"]][:2] == [2, 2]
    assert "MountainCar-v0" in capsys.readouterr().err
    assert main(["dashboard", str(out), "-o", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert "MountainCar-v0" in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["play", "--episodes", "0"], "episodes is 0"),
        (["play", "--policy", "best"], "no policy 'best'"),
        (["dashboard", "nowhere"], "there is no nowhere"),
        (["hub", "nowhere"], "no folder nowhere"),
        (["hub", "--share", "nonsense"], "no share link"),
        (["train", "q_learning", "Grid5x5-v0", "--record"], "give --watch"),
    ],
)
def test_mistakes_are_told(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_hub_prints_an_address_that_answers(tmp_path: Path) -> None:
    link = to_link(Recipe("q_learning", "Grid5x5-v0", seeds=1), [], 5)
    words = [
        sys.executable,
        "-m",
        "fathom",
        "hub",
        str(tmp_path),
        "--no-browser",
        "--share",
        f"http://x/#share={link}",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        url = hub.stdout.readline().strip()
        address, _, fragment = url.partition("#")
        assert from_link(fragment)[2] == 5
        with urllib.request.urlopen(address) as page:
            assert page.status == 200
        hub.terminate()
        hub.communicate(timeout=60)
