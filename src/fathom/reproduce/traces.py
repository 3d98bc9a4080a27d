"""Eligibility traces: Sutton & Barto 2018, Figures 12.3, 12.6, 12.8, 12.10 and 12.11."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.algos.tabular.td_lambda import TDLambda
from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds, named
from fathom.core.types import VecStep
from fathom.envs.base import vec_draws, vec_reset, vec_step
from fathom.envs.toy.random_walk import random_walk_19
from fathom.ops.returns import lambda_returns
from fathom.ops.traces import Kind
from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings
from fathom.reproduce.linear import (
    BATCH,
    CAP,
    EARLY,
    EARLY_STEPS,
    NOTES,
    STEPS_AXIS,
    TILINGS,
    best_of,
    cut,
    mean_steps,
    mountain_car,
    n_step_study,
    note,
)
from fathom.reproduce.sweep import Curve, curve_of, draw_curves, play, stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAMBDAS = (0.0, 0.4, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
ALPHAS = (0.01, 0.02, 0.03, 0.05, 0.075, *(round(0.05 * i, 2) for i in range(2, 21)))
WALKS = 10  # episodes over which the error is averaged
LONGEST = 4_096  # steps within which a walk must have ended; not so once in 10²⁰
ERROR_AXIS = (0.22, 0.55)

_TRUE = random_walk_19().values()[1:-1].astype(np.float32)
_ERROR = f"RMS error of the first {WALKS} episodes"


def rms_error(values: Float[Array, " state"]) -> Float[Array, ""]:
    """The root of the mean squared error over the 19 states that are no end."""
    return jnp.sqrt(jnp.square(values[1:-1] - _TRUE).mean())


def _error_of(state: PyTree) -> Float[Array, ""]:
    return rms_error(state.v.values)


def walks(runs: int, seed: int) -> VecStep:
    """`WALKS` whole walks of each run, [time, run × walk]; after the end of a walk nothing is of use."""
    env = random_walk_19()
    env_state, _ = vec_reset(env, env_seeds(named(jax.random.key(seed), "walks"), runs * WALKS))
    draws = vec_draws(env, env_state, LONGEST)
    action = jnp.zeros(runs * WALKS, jnp.int32)
    _, steps = jax.lax.scan(lambda state, drawn: vec_step(env, state, action, drawn), env_state, draws)
    ends = np.asarray(steps.terminated)
    if not ends.any(axis=0).all():
        raise FathomError(f"a walk of seed {seed} is longer than {LONGEST:,} steps; take another seed.")
    return jax.tree.map(lambda x: x[: ends.argmax(axis=0).max() + 1], steps)


def off_line(
    values: Float[Array, " state"],
    state: Int[Array, " time"],
    reward: Float[Array, " time"],
    terminated: Bool[Array, " time"],
    next_state: Int[Array, " time"],
    td_lambda: Float[Array, ""],
    step_size: Float[Array, ""],
) -> Float[Array, " state"]:
    """The values after one episode of the off-line λ-return algorithm, Sutton & Barto 2018, Eq. 12.4.

    V(S_t) ← V(S_t) + α [G_t^λ − V(S_t)] for t = 0, …, T − 1, all returns being those of the values before.
    Rows after the first that is terminated are passed over.
    """
    column = lambda x: x[:, None]  # noqa: E731  one environment
    cut = jnp.zeros((state.shape[0], 1), jnp.bool_)
    target = lambda_returns(
        column(reward), column(terminated), cut, column(values[next_state]), 1.0, td_lambda
    )[:, 0]
    going_on = jnp.cumsum(terminated.astype(jnp.int32)) - terminated.astype(jnp.int32) == 0
    alpha = jnp.where(going_on, step_size, 0.0)

    def change(v: Array, row: tuple[Array, Array, Array]) -> tuple[Array, None]:
        s, g, a = row
        return v.at[s].add(a * (g - v[s])), None

    return jax.lax.scan(change, values, (state, target, alpha))[0]


@jax.jit
def _off_line_errors(
    given: tuple[Array, ...], td_lambda: Float[Array, " setting"], step_size: Float[Array, " setting"]
) -> Float[Array, "setting run"]:
    """The mean error over the ends of the episodes, whose rows are `given` as [walk, run, time]."""

    def run(rows: tuple[Array, ...], lam: Array, alpha: Array) -> Array:
        def episode(values: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
            values = off_line(values, *row, lam, alpha)
            return values, rms_error(values)

        return jax.lax.scan(episode, jnp.zeros(_TRUE.size + 2, jnp.float32), rows)[1].mean()

    runs = jax.vmap(run, in_axes=(1, None, None))
    return jax.lax.map(lambda one: runs(given, *one), (td_lambda, step_size), batch_size=len(ALPHAS))


def _settings() -> tuple[np.ndarray, np.ndarray]:
    """λ and α of every setting, all α of the first λ first."""
    lam, alpha = np.meshgrid(np.float32(LAMBDAS), np.float32(ALPHAS), indexing="ij")
    return lam.ravel(), alpha.ravel()


def _by_lambda(errors: Float[np.ndarray, "setting run"]) -> dict[str, Curve]:
    rows = errors.reshape(len(LAMBDAS), len(ALPHAS), -1)
    return {f"λ = {lam:g}": curve_of(ALPHAS, one) for lam, one in zip(LAMBDAS, rows, strict=True)}


def off_line_curves(runs: int, seed: int) -> dict[str, Curve]:
    """The error of the off-line λ-return algorithm against α, a curve for each λ."""
    steps = walks(runs, seed)
    first = jnp.full((1, runs * WALKS), (_TRUE.size + 1) // 2, jnp.int32)
    state = jnp.concatenate([first, steps.final_obs[:-1]])
    rows = (state, steps.reward, steps.terminated, steps.final_obs)
    given = tuple(jnp.moveaxis(x.reshape(-1, runs, WALKS), (2, 1, 0), (0, 1, 2)) for x in rows)
    return _by_lambda(np.asarray(_off_line_errors(given, *map(jnp.asarray, _settings()))))


def td_curves(traces: Kind, runs: int, seed: int) -> dict[str, Curve]:
    """The error of TD(λ) with traces of one kind against α, a curve for each λ."""
    lam, alpha = _settings()
    learners = stack(
        TDLambda(traces=traces, gamma=1.0), trace_decay=lam.tolist(), learning_rate=alpha.tolist()
    )
    played = play(learners, random_walk_19(), runs, WALKS, seed, _error_of)
    return _by_lambda(played.measured.mean(axis=-1))


def _best(method: str, curves: dict[str, Curve]) -> dict[str, Estimate]:
    return {
        f"{method}, {label}, best α = {one.x[one.best]:g}: {_ERROR}": one.y[one.best]
        for label, one in curves.items()
    }


OFF_LINE, TD, TRUE_ONLINE = "off-line λ-return", "TD(λ)", "true online TD(λ)"


def _prediction(kinds: dict[str, Kind], runs: int, seed: int) -> Outcome:
    """The error of each method; the off-line λ-return algorithm always is one."""
    panels = {method: td_curves(kind, runs, seed) for method, kind in kinds.items()}
    panels[OFF_LINE] = off_line_curves(runs, seed)
    figures = {}
    for method, curves in panels.items():
        figures |= _best(method, curves)
    return Outcome(figures, {"panels": panels, "runs": runs})


def _draw_prediction(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    panels = outcome.data["panels"]
    for i, (method, curves) in enumerate(panels.items(), 1):
        title = f"{method[0].upper()}{method[1:]}: RMS error"
        axes = drawing.panel(figure, 100 + 10 * len(panels) + i, title, "α", "")
        draw_curves(axes, curves, ERROR_AXIS)
        axes.set_xlim(0, 1)
        if i == len(panels):
            _legend_beside(axes)
    runs = outcome.data["runs"]
    drawing.footnote(
        figure, f"mean over the first {WALKS} episodes, {runs:,} runs · band: 95 % interval of the mean"
    )


def _legend_beside(axes: Any) -> None:
    """To the right of the axes: so many curves leave no room within."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


