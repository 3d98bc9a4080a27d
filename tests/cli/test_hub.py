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


WITHOUT = """
import sys
for name in ("msgpack", "starlette", "uvicorn", "websockets"):
    sys.modules[name] = None
from fathom.cli import main
code = main(sys.argv[1:])
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [["hub"], ["train", "q_learning", "Grid5x5-v0", "--steps", "400", "--watch"]],
    ids=["hub", "watch"],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "pip install 'fathom-rl[hub]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lab_needs_no_extra() -> None:
    lines = WITHOUT.split("from fathom.cli")[0] + "from fathom.hub import Lab, Recipe\nprint(Lab, Recipe)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
