"""Semi-gradient SARSA with tile coding on MountainCar: Sutton & Barto 2018, Figures 10.2 to 10.4."""

from typing import TYPE_CHECKING

import numpy as np

from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.envs.classic.mountain_car import MountainCar
from fathom.envs.wrappers import TimeLimit
from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings
from fathom.reproduce.sweep import Curve, Episodes, curve_of, draw_curves, play, stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAP = 5_000  # steps at which an episode is cut, lest an unlearned or diverged policy drive for ever
TILINGS = 8
EPISODES = 500  # of the learning curves
EARLY = 50  # episodes of what is called early performance
BATCH = 64  # runs side by side: their weights fit into a processor's cache

NOTES = (
    f"an episode is cut after {CAP:,} steps; it counts as {CAP:,}, and its last state is bootstrapped from",
    "8 tilings of 8 × 8 tiles; γ = 1, ε = 0, all values 0 at first, ties at random",
)


def mountain_car() -> TimeLimit:
    """The car without the limit of 200 steps, but with that of `CAP`."""
    return TimeLimit(MountainCar(), CAP)


def mean_steps(played: Episodes) -> np.ndarray:
    """Steps of an episode, the mean over episodes, [learner, run]."""
    return played.length.mean(axis=-1)


def cut(*played: Episodes) -> dict[str, Estimate]:
    """How many episodes were cut, among all."""
    number = sum(int(one.truncated.sum()) for one in played)
    among = sum(one.length.size for one in played)
    return {f"episodes cut at {CAP:,} steps, of {among:,}": Estimate(float(number))}


def _curves(settings: dict[str, tuple[int, float]], runs: int, seed: int) -> Outcome:
    """Learning curves of n-step SARSA for each label's n and α times the tilings."""
    played = {
        label: play(
            stack(LinearSarsaLambda(n=n), learning_rate=[alpha]),
            mountain_car(),
            runs,
            EPISODES,
            seed,
            batch=BATCH,
        )
        for label, (n, alpha) in settings.items()
    }
    figures = {}
    for label, one in played.items():
        figures[f"{label}: steps of the first {EARLY} episodes"] = Estimate.of(
            one.length[0, :, :EARLY].mean(axis=-1)
        )
        figures[f"{label}: steps of the last 100 episodes"] = Estimate.of(
            one.length[0, :, -100:].mean(axis=-1)
        )
    return Outcome(figures | cut(*played.values()), {"played": played, "runs": runs})


_FIGURE_10_2 = {f"α = {alpha}/8": (1, alpha) for alpha in (0.1, 0.2, 0.5)}
_FIGURE_10_3 = {"n = 1, α = 0.5/8": (1, 0.5), "n = 8, α = 0.3/8": (8, 0.3)}


def _draw_learning(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Steps of an episode", "episode", "")
    for (label, one), color in zip(outcome.data["played"].items(), drawing.COLORS, strict=False):
        estimates = [Estimate.of(x) for x in one.length[0].T]
        mean = np.array([e.value for e in estimates])
        half = np.array([e.interval[1] - e.value if e.interval else 0.0 for e in estimates])
        # On a logarithmic axis the band must stay above 0.
        half = np.minimum(half, 0.9 * mean)
        drawing.curve(axes, np.arange(1, mean.size + 1), mean, label, color, half, lw=1.0)
    axes.set_yscale("log")
    ticks = [100, 200, 400, 1_000, 2_000, 5_000]
    axes.set_yticks(ticks, [f"{x:,}" for x in ticks])
    axes.yaxis.set_minor_locator(_no_ticks())
    axes.set_ylim(90, CAP)
    axes.set_xlim(0, EPISODES)
    axes.legend(loc="upper right")
    note(figure, outcome.data["runs"])


def _no_ticks():
    from matplotlib.ticker import NullLocator

    return NullLocator()


def note(figure: "Figure", runs: int) -> None:
    """What the pictures of MountainCar have below them."""
    drawing.footnote(
        figure, f"mean of {runs:,} runs · band: 95 % interval of the mean · episodes cut at {CAP:,} steps"
    )


# α times the tilings for each n: the larger n, the smaller the α at which it diverges.
_ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
_AT_MOST = {1: 1.6, 2: 1.6, 4: 1.2, 8: 1.0, 16: 0.6}
_AT_LEAST = {1: 0.4, 2: 0.3, 4: 0.2, 8: 0.1, 16: 0.1}
STEPS_AXIS = (200.0, 420.0)  # steps of an episode


def n_step_study(runs: int, seed: int) -> tuple[dict[str, Curve], list[Episodes]]:
    """Steps of each of the first 50 episodes against α, a curve for each n; and what was played."""
    curves, played = {}, []
    for n, most in _AT_MOST.items():
        alphas = [a for a in _ALPHAS if _AT_LEAST[n] <= a <= most]
        learners = stack(LinearSarsaLambda(n=n), learning_rate=alphas)
        played.append(play(learners, mountain_car(), runs, EARLY, seed, batch=BATCH))
        curves[f"n = {n}"] = curve_of(alphas, mean_steps(played[-1]))
    return curves, played


def best_of(curves: dict[str, Curve], what: str) -> dict[str, Estimate]:
    """The lowest point of each curve, labelled with where it lies."""
    return {
        f"{label}, best α × {TILINGS} = {one.x[one.best]:g}: {what}": one.y[one.best]
        for label, one in curves.items()
    }


EARLY_STEPS = f"steps of the first {EARLY} episodes"


def _study(runs: int, seed: int) -> Outcome:
    curves, played = n_step_study(runs, seed)
    return Outcome(best_of(curves, EARLY_STEPS) | cut(*played), {"curves": curves, "runs": runs})


def _draw_study(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    title = f"Steps of an episode, mean of the first {EARLY}"
    axes = drawing.panel(figure, 111, title, f"α × number of tilings ({TILINGS})", "")
    draw_curves(axes, outcome.data["curves"], STEPS_AXIS)
    axes.legend(loc="upper right")
    note(figure, outcome.data["runs"])


EXPERIMENTS = (
    Experiment(
        "figure-10.2",
        f"learning curves of semi-gradient SARSA with tiles on MountainCar (episodes cut at {CAP:,} steps)",
        "Sutton & Barto 2018, Figure 10.2",
        20,
        lambda runs, seed: _curves(_FIGURE_10_2, runs, seed),
        _draw_learning,
        notes=NOTES,
    ),
    Experiment(
        "figure-10.3",
        f"one-step against 8-step SARSA on MountainCar (episodes cut at {CAP:,} steps)",
        "Sutton & Barto 2018, Figure 10.3",
        20,
        lambda runs, seed: _curves(_FIGURE_10_3, runs, seed),
        _draw_learning,
        notes=NOTES,
    ),
    Experiment(
        "figure-10.4",
        f"α and n of n-step SARSA on MountainCar, early performance (episodes cut at {CAP:,} steps)",
        "Sutton & Barto 2018, Figure 10.4",
        10,
        _study,
        _draw_study,
        notes=NOTES,
    ),
)
