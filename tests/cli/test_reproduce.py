"""`fathom reproduce`: what it prints, what it writes, its exit codes."""

import dataclasses
import json

import numpy as np
import pytest

from fathom.cli import main
from fathom.reproduce import drawing, registry
from fathom.reproduce.base import Estimate, Experiment, Outcome, Reading, Work


def compute(runs: int, seed: int) -> Outcome:
    return Outcome({"level": Estimate.of(np.arange(runs) + float(seed)), "extra": Estimate(2.0)})


def draw(figure, outcome, readings) -> None:
    drawing.panel(figure, 111, "Nothing", "", "")


EXPERIMENTS = {
    name: Experiment(name, f"the {name}", "a book", 3, compute, draw, (Reading("level", value, axis=10.0),))
    for name, value in {"figure-0.1": 1.0, "figure-0.2": 5.0}.items()
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(registry, "experiments", lambda: dict(EXPERIMENTS))


def test_a_reading_that_is_met_gives_zero(capsys, tmp_path):
    assert main(["reproduce", "figure-0.1", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "figure-0.1: the figure-0.1" in err
    level = next(line for line in out.splitlines() if line.startswith("level"))
    assert level.split() == ["level", "1", "−1.484", "to", "3.484", "1", "met"]
    assert next(line for line in out.splitlines() if line.startswith("extra")).split() == [
        "extra",
        "2",
        "–",
        "–",
    ]
    assert {p.name for p in tmp_path.iterdir()} == {"figure-0.1.png", "figure-0.1.json"}
    assert str(tmp_path / "figure-0.1.png") in out


def test_one_that_is_missed_gives_one(capsys, tmp_path):
    assert main(["reproduce", "figure-0.1", "figure-0.2", "--out", str(tmp_path)]) == 1
    assert "MISSED: more than 0.2 away" in capsys.readouterr().out
    assert json.loads((tmp_path / "figure-0.2.json").read_text())["met"] is False


def test_json_is_all_that_is_printed(capsys, tmp_path):
    arguments = ["reproduce", "all", "--out", str(tmp_path), "--runs", "7", "--seed", "2", "--json"]
    assert main(arguments) == 1
    records = json.loads(capsys.readouterr().out)
    assert [(r["name"], r["runs"], r["seed"]) for r in records] == [
        ("figure-0.1", 7, 2),
        ("figure-0.2", 7, 2),
    ]
    assert [r["readings"][0]["ours"] for r in records] == [5.0, 5.0]
    assert [r["met"] for r in records] == [False, True]


@pytest.mark.parametrize("word", ["list", "LIST"])
def test_the_list_has_a_line_each(capsys, word):
    assert main(["reproduce", word]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}  the {name}  (a book)" for name in EXPERIMENTS]
    assert main(["reproduce", word, "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(EXPERIMENTS)


def test_those_that_take_hours_are_made_only_when_named(capsys, tmp_path, monkeypatch):
    long = dataclasses.replace(EXPERIMENTS["figure-0.1"], name="hours", long=True)
    monkeypatch.setattr(registry, "experiments", lambda: {**EXPERIMENTS, "hours": long})
    main(["reproduce", "all", "--out", str(tmp_path), "--json"])
    assert [r["name"] for r in json.loads(capsys.readouterr().out)] == list(EXPERIMENTS)
    assert main(["reproduce", "hours", "--out", str(tmp_path), "--json"]) == 0
    assert [r["name"] for r in json.loads(capsys.readouterr().out)] == ["hours"]
    main(["reproduce", "list"])
    assert "hours       the figure-0.1  (a book, takes hours: not in `all`)" in capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 200


def arranged(settings: Settings, work: Work) -> Experiment:
    return dataclasses.replace(
        EXPERIMENTS["figure-0.1"], title=f"{settings.steps} steps", settings=settings, arrange=arranged
    )


def test_the_title_tells_the_settings_that_are_given(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "experiments", lambda: {"figure-0.1": arranged(Settings(), Work())})
    assert main(["reproduce", "figure-0.1", "--steps", "50", "--out", str(tmp_path)]) == 0
    assert "figure-0.1: 50 steps" in capsys.readouterr().err


def test_unknown_names_and_none_at_all(capsys, tmp_path):
    assert main(["reproduce", "figure-0.3", "--out", str(tmp_path)]) == 2
    assert "unknown reproduction 'figure-0.3'. Did you mean figure-0" in capsys.readouterr().err
    assert main(["reproduce"]) == 2
    assert "say what to reproduce" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
