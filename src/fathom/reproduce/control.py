"""Temporal-difference control: the cliff, the windy grid and maximisation bias of Sutton & Barto 2018."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.algos.base import Online
from fathom.algos.tabular.double_q_learning import DoubleQLearning
from fathom.algos.tabular.expected_sarsa import ExpectedSarsa
from fathom.algos.tabular.q_learning import QLearning
from fathom.algos.tabular.sarsa import Sarsa
from fathom.envs.grid.maps import cliff_walking, windy_grid
from fathom.envs.toy.maximization_bias import MaximizationBias
from fathom.reproduce import curves, drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Reading, Readings
from fathom.reproduce.curves import Curve
from fathom.reproduce.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Make = Callable[..., Online]

_ALWAYS: dict[str, Any] = {"gamma": 1.0, "epsilon_start": 0.1, "epsilon_end": 0.1}

STEP_SIZES = tuple(round(0.1 * i, 1) for i in range(1, 11))  # α of Figure 6.3
INTERIM = 100  # episodes of interim performance
LATER = 1_000  # episodes of a run, of which the last INTERIM are taken for the asymptote
METHODS: dict[str, Make] = {"SARSA": Sarsa, "Expected SARSA": ExpectedSarsa, "Q-learning": QLearning}

ONLINE = 500  # episodes of Example 6.6
BIN = 5  # episodes that make a point of its curves, lest they be all noise
LAST = 100  # of these, the episodes over which a reading is our mean
ALPHA = 0.25  # the book leaves it open; chosen after its readings were seen, as nearest of these three
OTHERS = (0.1, 0.5)
RETURN_AXIS = 100.0  # sum of rewards, −100 to 0

WINDY_STEPS = 8_000
WINDY_LAST = 2_000

BIAS_EPISODES = 300
BIAS_LAST = 10  # episodes over which a reading at episode 300 is our mean
LEFT_AXIS = 100.0  # left actions from A, 0 to 100 %


def _sweep(runs: int, seed: int) -> Outcome:
    """Mean return over the first and the last episodes of each run, by method and α."""
    env, x = cliff_walking(), np.array(STEP_SIZES)
    interim: dict[str, Curve] = {}
    asymptotic: dict[str, Curve] = {}
    figures: dict[str, Estimate] = {}
    for method, make in METHODS.items():
        learners = [make(learning_rate=a, **_ALWAYS) for a in STEP_SIZES]
        total = Trials(learners, env, runs, seed).episodes(env, LATER).total
        for kind, found, part in (
            ("interim", interim, total[..., :INTERIM]),
            ("asymptotic", asymptotic, total[..., -INTERIM:]),
        ):
            samples = part.mean(axis=-1)
            found[method] = Curve.of(x, samples.T)
            for alpha in (STEP_SIZES[0], 0.5, STEP_SIZES[-1]):
                label = f"{method}, α = {alpha:g}: {kind} return"
                figures[label] = Estimate.of(samples[STEP_SIZES.index(alpha)])
    return Outcome(figures, {"interim": interim, "asymptotic": asymptotic, "runs": runs})


def _draw_sweep(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Sum of rewards per episode", "α", "")
    colors = curves.colors_of(METHODS)
    for kind, dashes in (("asymptotic", "-"), ("interim", "--")):
        found = {f"{method}, {kind}": one for method, one in outcome.data[kind].items()}
        shared = {label: colors[label.partition(",")[0]] for label in found}
        curves.lines(axes, found, shared, (-160, 0), ls=dashes, marker="o", ms=4)
    axes.set_xlim(0.05, 1.05)
    axes.legend(loc="lower center", ncols=2, fontsize=8)
    curves.note(figure, outcome.data["runs"])


def _online_label(method: str, alpha: float) -> str:
    return f"{method}: return online" if alpha == ALPHA else f"{method}, α = {alpha:g}: return online"


def _online(runs: int, seed: int) -> Outcome:
    env, found = cliff_walking(), {}
    figures: dict[str, Estimate] = {}
    for method in ("SARSA", "Q-learning"):
        steps = (ALPHA, *OTHERS)
        learners = [METHODS[method](learning_rate=a, **_ALWAYS) for a in steps]
        total = Trials(learners, env, runs, seed).episodes(env, ONLINE).total
        by_bin = total[0].reshape(runs, -1, BIN)
        found[method] = Curve.of(np.arange(ONLINE // BIN) * BIN + (BIN + 1) / 2, by_bin.mean(axis=-1))
        for alpha, one in zip(steps, total, strict=True):
            figures[_online_label(method, alpha)] = Estimate.of(one[:, -LAST:].mean(axis=-1))
    return Outcome(figures, {"returns": found, "runs": runs})


def _draw_online(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Sum of rewards during an episode", "episodes", "")
    colors = curves.colors_of(outcome.data["returns"])
    for method, color in colors.items():
        if (label := _online_label(method, ALPHA)) in readings:
            drawing.mark(axes, ONLINE, readings[label], color)
    axes.set_xlim(0, ONLINE)
    curves.lines(axes, outcome.data["returns"], colors, (-RETURN_AXIS, 0))
    axes.legend(loc="lower right")
    curves.note(figure, outcome.data["runs"], bool(readings), f"means of {BIN} episodes")


def _windy(runs: int, seed: int) -> Outcome:
    env = windy_grid()
    over = Trials([Sarsa(learning_rate=0.5, **_ALWAYS)], env, runs, seed).steps(env, WINDY_STEPS).over[0]
    done = over.cumsum(axis=-1)
    late = done[:, -1] - done[:, -WINDY_LAST - 1]
    figures = {
        f"SARSA: episodes in {WINDY_STEPS:,} steps": Estimate.of(done[:, -1]),
        f"SARSA: steps an episode over the last {WINDY_LAST:,}": Estimate.of(
            WINDY_LAST / np.maximum(late, 1)
        ),
    }
    return Outcome(figures, {"done": Curve.of(np.arange(1, WINDY_STEPS + 1), done), "runs": runs})


def _draw_windy(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Episodes", "time steps", "")
    one = outcome.data["done"]
    curves.lines(axes, {"SARSA": one}, {"SARSA": drawing.COLORS[0]}, (0, 1.05 * one.mean.max()))
    axes.set_xlim(0, WINDY_STEPS)
    axes.legend(loc="upper left")
    curves.note(figure, outcome.data["runs"])


def _bias(runs: int, seed: int) -> Outcome:
    """An episode that goes left has two steps, any other one."""
    env, found = MaximizationBias(), {}
    figures: dict[str, Estimate] = {}
    methods: dict[str, Make] = {"Q-learning": QLearning, "Double Q-learning": DoubleQLearning}
    for method, make in methods.items():
        learner = make(learning_rate=0.1, **_ALWAYS)
        episodes = Trials([learner], env, runs, seed).episodes(env, BIAS_EPISODES)
        left = 100.0 * (episodes.length[0] > 1)
        found[method] = Curve.of(np.arange(1, BIAS_EPISODES + 1), left)
        peak = int(left.mean(axis=0).argmax())
        figures[f"{method}: % left at its peak"] = Estimate.of(left[:, peak])
        figures[f"{method}: % left at {BIAS_EPISODES} episodes"] = Estimate.of(
            left[:, -BIAS_LAST:].mean(axis=-1)
        )
    return Outcome(figures, {"left": found, "runs": runs})


def _draw_bias(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Left actions from A", "episodes", "")
    colors = curves.colors_of(outcome.data["left"])
    curves.lines(axes, outcome.data["left"], colors, (0, LEFT_AXIS))
    for method, color in colors.items():
        one = outcome.data["left"][method]
        places = {"at its peak": one.x[one.mean.argmax()], f"at {BIAS_EPISODES} episodes": BIAS_EPISODES}
        for place, x in places.items():
            if (label := f"{method}: % left {place}") in readings:
                drawing.mark(axes, x, readings[label], color)
    axes.axhline(5, color=drawing.MUTED, lw=1.0, ls="--", label="optimal, ε/2")
    axes.set_xlim(0, BIAS_EPISODES)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.legend(loc="upper right")
    curves.note(figure, outcome.data["runs"], bool(readings))


_ONLINE_TAKEN = f"mean over the last {LAST} of {ONLINE} episodes, α = {ALPHA:g}"
_BIAS_TAKEN = f"mean over the last {BIAS_LAST} of {BIAS_EPISODES} episodes"

EXPERIMENTS = (
    Experiment(
        "figure-6.3",
        "interim and asymptotic performance of SARSA, Expected SARSA and Q-learning at the cliff",
        "Sutton & Barto 2018, Figure 6.3",
        40,
        _sweep,
        _draw_sweep,
        size=(8.4, 5.6),
        notes=(
            f"interim: episodes 1 to {INTERIM}; asymptotic: episodes {LATER - INTERIM + 1} to {LATER:,} of "
            "the same runs, fewer than the book's; ε = 0.1, Q is 0 at first",
        ),
    ),
    Experiment(
        "figure-6.4",
        "SARSA and Q-learning online at the cliff: the unnumbered figure of Example 6.6",
        "Sutton & Barto 2018, Example 6.6",
        200,
        _online,
        _draw_online,
        (
            Reading("SARSA: return online", -25.0, axis=RETURN_AXIS, taken=_ONLINE_TAKEN),
            Reading("Q-learning: return online", -50.0, axis=RETURN_AXIS, taken=_ONLINE_TAKEN),
        ),
        notes=(
            f"ε = 0.1; the book leaves α open, and {ALPHA:g} was chosen after its readings were seen: of "
            "0.1, 0.25 and 0.5 it comes nearest to them. The other two are reported beside it",
        ),
    ),
    Experiment(
        "figure-6.6",
        "SARSA in the windy grid, episodes against steps: the unnumbered figure of Example 6.5",
        "Sutton & Barto 2018, Example 6.5",
        100,
        _windy,
        _draw_windy,
        notes=("ε = 0.1, α = 0.5, Q is 0 at first",),
    ),
    Experiment(
        "figure-6.7",
        "maximisation bias of Q-learning, and Double Q-learning: the book's Figure 6.5",
        "Sutton & Barto 2018, Example 6.7 and Figure 6.5",
        10_000,
        _bias,
        _draw_bias,
        (
            Reading(
                "Q-learning: % left at its peak", 94.0, axis=LEFT_AXIS, taken="maximum of the mean curve"
            ),
            Reading(
                f"Q-learning: % left at {BIAS_EPISODES} episodes", 13.0, axis=LEFT_AXIS, taken=_BIAS_TAKEN
            ),
            Reading(
                f"Double Q-learning: % left at {BIAS_EPISODES} episodes",
                7.0,
                axis=LEFT_AXIS,
                taken=_BIAS_TAKEN,
            ),
        ),
        notes=(
            "ε = 0.1, α = 0.1, γ = 1, Q is 0 at first, ties at random; ten actions in B: the book has many",
        ),
    ),
)
