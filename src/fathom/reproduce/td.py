"""Prediction on random walks: Sutton & Barto 2018, Example 6.2 and Figures 6.2 and 7.2."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.algos.tabular.monte_carlo import MonteCarloPrediction
from fathom.algos.tabular.td import TD
from fathom.core.types import Transition
from fathom.envs.toy.random_walk import RandomWalk, random_walk_19
from fathom.mdp import MDP, evaluate_policy
from fathom.reproduce import curves, drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings
from fathom.reproduce.curves import Curve
from fathom.reproduce.trials import Trials, Watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPISODES = 100  # of Figure 6.2
TD_STEPS = (0.05, 0.1, 0.15)
MC_STEPS = (0.01, 0.02, 0.03, 0.04)

FIRST = 10  # episodes of Figure 7.2
SPANS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # n
STEP_SIZES = (0.01, 0.02, 0.04, 0.06, 0.08, *(round(0.05 * i, 2) for i in range(2, 21)))  # α
ERROR_AXIS = (0.22, 0.55)  # of the walk of 19 states
ABREAST = 4  # up to this n runs are computed side by side: above, one waits for the other's returns


def rms_error(values: Float[Array, " state"], true: Float[np.ndarray, " state"]) -> Float[Array, ""]:
    """The root of the mean squared error of a walk's values, over the states that are no end."""
    return jnp.sqrt(jnp.square(values[1:-1] - true[1:-1].astype(np.float32)).mean())


def error_after(env: RandomWalk) -> Watch:
    """Watches the error of V after each step."""
    true = env.values()
    return lambda learner, step: rms_error(learner.v.values, true)


def _walk(runs: int, seed: int) -> Outcome:
    env = RandomWalk()
    watch, x = error_after(env), np.arange(EPISODES + 1)
    common: dict[str, Any] = {"gamma": 1.0, "initial_value": 0.5}
    start = np.full((runs, 1), np.sqrt(np.square(0.5 - env.values()[1:-1]).mean()))
    errors: dict[str, Curve] = {}
    figures: dict[str, Estimate] = {}
    for method, steps, learners in (
        ("TD(0)", TD_STEPS, [TD(learning_rate=a, **common) for a in TD_STEPS]),
        ("MC", MC_STEPS, [_monte_carlo(a, **common) for a in MC_STEPS]),
    ):
        seen = Trials(learners, env, runs, seed, watch).episodes(env, EPISODES, 128).seen
        for alpha, one in zip(steps, seen, strict=True):
            label = f"{method}, α = {alpha:g}"
            errors[label] = Curve.of(x, np.concatenate([start, one], axis=1))
            figures[f"{label}: RMS error after {EPISODES} episodes"] = Estimate.of(one[:, -1])
    batch = {}
    for label, one in _batch(env, runs, seed).items():
        batch[label] = Curve.of(x[1:], one)
        figures[f"{label}: RMS error after {EPISODES} episodes"] = Estimate.of(one[:, -1])
    return Outcome(figures, {"errors": errors, "batch": batch, "runs": runs})


def _monte_carlo(alpha: float, **common: Any) -> MonteCarloPrediction:
    return MonteCarloPrediction(learning_rate=alpha, visits="every", average=False, **common)


def _batch(env: RandomWalk, runs: int, seed: int) -> dict[str, Float[np.ndarray, "run episode"]]:
    """RMS errors when all episodes so far are gone over again and again, after each new one.

    Monte Carlo's values are then the means of the returns, as `average` keeps them; TD's those of the
    likeliest model (Section 6.4 of the book), solved exactly.
    """
    true = env.values()[1:-1]

    def watch(learner: Any, step: Transition) -> tuple[Array, ...]:
        return learner.v.values[1:-1], step.obs[0], step.final_obs[0]

    learner = MonteCarloPrediction(gamma=1.0, initial_value=0.5, visits="every", average=True)
    trials = Trials([learner], env, runs, seed, watch)
    traces, done = [], np.zeros(runs, np.int64)
    while done.min() < EPISODES:
        traces.append(trials.steps(env, 128))
        done += traces[-1].over[0].sum(axis=-1)
    values, before, after = (np.concatenate([t.seen[i][0] for t in traces], axis=1) for i in range(3))
    over = np.concatenate([t.over[0] for t in traces], axis=1)
    td, mc = np.zeros((runs, EPISODES)), np.zeros((runs, EPISODES))
    for run in range(runs):
        ends = np.flatnonzero(over[run])[:EPISODES]
        mc[run] = np.sqrt(np.square(values[run, ends] - true).mean(axis=-1))
        counts = np.zeros((env.num_states, env.num_states))
        begin = 0
        for episode, end in enumerate(ends):
            np.add.at(counts, (before[run, begin : end + 1], after[run, begin : end + 1]), 1)
            begin = end + 1
            td[run, episode] = np.sqrt(np.square(certainty_equivalent(counts) - true).mean())
    return {"TD, batch": td, "MC, batch": mc}


