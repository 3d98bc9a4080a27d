"""What the figures of tables make of the steps that were played, and the published readings on whole runs."""

import numpy as np
import pytest

from fathom.reproduce import control, dyna, registry, td
from fathom.reproduce.base import reproduce
from fathom.reproduce.exact import tolerance
from fathom.reproduce.trials import Episodes, Trace, Trials

FIGURES = (
    "exact-table",
    "figure-6.2",
    "figure-6.3",
    "figure-6.4",
    "figure-6.6",
    "figure-6.7",
    "figure-7.2",
    "figure-8.2",
    "figure-8.4",
    "figure-8.5",
)


@pytest.fixture
def played(monkeypatch):
    """In place of playing: the i-th learner earns i + 1 a step, or −20 − 10 i in one of 10 + run steps."""

    def begin(self, learners, env, runs, *_, **__):
        self.shape = (len(learners), runs)

    def steps(self, env, count):
        reward = np.broadcast_to(1.0 + np.arange(self.shape[0])[:, None, None], (*self.shape, count))
        over = np.broadcast_to(np.arange(count) % 10 == 9, (*self.shape, count))
        return Trace(reward, over, np.zeros((*self.shape, count)))

    def episodes(self, env, count, at_a_time=0):
        run, episode = np.arange(self.shape[1])[:, None], np.arange(count)
        number = -20.0 - 10.0 * np.arange(self.shape[0])[:, None, None] + 0.0 * run
        length = np.broadcast_to(10 + run + 0 * episode, (*self.shape, count))
        return Episodes(number - 0.0 * episode, length, np.abs(number) / 100.0 + 0.0 * episode)

    for name, function in (("__init__", begin), ("steps", steps), ("episodes", episodes)):
        monkeypatch.setattr(Trials, name, function)


def made(name, tmp_path, runs=3):
    """Our figures by label, once drawn."""
    report = reproduce(registry.get(name), runs)
    picture, _ = report.write(tmp_path)
    assert picture.stat().st_size > 5_000
    return {label: e.value for label, e in report.outcome.figures.items()}


def test_the_cliff_by_step_size(played, tmp_path):
    """The learner of the i-th of ten step sizes returns −20 − 10 i."""
    figures = made("figure-6.3", tmp_path)
    for method in control.METHODS:
        for kind in ("interim", "asymptotic"):
            assert figures[f"{method}, α = 0.1: {kind} return"] == -20
            assert figures[f"{method}, α = 1: {kind} return"] == -110


def test_the_cliff_online(played, tmp_path):
    figures = made("figure-6.4", tmp_path)
    for method in ("SARSA", "Q-learning"):
        assert figures[f"{method}: return online"] == -20
        assert figures[f"{method}, α = 0.1: return online"] == -30
        assert figures[f"{method}, α = 0.5: return online"] == -40


def test_the_windy_grid_counts_episodes(played, tmp_path):
    assert made("figure-6.6", tmp_path) == {
        "SARSA: episodes in 8,000 steps": 800,
        "SARSA: steps an episode over the last 2,000": 10,
    }


def test_left_is_an_episode_of_more_than_one_step(played, tmp_path):
    assert set(made("figure-6.7", tmp_path).values()) == {100.0}


def test_spans_are_judged_at_their_best_step_size(played, tmp_path):
    """The error of the i-th step size is 0.2 + 0.1 i."""
    figures = made("figure-7.2", tmp_path)
    assert figures == {f"n = {n}, α = 0.01, its best: RMS error": pytest.approx(0.2) for n in td.SPANS}


def test_planning_is_judged_by_the_steps_of_one_episode(played, tmp_path):
    figures = made("figure-8.2", tmp_path)  # 10, 11 and 12 steps in the three runs
    assert len(figures) == 6
    assert set(figures.values()) == {11.0}


@pytest.mark.parametrize(
    ("name", "before", "steps"), [("figure-8.4", 1_000, 3_000), ("figure-8.5", 3_000, 6_000)]
)
def test_rewards_add_up_over_the_change_of_the_maze(name, before, steps, played, tmp_path):
    figures = made(name, tmp_path)
    for label, a_step in (("Dyna-Q", 1), ("Dyna-Q+", 2)):
        assert figures[f"{label}: reward of the {before:,} steps before the change"] == a_step * before
        assert figures[f"{label}: reward of all {steps:,} steps"] == a_step * steps


def test_the_published_readings_are_as_they_were_read():
    published = {e.name: [r.value for r in e.readings] for e in registry.experiments().values()}
    assert published["figure-6.4"] == [-25, -50]
    assert published["figure-6.7"] == [94, 13, 7]
    assert published["figure-8.2"] == [18, 18, 18]
    assert dyna.REACHED == {0: 25, 5: 5, 50: 3}
    judged = {
        "figure-2.2",
        "figure-2.3",
        "figure-2.4",
        "figure-6.4",
        "figure-6.7",
        "figure-8.2",
        "exact-table",
    }
    assert {name for name, readings in published.items() if readings} == judged


def test_an_exact_value_is_known_to_half_its_last_decimal():
    assert tolerance("0.7402") == pytest.approx(5e-5)
    assert tolerance("574.95") == pytest.approx(0.005)
    assert tolerance("-13") == 1e-6


def test_the_likeliest_model_of_counted_steps():
    # One state between the ends: a quarter of the steps led left, three quarters right.
    counts = np.zeros((3, 3))
    counts[1, 0], counts[1, 2] = 1, 3
    assert td.certainty_equivalent(counts) == pytest.approx([0.75])
    # B led to A each time, and A to B or the left end: both are worth 0. C was never met.
    counts = np.zeros((5, 5))
    counts[1, 0] = counts[1, 2] = counts[2, 1] = 2
    assert td.certainty_equivalent(counts) == pytest.approx([0.0, 0.0, 0.5], abs=1e-12)
    # Each step as likely as the other: V(A) = V(B) / 2, V(B) = V(A) / 2 + 1/2.
    full = np.zeros((4, 4))
    full[1, 0] = full[1, 2] = full[2, 1] = full[2, 3] = 5
    assert td.certainty_equivalent(full) == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_whole_figures_are_drawn_and_their_readings_met(name, tmp_path):
    report = reproduce(registry.get(name))
    assert not [r for r in report.record()["readings"] if not r["met"]]
    assert report.write(tmp_path)[0].stat().st_size > 5_000


@pytest.mark.slow
def test_two_solvers_agree_on_every_exact_value():
    figures = reproduce(registry.get("exact-table")).outcome.figures
    assert figures["greatest difference of two solvers"].value < 1e-6


@pytest.mark.slow
def test_a_plan_that_is_renewed_finds_the_shortcut():
    """Once it has opened Dyna-Q+ earns more, whatever its bonus cost it before."""
    figures = reproduce(registry.get("figure-8.5")).outcome.figures
    late = {
        label: figures[f"{label}: reward of all 6,000 steps"].value
        - figures[f"{label}: reward of the 3,000 steps before the change"].value
        for label in ("Dyna-Q", "Dyna-Q+")
    }
    assert late["Dyna-Q+"] > 1.2 * late["Dyna-Q"]
