"""The 10-armed testbed: Sutton & Barto 2018, Figures 2.2 to 2.6."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fathom.algos.bandit.epsilon_greedy import EpsilonGreedy
from fathom.algos.bandit.gradient_bandit import GradientBandit
from fathom.algos.bandit.thompson import Thompson
from fathom.algos.bandit.ucb import UCB
from fathom.algos.base import Online
from fathom.envs.toy.bandit import Bandit
from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Reading, Readings
from fathom.reproduce.testbed import play

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 1_000
RUNS = 2_000
LAST = 100  # a reading at step 1,000 is our mean over the last so many steps

REWARD_AXIS = 1.5  # average reward, 0 to 1.5
OPTIMAL_AXIS = 100.0  # optimal action, 0 to 100 %
_TAKEN = f"mean over the last {LAST} of {STEPS:,} steps"


def _reward(label: str) -> str:
    return f"{label}: average reward"


def _optimal(label: str) -> str:
    return f"{label}: % optimal action"


def _reading_of_reward(label: str, value: float) -> Reading:
    return Reading(_reward(label), value, axis=REWARD_AXIS, taken=_TAKEN)


def _reading_of_optimal(label: str, value: float) -> Reading:
    return Reading(_optimal(label), value, axis=OPTIMAL_AXIS, taken=_TAKEN)


def _compute(learners: Mapping[str, Online], env: Bandit, words: int = 2) -> Callable[[int, int], Outcome]:
    """The experiment in which each of the learners plays the same problems; `words` as `play` takes it."""

    def compute(runs: int, seed: int) -> Outcome:
        results = play(tuple(learners.values()), env, runs, STEPS, LAST, seed, words)
        played = dict(zip(learners, results, strict=True))
        figures = {}
        for label, one in played.items():
            figures[_reward(label)] = Estimate.of(one.last_reward)
            figures[_optimal(label)] = Estimate.of(100.0 * one.last_optimal)
        return Outcome(figures, {"played": played, "runs": runs})

    return compute


def _panel_of_reward(axes: Any, outcome: Outcome, readings: Readings, colors: Mapping[str, str]) -> None:
    runs = outcome.data["runs"]
    for label, one in outcome.data["played"].items():
        half = 1.96 * one.reward_std / np.sqrt(runs)
        _line(axes, one.reward, label, colors[label], half)
        if _reward(label) in readings:
            drawing.mark(axes, STEPS, readings[_reward(label)], colors[label])
    axes.set_ylim(0, REWARD_AXIS + 0.1)


def _panel_of_optimal(axes: Any, outcome: Outcome, readings: Readings, colors: Mapping[str, str]) -> None:
    runs = outcome.data["runs"]
    for label, one in outcome.data["played"].items():
        half = 1.96 * np.sqrt(one.optimal * (1.0 - one.optimal) / runs)
        _line(axes, 100.0 * one.optimal, label, colors[label], 100.0 * half)
        if _optimal(label) in readings:
            drawing.mark(axes, STEPS, readings[_optimal(label)], colors[label])
    axes.set_ylim(0, OPTIMAL_AXIS)
    axes.yaxis.set_major_formatter("{x:.0f} %")


def _line(axes: Any, y: Float[np.ndarray, " step"], label: str, color: str, half: np.ndarray) -> None:
    drawing.curve(axes, np.arange(1, y.size + 1), y, label, color, half, lw=1.0)
    axes.set_xlim(0, STEPS)
    axes.set_xticks([1, 250, 500, 750, 1000])


def _colors(outcome: Outcome) -> dict[str, str]:
    return dict(zip(outcome.data["played"], drawing.COLORS, strict=False))


def _note(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    marks = " · diamond: published, with its error of reading" if readings else ""
    drawing.footnote(
        figure, f"mean of {outcome.data['runs']:,} runs · band: 95 % interval of the mean{marks}"
    )


def _draw_both(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    """Average reward above, % optimal action below."""
    colors = _colors(outcome)
    above = drawing.panel(figure, 211, "Average reward", "", "")
    _panel_of_reward(above, outcome, readings, colors)
    below = drawing.panel(figure, 212, "Optimal action", "steps", "")
    _panel_of_optimal(below, outcome, readings, colors)
    above.legend(loc="lower right", ncols=1)
    _note(figure, outcome, readings)


def _draw_reward(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Average reward", "steps", "")
    _panel_of_reward(axes, outcome, readings, _colors(outcome))
    axes.legend(loc="lower right")
    _note(figure, outcome, readings)


def _draw_optimal(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Optimal action", "steps", "")
    _panel_of_optimal(axes, outcome, readings, _colors(outcome))
    axes.legend(loc="lower right")
    _note(figure, outcome, readings)


# Figure 2.6: the values of each method's parameter, as powers of two.
_STUDY = {
    "ε-greedy, ε": (range(-7, -1), lambda x: EpsilonGreedy(epsilon=x)),
    "gradient bandit, α": (range(-5, 3), lambda x: GradientBandit(step_size=x)),
    "UCB, c": (range(-4, 3), lambda x: UCB(c=x)),
    "optimistic greedy (α = 0.1), Q₁": (
        range(-2, 3),
        lambda x: EpsilonGreedy(epsilon=0.0, initial_value=x, sample_average=False, step_size=0.1),
    ),
}


def _study(runs: int, seed: int) -> Outcome:
    """Average reward over the first 1,000 steps against each method's parameter."""
    figures, curves = {}, {}
    for method, (exponents, learner) in _STUDY.items():
        values = [2.0**n for n in exponents]
        played = play(tuple(learner(x) for x in values), Bandit(), runs, STEPS, LAST, seed)
        estimates = [Estimate.of(one.all_reward) for one in played]
        best = int(np.argmax([e.value for e in estimates]))
        figures[f"{method} = {_fraction(values[best])}, its best: reward of {STEPS:,} steps"] = estimates[
            best
        ]
        curves[method] = (values, estimates)
    return Outcome(figures, {"curves": curves, "runs": runs})