_CAR_LAMBDAS = (0.0, 0.68, 0.84, 0.92, 0.96, 0.98, 0.99)
_CAR_ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8)
_KIND_ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
_KIND_DECAY = 0.9
_KIND_EPISODES = 20
# Accumulating traces diverge early.
_KINDS: dict[str, tuple[Kind, float]] = {
    "true online SARSA(λ), dutch traces": ("dutch", 2.0),
    "SARSA(λ), replacing traces": ("replacing", 2.0),
    "SARSA(λ), accumulating traces": ("accumulating", 0.8),
}


def _replacing(runs: int, seed: int) -> Outcome:
    """SARSA(λ) with replacing traces, beside n-step SARSA."""
    curves, played = {}, []
    for lam in _CAR_LAMBDAS:
        decay = [lam] * len(_CAR_ALPHAS)
        learners = stack(LinearSarsaLambda(), trace_decay=decay, learning_rate=_CAR_ALPHAS)
        played.append(play(learners, mountain_car(), runs, EARLY, seed, batch=BATCH))
        curves[f"λ = {lam:g}"] = curve_of(_CAR_ALPHAS, mean_steps(played[-1]))
    n_step, also_played = n_step_study(runs, seed)
    figures = best_of(curves, EARLY_STEPS) | best_of(n_step, EARLY_STEPS) | cut(*played, *also_played)
    panels = {"SARSA(λ), replacing traces": curves, "n-step SARSA": n_step}
    return Outcome(figures, {"panels": panels, "runs": runs})