def certainty_equivalent(counts: Int[np.ndarray, "state next"], unseen: float = 0.5) -> np.ndarray:
    """The values of the model that makes the counted steps of a walk likeliest; `unseen` where none was.

    The last state pays 1 on arrival. What batch TD(0) converges to: Sutton & Barto 2018, Section 6.3.
    """
    states = len(counts)
    inner = np.arange(1, states - 1)
    visits = counts.sum(axis=1)[inner]
    met = visits > 0
    prob = np.zeros((len(inner), 1, 3))
    prob[:, 0, :2] = np.stack([counts[inner, inner - 1], counts[inner, inner + 1]], -1)
    prob[:, 0, :2] /= np.maximum(visits, 1)[:, None]
    prob[:, 0, 2] = ~met  # a state never met ends at once, at the value it has had from the first
    following = np.clip(np.stack([inner - 2, inner, inner - 1], -1), 0, len(inner) - 1)[:, None]
    reward, over = np.zeros(prob.shape), np.zeros(prob.shape, np.bool_)
    reward[-1, 0, 1], reward[:, 0, 2] = 1.0, unseen
    over[0, 0, 0] = over[-1, 0, 1] = True
    over[:, 0, 2] = True
    start = np.full(len(inner), 1 / len(inner))
    return evaluate_policy(MDP(prob, following, reward, over, start), np.zeros(len(inner), int), 1.0).values


def _draw_walk(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    left = drawing.panel(figure, 121, "Example 6.2: RMS error", "episodes", "")
    shades = dict(
        zip(
            outcome.data["errors"],
            ("#8fb4ee", "#2563c9", "#12336b", "#f3b795", "#d9622b", "#a8431a", "#6b2609"),
            strict=False,
        )
    )
    curves.lines(left, outcome.data["errors"], shades, (0, 0.26))
    left.legend(loc="upper right", ncols=2, fontsize=7.5)
    right = drawing.panel(figure, 122, "Figure 6.2: RMS error of batch training", "episodes", "")
    curves.lines(right, outcome.data["batch"], curves.colors_of(outcome.data["batch"]), (0, 0.26))
    right.legend(loc="upper right")
    curves.note(figure, outcome.data["runs"])


def _spans(runs: int, seed: int) -> Outcome:
    env = random_walk_19()
    watch, x = error_after(env), np.array(STEP_SIZES)
    errors: dict[str, Curve] = {}
    figures: dict[str, Estimate] = {}
    for n in SPANS:
        learners = [TD(learning_rate=a, gamma=1.0, n=n) for a in STEP_SIZES]
        trials = Trials(learners, env, runs, seed, watch, abreast=n <= ABREAST)
        samples = trials.episodes(env, FIRST, 512).seen.mean(axis=-1)
        errors[f"n = {n}"] = Curve.of(x, samples.T)
        best = errors[f"n = {n}"].lowest
        figures[f"n = {n}, α = {x[best]:g}, its best: RMS error"] = Estimate.of(samples[best])
    return Outcome(figures, {"errors": errors, "runs": runs})


def _draw_spans(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    title = f"RMS error over 19 states and the first {FIRST} episodes"
    axes = drawing.panel(figure, 111, title, "α", "")
    axes.set_xlim(0, 1)
    curves.lines(axes, outcome.data["errors"], curves.shades_of(outcome.data["errors"]), ERROR_AXIS)
    curves.legend_beside(axes)
    curves.note(figure, outcome.data["runs"])


EXPERIMENTS = (
    Experiment(
        "figure-6.2",
        "TD(0) and constant-α Monte Carlo on the random walk, online and in batches",
        "Sutton & Barto 2018, Example 6.2 and Figure 6.2",
        100,
        _walk,
        _draw_walk,
        size=(9.6, 4.8),
        notes=(
            "all values are 0.5 at first; every visit counts",
            "batch TD is the solution of the likeliest model, to which it converges; batch MC mean returns",
        ),
    ),
    Experiment(
        "figure-7.2",
        "n-step TD on the random walk of 19 states, over n and α",
        "Sutton & Barto 2018, Figure 7.2",
        100,
        _spans,
        _draw_spans,
        size=(8.4, 5.6),
        notes=("all values are 0 at first; the error is taken at the end of each of the first 10 episodes",),
    ),
)