def _fraction(x: float) -> str:
    return f"1/{round(1 / x)}" if x < 1 else f"{x:g}"


def _draw_study(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(
        figure, 111, f"Average reward over the first {STEPS:,} steps", "the method's parameter", ""
    )
    for (method, (values, estimates)), color in zip(
        outcome.data["curves"].items(), drawing.COLORS, strict=False
    ):
        mean = np.array([e.value for e in estimates])
        half = np.array([e.interval[1] - e.value if e.interval else 0.0 for e in estimates])
        drawing.curve(axes, np.array(values), mean, method, color, half, marker="o", ms=4)
    axes.set_xscale("log", base=2)
    ticks = [2.0**n for n in range(-7, 3)]
    axes.set_xticks(ticks, [_fraction(x) for x in ticks])
    axes.set_ylim(0.95, 1.55)
    axes.legend(loc="lower center", ncols=2)
    _note(figure, outcome, readings)


_FIGURE_2_5 = {
    "with baseline, α = 0.1": GradientBandit(step_size=0.1),
    "with baseline, α = 0.4": GradientBandit(step_size=0.4),
    "without baseline, α = 0.1": GradientBandit(step_size=0.1, baseline=False),
    "without baseline, α = 0.4": GradientBandit(step_size=0.4, baseline=False),
}

EXPERIMENTS = (
    Experiment(
        "figure-2.2",
        "ε-greedy action values on the 10-armed testbed",
        "Sutton & Barto 2018, Figure 2.2",
        RUNS,
        _compute(
            {
                "greedy": EpsilonGreedy(epsilon=0.0),
                "ε = 0.1": EpsilonGreedy(epsilon=0.1),
                "ε = 0.01": EpsilonGreedy(epsilon=0.01),
            },
            Bandit(),
        ),
        _draw_both,
        (
            _reading_of_reward("greedy", 1.04),
            _reading_of_optimal("greedy", 37.0),
            _reading_of_reward("ε = 0.1", 1.38),
            _reading_of_optimal("ε = 0.1", 80.0),
            _reading_of_reward("ε = 0.01", 1.31),
            _reading_of_optimal("ε = 0.01", 61.0),
        ),
        size=(8.4, 8.0),
        notes=("sample averages from Q₁ = 0; ties at random",),
    ),
    Experiment(
        "figure-2.3",
        "optimistic initial values on the 10-armed testbed",
        "Sutton & Barto 2018, Figure 2.3",
        RUNS,
        _compute(
            {
                "optimistic, greedy, Q₁ = 5": EpsilonGreedy(
                    epsilon=0.0, initial_value=5.0, sample_average=False, step_size=0.1
                ),
                "realistic, ε = 0.1, Q₁ = 0": EpsilonGreedy(
                    epsilon=0.1, initial_value=0.0, sample_average=False, step_size=0.1
                ),
            },
            Bandit(),
        ),
        _draw_optimal,
        (_reading_of_optimal("optimistic, greedy, Q₁ = 5", 85.0),),
        notes=("α = 0.1 for both",),
    ),
    Experiment(
        "figure-2.4",
        "upper confidence bounds on the 10-armed testbed",
        "Sutton & Barto 2018, Figure 2.4",
        RUNS,
        _compute({"UCB, c = 2": UCB(c=2.0), "ε-greedy, ε = 0.1": EpsilonGreedy(epsilon=0.1)}, Bandit()),
        _draw_reward,
        (_reading_of_reward("UCB, c = 2", 1.50),),
        notes=("sample averages; actions never taken come first, in random order",),
    ),
    Experiment(
        "figure-2.5",
        "the gradient bandit with and without baseline, true values about 4",
        "Sutton & Barto 2018, Figure 2.5",
        RUNS,
        _compute(_FIGURE_2_5, Bandit(mean=4.0)),
        _draw_optimal,
        notes=("the baseline is the mean of the rewards before the present one",),
    ),
    Experiment(
        "figure-2.6",
        "parameter study of four bandit methods",
        "Sutton & Barto 2018, Figure 2.6",
        RUNS,
        _study,
        _draw_study,
    ),
    Experiment(
        "bandit-thompson",
        "Thompson sampling on the 10-armed testbed, beside UCB",
        "the problems of Sutton & Barto 2018, Section 2.3; Thompson sampling is not in the book",
        RUNS,
        _compute({"Thompson sampling, N(0, 1)": Thompson(), "UCB, c = 2": UCB(c=2.0)}, Bandit(), words=10),
        _draw_reward,
    ),
)
