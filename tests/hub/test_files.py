"""Runs and results side by side, and the page that holds the comparison."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fathom.core.errors import FathomError
from fathom.hub import files
from fathom.hub.dashboard import page, write_dashboard
from fathom.hub.play import play, write_results
from fathom.runs.folder import RunFolder


def _run(path: Path, algorithm: str, returns: list[float], alpha: float = 0.1, finished: bool = True) -> None:
    folder = RunFolder.create(
        path,
        {
            "algorithm": {
                "name": algorithm,
                "class": "x:Y",
                "fields": {"learning_rate": alpha, "gamma": 0.9},
            },
            "env": {"id": "CartPole-v1"},
            "backend": "native",
            "preset": None,
            "seeds": len(returns),
        },
    )
    for u in (1, 2, 3):
        folder.append_metrics(
            {
                "update": u,
                "env_steps": 10 * u,
                "sums": {"episode_return": [r * u for r in returns]},
                "counts": {"episode_return": [1.0] * len(returns)},
            }
        )
    if finished:
        folder.write_summary({"returns_per_seed": returns, "steps": 30, "steps_per_second": 5.0})
    folder.close()


@pytest.fixture
def served(tmp_path: Path) -> Path:
    _run(tmp_path / "a", "ppo", [10.0, 20.0, 30.0, 40.0])
    _run(tmp_path / "b", "ppo", [30.0, 40.0, 50.0, 60.0], alpha=0.2)
    _run(tmp_path / "deep" / "c", "dqn", [25.0] * 4, finished=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    write_results(tmp_path / "results.json", play(1, 5, "random"))
    return tmp_path


def test_a_folder_is_looked_through(served: Path) -> None:
    found = files.listing(served)
    assert {run["path"]: run["finished"] for run in found["runs"]} == {"a": True, "b": True, "deep/c": False}
    assert [one["path"] for one in found["errors"]] == ["broken/run.json"]
    assert found["results"][0]["envs"][0] == "CartPole-v1"
    run = files.run_of(served / "a", "a")
    assert run["metrics"]["columns"]["episode_return"][2] == [30.0, 60.0, 90.0, 120.0]
    assert run["metrics"]["env_steps"] == [10, 20, 30]


def test_groups_and_improvement_by_hand(served: Path) -> None:
    told = files.compared(served)
    assert [row["mean"] for row in told["rows"]] == [25.0, 45.0, 75.0]
    assert [row["iqm"] for row in told["rows"][:2]] == [25.0, 45.0]
    groups = {g["key"]: g for g in told["groupings"]["algorithm"]}
    assert (groups["ppo"]["n"], groups["ppo"]["mean"], groups["ppo"]["runs"]) == (8, 35.0, [0, 1])
    # Sorted 10 20 30 30 40 40 50 60: a quarter is cut at each end.
    assert groups["ppo"]["iqm"] == 35.0
    assert set(told["groupings"]) == {"algorithm", "env", "preset", "learning_rate"}
    # Of 16 pairs b is above in 13 and equal in 2: 30-30 and 40-40.
    p = next(x["p"] for x in told["improvement"] if (x["a"], x["b"]) == (1, 0))
    assert p == (13 + 0.5 * 2) / 16
    json.dumps(told, allow_nan=False)


class _Loads(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.data = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found += [v for k, v in attrs if k in ("src", "href")]
        self._inside = ("id", "fathom-data") in attrs

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def test_the_dashboard_is_one_file(served: Path) -> None:
    out = served / "out" / "page.html"
    told = write_dashboard([served], out)
    text = out.read_text(encoding="utf-8")
    parser = _Loads()
    parser.feed(text)
    assert parser.found == []
    assert json.loads(parser.data) == told
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:)[a-z/.]", text.partition("</style>")[0])


def test_a_runs_name_cannot_end_the_script(served: Path) -> None:
    told = files.compared(served)
    told["rows"][0]["name"] = "</script><script>alert(1)</script><!--"
    parser = _Loads()
    parser.feed(page(told))
    assert json.loads(parser.data)["rows"][0]["name"] == "</script><script>alert(1)</script><!--"


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[]")
    for paths, said in (
        ([tmp_path / "results.json"], "no results file"),
        ([tmp_path / "none"], "there is no"),
        ([], "nothing to compare"),
        ([tmp_path], "nothing to compare was found"),
    ):
        with pytest.raises(FathomError, match=said):
            write_dashboard(paths, tmp_path / "page.html")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generated_at": 1}, "generated_at is no text"),
        ({"episodes_per_env": -1}, "episodes_per_env"),
        ({"envs": {}}, "envs is no list"),
        ({"envs": [{"env_id": 1}]}, r"envs\[0\].env_id"),
        ({"envs": [{"env_id": "a", "policy": "b", "episodes": 1, "avg_return": "x"}]}, "avg_return"),
    ],
)
def test_malformed_results_say_where(change: dict, said: str) -> None:
    good = play(1, 2, "random")
    assert files.checked_results(json.dumps(good).encode()) == good
    with pytest.raises(FathomError, match=said):
        files.checked_results(json.dumps(good | change).encode())
    with pytest.raises(FathomError, match="not JSON"):
        files.checked_results(b"\xff")


def test_play_has_the_fixed_format() -> None:
    told = play(episodes=3, max_steps=40, policy="auto", seed=1)
    assert list(told) == ["generated_at", "episodes_per_env", "policy", "envs"]
    env = told["envs"][1]
    assert list(env) == ["env_id", "policy", "episodes", "avg_return", "best_return", "returns"]
    assert (env["env_id"], env["policy"]) == ("MountainCar-v0", "velocity-sign")
    assert [list(one) for one in env["returns"]] == [["episode", "return_", "length"]] * 3
    assert env["returns"][0] == {"episode": 0, "return_": -40.0, "length": 40}
    again = play(episodes=3, max_steps=40, policy="auto", seed=1)
    assert again["envs"] == told["envs"]


def test_the_velocity_sign_climbs_the_hill() -> None:
    mountain = next(e for e in play(5, 500, "auto")["envs"] if e["env_id"] == "MountainCar-v0")
    assert all(one["length"] < 200 for one in mountain["returns"])


@pytest.mark.parametrize(
    ("settings", "said"), [((0, 1), "episodes"), ((1, 0), "max_steps"), ((1, 1, "none"), "none")]
)
def test_play_says_what_is_wrong(settings: tuple, said: str) -> None:
    with pytest.raises(FathomError, match=said):
        play(*settings)
