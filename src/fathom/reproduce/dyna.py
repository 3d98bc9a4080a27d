"""Planning with a learnt model: Sutton & Barto 2018, Figures 8.2, 8.4 and 8.5."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.algos.tabular.dyna_q import DynaQ
from fathom.envs.grid.maps import blocking_maze, dyna_maze, shortcut_maze
from fathom.envs.grid.world import GridWorld
from fathom.reproduce import curves, drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Reading, Readings
from fathom.reproduce.curves import Curve
from fathom.reproduce.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPISODES = 50
REACHED = {0: 25, 5: 5, 50: 3}  # by which episode the book reads each n at its best
STEPS_AXIS = 800.0  # steps an episode, 0 to 800

_ALWAYS: dict[str, Any] = {"gamma": 0.95, "epsilon_start": 0.1, "epsilon_end": 0.1}


def _steps_label(n: int) -> str:
    return f"n = {n}: steps in episode {REACHED[n]}"


def _maze(runs: int, seed: int) -> Outcome:
    env, found = dyna_maze(), {}
    figures: dict[str, Estimate] = {}
    for n, episode in REACHED.items():
        learner = DynaQ(learning_rate=0.1, planning_steps=n, **_ALWAYS)
        length = Trials([learner], env, runs, seed).episodes(env, EPISODES, 256).length[0].astype(np.float64)
        name = f"n = {n}" + (", learning alone" if n == 0 else "")
        found[name] = Curve.of(np.arange(1, EPISODES + 1), length)
        figures[_steps_label(n)] = Estimate.of(length[:, episode - 1])
        figures[f"n = {n}: steps in the last 10 episodes"] = Estimate.of(length[:, -10:].mean(axis=-1))
    return Outcome(figures, {"steps": found, "runs": runs})


def _draw_maze(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Steps per episode", "episodes", "")
    colors = curves.colors_of(outcome.data["steps"])
    # As in the book the first episode, alike for all, is left out.
    found = {label: Curve(*(x[1:] for x in one)) for label, one in outcome.data["steps"].items()}
    curves.lines(axes, found, colors, (0, STEPS_AXIS))
    for n, color in zip(REACHED, colors.values(), strict=True):
        if (label := _steps_label(n)) in readings:
            drawing.mark(axes, REACHED[n], readings[label], color)
    axes.set_xlim(2, EPISODES)
    axes.set_xticks([2, 10, 20, 30, 40, 50])
    axes.set_yticks([14, 200, 400, 600, 800])
    axes.legend(loc="upper right")
    curves.note(figure, outcome.data["runs"], bool(readings))


def _changing(
    before: Callable[[], GridWorld], after: Callable[[], GridWorld], at: int, steps: int, kappa: float, n: int
) -> Callable[[int, int], Outcome]:
    """The experiment in which a maze changes into another after `at` of `steps` steps, a multiple of `at`."""

    def compute(runs: int, seed: int) -> Outcome:
        learners = [DynaQ(learning_rate=0.1, planning_steps=n, kappa=k, **_ALWAYS) for k in (0.0, kappa)]
        trials = Trials(learners, before(), runs, seed)
        parts = [trials.steps(before() if t < at else after(), at).reward for t in range(0, steps, at)]
        total = np.concatenate(parts, axis=-1).cumsum(axis=-1)
        figures, found = {}, {}
        for label, one in zip(("Dyna-Q", "Dyna-Q+"), total, strict=True):
            found[label] = Curve.of(np.arange(1, steps + 1), one)
            figures[f"{label}: reward of the {at:,} steps before the change"] = Estimate.of(one[:, at - 1])
            figures[f"{label}: reward of all {steps:,} steps"] = Estimate.of(one[:, -1])
        return Outcome(figures, {"reward": found, "at": at, "steps": steps, "runs": runs})

    return compute


def _draw_changing(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = drawing.panel(figure, 111, "Cumulative reward", "time steps", "")
    found = outcome.data["reward"]
    top = 1.05 * max(one.mean[-1] for one in found.values())
    curves.lines(axes, found, curves.colors_of(found), (0, top))
    axes.axvline(outcome.data["at"], color=drawing.MUTED, lw=1.0, ls="--", label="the maze changes")
    axes.set_xlim(0, outcome.data["steps"])
    axes.legend(loc="upper left")
    curves.note(figure, outcome.data["runs"])


_OPEN = "the book leaves n, α and κ open: here n = 50, α = 0.1, κ = 0.001; ε = 0.1, γ = 0.95"

EXPERIMENTS = (
    Experiment(
        "figure-8.2",
        "Dyna-Q in a maze by the number of planning steps",
        "Sutton & Barto 2018, Example 8.1 and Figure 8.2",
        200,
        _maze,
        _draw_maze,
        tuple(
            Reading(_steps_label(n), 18.0, axis=STEPS_AXIS, taken=f"mean over runs of episode {episode}")
            for n, episode in REACHED.items()
        ),
        notes=("α = 0.1, ε = 0.1, γ = 0.95; the axis of steps, by which a reading is judged, is 800 long",),
    ),
    Experiment(
        "figure-8.4",
        "Dyna-Q and Dyna-Q+ in a maze whose way is blocked",
        "Sutton & Barto 2018, Example 8.2 and Figure 8.4",
        100,
        _changing(blocking_maze, lambda: blocking_maze(after=True), 1_000, 3_000, 1e-3, 50),
        _draw_changing,
        notes=(_OPEN,),
    ),
    Experiment(
        "figure-8.5",
        "Dyna-Q and Dyna-Q+ in a maze with a shortcut that opens",
        "Sutton & Barto 2018, Example 8.3 and Figure 8.5",
        100,
        _changing(shortcut_maze, lambda: shortcut_maze(after=True), 3_000, 6_000, 1e-3, 50),
        _draw_changing,
        notes=(_OPEN,),
    ),
)
