"""Every example runs from beginning to end, in few steps, as a user would run it."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# What each says at its end, where it goes well however little it has learned.
SAYS = {
    "train_cartpole": ["mean return over 10 seeds: ", "one episode by seed "],
    "own_environment": ["Heating (gymnasium): fine", "PPO: -", "a thermostat: -"],
    "own_native_environment": ["TimeLimit (native): fine", "Earth: return of each seed", "Mars: return of"],
    "own_gridworld": ["TimeLimit (native): fine", "with the bridge:", "without it:", "value of the start"],
    "resume_and_fork": ["resumed at step ", "resumed 100.0%", "forked: mean return "],
    "action_masks": ["won minus lost", " 1 stones: take 1  right", " 4 stones: take "],
    "change_settings_live": ["· train", " steps  return ", "greedy return: ", "interventions: "],
    "exact_solution": ["value of the start: 0.542026", "within 100 steps: 0.7402", "clock: 0.7442"],
    "compare_seeds": ["careful: mean ", "bold: mean ", "with probability ", "curves: compare_seeds.png"],
}
STEPS = {"action_masks": 2_000}  # DQN begins to learn after 1,000


QUICK = ("own_environment", "train_cartpole")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in sorted(SAYS)]
)
def test_the_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEPS", str(STEPS.get(name, 2)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    out = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in out
    if name == "compare_seeds":
        assert (tmp_path / "compare_seeds.png").stat().st_size > 10_000


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_is_short(name: str) -> None:
    assert 10 <= len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 60
