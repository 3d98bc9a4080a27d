"""What is counted of MountainCar's episodes, and on whole runs who learns sooner."""

import numpy as np
import pytest

from fathom.reproduce import linear, registry, traces
from fathom.reproduce.base import Estimate, reproduce
from fathom.reproduce.curves import Curve


def test_cut_episodes_are_counted_among_all():
    steps = np.full((2, 3, 4), 200)
    steps[0, 1, 2] = steps[1, 0, 0] = linear.CAP
    assert linear.cut(steps, steps) == {"episodes cut at 5,000 steps, of 48": Estimate(4.0)}


def test_the_best_of_a_curve_names_its_step_size():
    curve = Curve.of([0.2, 0.4], np.array([[300.0, 250.0]]))
    assert linear.best_of({"n = 2": curve}, "steps") == {"n = 2, best α × 8 = 0.4: steps": Estimate(250.0)}


@pytest.fixture
def driven(monkeypatch):
    """In place of driving: the first learner's episodes take 300 steps, each further one's 10 more."""

    def steps_of(learners, runs, episodes, seed):
        return np.broadcast_to(
            300 + 10 * np.arange(len(learners))[:, None, None], (len(learners), runs, episodes)
        )

    for module in (linear, traces):
        monkeypatch.setattr(module, "steps_of", steps_of)


@pytest.mark.parametrize(
    ("name", "best", "cut"),
    [
        ("figure-10.2", "α = 0.1/8: steps of the first 50 episodes", "episodes cut at 5,000 steps, of 4,500"),
        (
            "figure-10.3",
            "n = 1, α = 0.5/8: steps of the last 100 episodes",
            "episodes cut at 5,000 steps, of 3,000",
        ),
        (
            "figure-10.4",
            "n = 4, best α × 8 = 0.2: steps of the first 50 episodes",
            "episodes cut at 5,000 steps, of 5,100",
        ),
        (
            "figure-12.10",
            "λ = 0.84, best α × 8 = 0.2: steps of the first 50 episodes",
            "episodes cut at 5,000 steps, of 13,500",
        ),
        (
            "figure-12.11",
            "SARSA(λ), accumulating traces, best α × 8 = 0.05: steps of the first 20 episodes",
            "episodes cut at 5,000 steps, of 1,620",
        ),
    ],
)
def test_figures_of_the_car_are_drawn_and_reported(name, best, cut, driven, tmp_path):
    report = reproduce(registry.get(name), runs=3)
    figures = {label: e.value for label, e in report.outcome.figures.items()}
    assert figures[best] == 300
    assert figures[cut] == 0
    assert report.write(tmp_path)[0].stat().st_size > 5_000


@pytest.mark.slow
def test_eight_steps_learn_sooner_than_one():
    figures = reproduce(registry.get("figure-10.3")).outcome.figures
    early = [e for label, e in figures.items() if label.endswith(linear.EARLY_STEPS)]
    assert early[1].value < early[0].value


@pytest.mark.slow
def test_replacing_traces_learn_sooner_than_accumulating_ones():
    curves = reproduce(registry.get("figure-12.11")).outcome.data["curves"]
    dutch, replacing, accumulating = (one.at(one.lowest).value for one in curves.values())
    assert dutch < accumulating
    assert replacing < accumulating
