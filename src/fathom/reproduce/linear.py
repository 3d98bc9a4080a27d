"""Semi-gradient SARSA with tile coding on MountainCar: Sutton & Barto 2018, Figures 10.2 to 10.4."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.envs.classic.mountain_car import MountainCar
from fathom.envs.wrappers import TimeLimit
from fathom.reproduce import curves, drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings
from fathom.reproduce.curves import Curve
from fathom.reproduce.trials import episodes_apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAP = 5_000  # steps at which an episode is cut, lest an unlearned or diverged policy drive for ever
TILINGS = 8
EPISODES = 500  # of the learning curves
LAST = 100  # of these, the episodes by which their ends are reported
EARLY = 50  # episodes of what is called early performance
EARLY_STEPS = f"steps of the first {EARLY} episodes"
STEPS_AXIS = (150.0, 400.0)  # steps of an episode
CUT = f"episodes cut at {CAP:,} steps"
NOTES = (
    f"an episode is cut after {CAP:,} steps; it counts as {CAP:,}, and its last state is bootstrapped from",
    "8 tilings of 8 × 8 tiles; γ = 1, ε = 0, all values 0 at first, ties at random",
)

Steps = Float[np.ndarray, "learner run episode"]  # of each episode


def steps_of(learners: Sequence[LinearSarsaLambda], runs: int, episodes: int, seed: int) -> Steps:
    """The steps of the first episodes on MountainCar, cut not after 200 but after `CAP` of them."""
    return episodes_apart(learners, TimeLimit(MountainCar(), CAP), runs, episodes, seed).length


def cut(*played: Steps) -> dict[str, Estimate]:
    """How many episodes came to `CAP` steps, among all."""
    number, among = sum(int((one >= CAP).sum()) for one in played), sum(one.size for one in played)
    return {f"{CUT}, of {among:,}": Estimate(float(number))}


def _curves(learners: Mapping[str, LinearSarsaLambda], runs: int, seed: int) -> Outcome:
    """Learning curves by label."""
    steps = dict(zip(learners, steps_of(list(learners.values()), runs, EPISODES, seed), strict=True))
    figures, found = {}, {}
    for label, one in steps.items():
        found[label] = Curve.of(np.arange(1, EPISODES + 1), one)
        figures[f"{label}: {EARLY_STEPS}"] = Estimate.of(one[:, :EARLY].mean(axis=-1))
        figures[f"{label}: steps of the last {LAST} episodes"] = Estimate.of(one[:, -LAST:].mean(axis=-1))
    return Outcome(figures | cut(*steps.values()), {"steps": found, "runs": runs})


_FIGURE_10_2 = {f"α = {alpha}/8": LinearSarsaLambda(n=1, learning_rate=alpha) for alpha in (0.1, 0.2, 0.5)}
_FIGURE_10_3 = {
    "n = 1, α = 0.5/8": LinearSarsaLambda(n=1, learning_rate=0.5),
    "n = 8, α = 0.3/8": LinearSarsaLambda(n=8, learning_rate=0.3),
}


def _draw_learning(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    from matplotlib.ticker import NullLocator

    axes = drawing.panel(figure, 111, "Steps of an episode", "episode", "")
    axes.set_yscale("log")
    ticks = [100, 200, 400, 1_000, 2_000, 5_000]
    axes.set_yticks(ticks, [f"{x:,}" for x in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, EPISODES)
    curves.lines(axes, outcome.data["steps"], curves.colors_of(outcome.data["steps"]), (90, CAP), lw=1.0)
    axes.legend(loc="upper right")
    curves.note(figure, outcome.data["runs"], more=CUT)


# α times the tilings for each n: the larger n, the smaller the α at which it diverges.
_ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
_AT_MOST = {1: 1.6, 2: 1.6, 4: 1.2, 8: 1.0, 16: 0.6}
_AT_LEAST = {1: 0.4, 2: 0.3, 4: 0.2, 8: 0.1, 16: 0.1}


def n_step_study(runs: int, seed: int) -> tuple[dict[str, Curve], list[Steps]]:
    """Steps of each of the first 50 episodes against α, a curve for each n; and what was played."""
    found, played = {}, []
    for n, most in _AT_MOST.items():
        alphas = [a for a in _ALPHAS if _AT_LEAST[n] <= a <= most]
        learners = [LinearSarsaLambda(n=n, learning_rate=a) for a in alphas]
        played.append(steps_of(learners, runs, EARLY, seed))
        found[f"n = {n}"] = Curve.of(alphas, played[-1].mean(axis=-1).T)
    return found, played


def best_of(found: Mapping[str, Curve], what: str) -> dict[str, Estimate]:
    """The lowest point of each curve, labelled with where it lies."""
    return {
        f"{label}, best α × {TILINGS} = {one.x[one.lowest]:g}: {what}": one.at(one.lowest)
        for label, one in found.items()
    }


def draw_by_alpha(
    figure: "Figure",
    place: int,
    title: str,
    found: Mapping[str, Curve],
    ylim: tuple[float, float],
    colors: Callable[[Iterable[str]], dict[str, str]] = curves.shades_of,
) -> Any:
    """A panel of curves against α; `colors` gives each label its own."""
    axes = drawing.panel(figure, place, title, f"α × number of tilings ({TILINGS})", "")
    curves.lines(axes, found, colors(found), ylim, marker="o", ms=2.5)
    return axes


def _study(runs: int, seed: int) -> Outcome:
    found, played = n_step_study(runs, seed)
    return Outcome(best_of(found, EARLY_STEPS) | cut(*played), {"curves": found, "runs": runs})


def _draw_study(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    title = f"Steps of an episode, mean of the first {EARLY}"
    draw_by_alpha(figure, 111, title, outcome.data["curves"], STEPS_AXIS).legend(loc="upper center")
    curves.note(figure, outcome.data["runs"], more=CUT)


EXPERIMENTS = (
    Experiment(
        "figure-10.2",
        f"learning curves of semi-gradient SARSA with tiles on MountainCar ({CUT})",
        "Sutton & Barto 2018, Figure 10.2",
        20,
        lambda runs, seed: _curves(_FIGURE_10_2, runs, seed),
        _draw_learning,
        notes=NOTES,
    ),
    Experiment(
        "figure-10.3",
        f"one-step against 8-step SARSA on MountainCar ({CUT})",
        "Sutton & Barto 2018, Figure 10.3",
        20,
        lambda runs, seed: _curves(_FIGURE_10_3, runs, seed),
        _draw_learning,
        notes=NOTES,
    ),
    Experiment(
        "figure-10.4",
        f"α and n of n-step SARSA on MountainCar, early performance ({CUT})",
        "Sutton & Barto 2018, Figure 10.4",
        10,
        _study,
        _draw_study,
        notes=NOTES,
    ),
)