def _draw_replacing(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    for i, (method, curves) in enumerate(outcome.data["panels"].items(), 1):
        title = f"{method}: steps of an episode"
        axes = drawing.panel(figure, 120 + i, title, f"α × number of tilings ({TILINGS})", "")
        draw_curves(axes, curves, STEPS_AXIS)
        axes.legend(loc="upper right", ncols=2, fontsize=8)
    note(figure, outcome.data["runs"])


def _kinds(runs: int, seed: int) -> Outcome:
    """Reward per episode of SARSA(λ) with each kind of traces."""
    curves, played = {}, []
    for label, (kind, most) in _KINDS.items():
        alphas = [a for a in _kind_alphas(kind) if a <= most]
        learners = stack(
            LinearSarsaLambda(traces=kind), trace_decay=[_KIND_DECAY] * len(alphas), learning_rate=alphas
        )
        played.append(play(learners, mountain_car(), runs, _KIND_EPISODES, seed, batch=BATCH))
        curves[label] = curve_of(alphas, mean_steps(played[-1]))
    figures = best_of(curves, f"steps of the first {_KIND_EPISODES} episodes") | cut(*played)
    return Outcome(figures, {"curves": curves, "runs": runs})


def _kind_alphas(kind: str) -> Sequence[float]:
    return (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8) if kind == "accumulating" else _KIND_ALPHAS


def _draw_kinds(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    title = f"Steps of an episode, mean of the first {_KIND_EPISODES}; λ = {_KIND_DECAY}"
    axes = drawing.panel(figure, 111, title, f"α × number of tilings ({TILINGS})", "")
    draw_curves(axes, outcome.data["curves"], (150.0, 700.0))
    axes.legend(loc="upper right")
    note(figure, outcome.data["runs"])


_WALK_NOTES = ("random walk of 19 states, −1 at the left and 1 at the right; γ = 1, all values 0 at first",)

EXPERIMENTS = (
    Experiment(
        "figure-12.3",
        "the off-line λ-return algorithm on the 19-state random walk",
        "Sutton & Barto 2018, Figure 12.3",
        100,
        lambda runs, seed: _prediction({}, runs, seed),
        _draw_prediction,
        notes=(*_WALK_NOTES, "the returns of an episode are of the values before it"),
    ),
    Experiment(
        "figure-12.6",
        "TD(λ) on the 19-state random walk, beside the off-line λ-return algorithm",
        "Sutton & Barto 2018, Figure 12.6",
        100,
        lambda runs, seed: _prediction({TD: "accumulating"}, runs, seed),
        _draw_prediction,
        size=(12.0, 4.8),
        notes=_WALK_NOTES,
    ),
    Experiment(
        "figure-12.8",
        "true online TD(λ), which is the online λ-return algorithm, on the 19-state random walk",
        "Sutton & Barto 2018, Figure 12.8",
        100,
        lambda runs, seed: _prediction({TRUE_ONLINE: "dutch"}, runs, seed),
        _draw_prediction,
        size=(12.0, 4.8),
        notes=_WALK_NOTES,
    ),
    Experiment(
        "figure-12.10",
        f"SARSA(λ) with replacing traces on MountainCar, beside n-step SARSA (episodes cut at {CAP:,} steps)",
        "Sutton & Barto 2018, Figure 12.10",
        10,
        _replacing,
        _draw_replacing,
        size=(12.0, 4.8),
        notes=NOTES,
    ),
    Experiment(
        "figure-12.11",
        f"SARSA({_KIND_DECAY}) on MountainCar by kinds of traces (episodes cut at {CAP:,} steps)",
        "Sutton & Barto 2018, Figure 12.11",
        10,
        _kinds,
        _draw_kinds,
        notes=(
            *NOTES,
            "the traces that are cleared for the other actions, a fourth kind there, are not made",
        ),
    ),
)
