"""Eligibility traces: Sutton & Barto 2018, Figures 12.3, 12.6, 12.8, 12.10 and 12.11."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.algos.tabular.td_lambda import TDLambda
from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds, named
from fathom.envs.base import vec_draws, vec_reset, vec_step
from fathom.envs.toy.random_walk import random_walk_19
from fathom.ops.returns import lambda_returns
from fathom.ops.traces import Kind
from fathom.reproduce import curves, drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings
from fathom.reproduce.curves import Curve
from fathom.reproduce.linear import (
    CUT,
    EARLY,
    EARLY_STEPS,
    NOTES,
    STEPS_AXIS,
    best_of,
    cut,
    draw_by_alpha,
    n_step_study,
    steps_of,
)
from fathom.reproduce.td import ERROR_AXIS, error_after, rms_error
from fathom.reproduce.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAMBDAS = (0.0, 0.4, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0)
ALPHAS = (0.01, 0.02, 0.03, 0.05, 0.075, *(round(0.05 * i, 2) for i in range(2, 21)))
WALKS = 10  # episodes over which the error is averaged
LONGEST = 4_096  # steps within which a walk must have ended; not so once in 10²⁰

_TRUE = random_walk_19().values()
_ERROR = f"RMS error of the first {WALKS} episodes"


class Walk(NamedTuple):
    """The steps of an episode, and after its end rows of no use."""

    state: Int[Array, "... time"]
    reward: Float[Array, "... time"]
    terminated: Bool[Array, "... time"]
    next_state: Int[Array, "... time"]


def walks(runs: int, seed: int) -> Walk:
    """`WALKS` whole walks of each run, [run, walk, time]; FathomError where one is too long."""
    env = random_walk_19()
    env_state, first = vec_reset(env, env_seeds(named(jax.random.key(seed), "walks"), runs * WALKS))
    draws = vec_draws(env, env_state, LONGEST)
    action = jnp.zeros(runs * WALKS, jnp.int32)
    _, steps = jax.lax.scan(lambda state, drawn: vec_step(env, state, action, drawn), env_state, draws)
    ends = np.asarray(steps.terminated)
    if not ends.any(axis=0).all():
        raise FathomError(f"a walk of seed {seed} is longer than {LONGEST:,} steps; take another seed.")
    state = jnp.concatenate([first[None], steps.final_obs[:-1]])
    made = Walk(state, steps.reward, steps.terminated, steps.final_obs)
    length = ends.argmax(axis=0).max() + 1
    return jax.tree.map(lambda x: x[:length].T.reshape(runs, WALKS, length), made)


def off_line(
    values: Float[Array, " state"], walk: Walk, td_lambda: Float[Array, ""], step_size: Float[Array, ""]
) -> Float[Array, " state"]:
    """The values after one episode of the off-line λ-return algorithm, Sutton & Barto 2018, Eq. 12.4.

    V(S_t) ← V(S_t) + α [G_t^λ − V(S_t)] for t = 0, …, T − 1, all returns being those of the values before.
    """
    column = lambda x: x[:, None]  # noqa: E731  one environment
    cut = jnp.zeros((walk.state.shape[0], 1), jnp.bool_)
    target = lambda_returns(
        column(walk.reward), column(walk.terminated), cut, column(values[walk.next_state]), 1.0, td_lambda
    )[:, 0]
    over = walk.terminated.astype(jnp.int32)
    alpha = jnp.where(jnp.cumsum(over) - over == 0, step_size, 0.0)

    def change(v: Array, row: tuple[Array, Array, Array]) -> tuple[Array, None]:
        s, g, a = row
        return v.at[s].add(a * (g - v[s])), None

    return jax.lax.scan(change, values, (walk.state, target, alpha))[0]


@jax.jit
def _off_line_errors(
    made: Walk, td_lambda: Float[Array, " setting"], step_size: Float[Array, " setting"]
) -> Float[Array, "setting run"]:
    """The mean error over the ends of the episodes."""

    def run(episodes: Walk, lam: Array, alpha: Array) -> Array:
        def episode(values: Array, walk: Walk) -> tuple[Array, Array]:
            values = off_line(values, walk, lam, alpha)
            return values, rms_error(values, _TRUE)

        return jax.lax.scan(episode, jnp.zeros(_TRUE.size, jnp.float32), episodes)[1].mean()

    runs = jax.vmap(run, in_axes=(0, None, None))
    return jax.lax.map(lambda one: runs(made, *one), (td_lambda, step_size), batch_size=len(ALPHAS))


def _settings() -> tuple[np.ndarray, np.ndarray]:
    """λ and α of every setting, all α of the first λ first."""
    lam, alpha = np.meshgrid(np.array(LAMBDAS), np.array(ALPHAS), indexing="ij")
    return lam.ravel().astype(np.float32), alpha.ravel().astype(np.float32)


def _by_lambda(errors: Float[np.ndarray, "setting run"]) -> dict[str, Curve]:
    rows = errors.reshape(len(LAMBDAS), len(ALPHAS), -1)
    return {f"λ = {lam:g}": Curve.of(ALPHAS, one.T) for lam, one in zip(LAMBDAS, rows, strict=True)}


def off_line_curves(runs: int, seed: int) -> dict[str, Curve]:
    """The error of the off-line λ-return algorithm against α, a curve for each λ."""
    return _by_lambda(np.asarray(_off_line_errors(walks(runs, seed), *map(jnp.asarray, _settings()))))


def td_curves(traces: Kind, runs: int, seed: int) -> dict[str, Curve]:
    """The error of TD(λ) with traces of one kind against α, a curve for each λ."""
    env = random_walk_19()
    learners = [
        TDLambda(traces=traces, gamma=1.0, trace_decay=float(lam), learning_rate=float(alpha))
        for lam, alpha in zip(*_settings(), strict=True)
    ]
    played = Trials(learners, env, runs, seed, error_after(env)).episodes(env, WALKS, 512)
    with np.errstate(invalid="ignore", over="ignore"):  # accumulating traces diverge where both are large
        return _by_lambda(played.seen.mean(axis=-1))


def _best(method: str, found: dict[str, Curve]) -> dict[str, Estimate]:
    return {
        f"{method}, {label}, best α = {one.x[one.lowest]:g}: {_ERROR}": one.at(one.lowest)
        for label, one in found.items()
    }


OFF_LINE, TD, TRUE_ONLINE = "off-line λ-return", "TD(λ)", "true online TD(λ)"


def _prediction(kinds: dict[str, Kind], runs: int, seed: int) -> Outcome:
    """The error of each method; the off-line λ-return algorithm always is one."""
    panels = {method: td_curves(kind, runs, seed) for method, kind in kinds.items()}
    panels[OFF_LINE] = off_line_curves(runs, seed)
    figures = {}
    for method, found in panels.items():
        figures |= _best(method, found)
    return Outcome(figures, {"panels": panels, "runs": runs})


def _draw_prediction(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    panels = outcome.data["panels"]
    for i, (method, found) in enumerate(panels.items(), 1):
        title = f"{method[0].upper()}{method[1:]}: RMS error"
        axes = drawing.panel(figure, 100 + 10 * len(panels) + i, title, "α", "")
        axes.set_xlim(0, 1)
        curves.lines(axes, found, curves.shades_of(found), ERROR_AXIS, marker="o", ms=2.5)
        if i == len(panels):
            curves.legend_beside(axes)
    curves.note(figure, outcome.data["runs"], more=f"over the first {WALKS} episodes")


_CAR_LAMBDAS = (0.0, 0.68, 0.84, 0.92, 0.96, 0.98, 0.99)
_CAR_ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8)
_KIND_ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
_KIND_DECAY = 0.9
_KIND_EPISODES = 20
_KINDS: dict[str, tuple[Kind, tuple[float, ...]]] = {
    "true online SARSA(λ), dutch traces": ("dutch", _KIND_ALPHAS),
    "SARSA(λ), replacing traces": ("replacing", _KIND_ALPHAS),
    "SARSA(λ), accumulating traces": ("accumulating", (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)),  # diverge early
}


def _replacing(runs: int, seed: int) -> Outcome:
    """SARSA(λ) with replacing traces, beside n-step SARSA."""
    found, played = {}, []
    for lam in _CAR_LAMBDAS:
        learners = [LinearSarsaLambda(trace_decay=lam, learning_rate=a) for a in _CAR_ALPHAS]
        played.append(steps_of(learners, runs, EARLY, seed))
        found[f"λ = {lam:g}"] = Curve.of(_CAR_ALPHAS, played[-1].mean(axis=-1).T)
    n_step, also_played = n_step_study(runs, seed)
    figures = best_of(found, EARLY_STEPS) | best_of(n_step, EARLY_STEPS) | cut(*played, *also_played)
    panels = {"SARSA(λ), replacing traces": found, "n-step SARSA": n_step}
    return Outcome(figures, {"panels": panels, "runs": runs})


def _draw_replacing(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    for i, (method, found) in enumerate(outcome.data["panels"].items(), 1):
        axes = draw_by_alpha(figure, 120 + i, f"{method}: steps of an episode", found, STEPS_AXIS)
        axes.legend(loc="upper center", ncols=2, fontsize=8)
    curves.note(figure, outcome.data["runs"], more=f"over the first {EARLY} episodes · {CUT}")


def _kinds(runs: int, seed: int) -> Outcome:
    """Reward per episode of SARSA(λ) with each kind of traces."""
    found, played = {}, []
    for label, (kind, alphas) in _KINDS.items():
        learners = [LinearSarsaLambda(traces=kind, trace_decay=_KIND_DECAY, learning_rate=a) for a in alphas]
        played.append(steps_of(learners, runs, _KIND_EPISODES, seed))
        found[label] = Curve.of(alphas, played[-1].mean(axis=-1).T)
    figures = best_of(found, f"steps of the first {_KIND_EPISODES} episodes") | cut(*played)
    return Outcome(figures, {"curves": found, "runs": runs})


def _draw_kinds(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    title = f"Steps of an episode, mean of the first {_KIND_EPISODES}; λ = {_KIND_DECAY}"
    axes = draw_by_alpha(figure, 111, title, outcome.data["curves"], (150.0, 700.0), curves.colors_of)
    axes.legend(loc="upper center")
    curves.note(figure, outcome.data["runs"], more=CUT)


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
        f"SARSA(λ) with replacing traces on MountainCar, beside n-step SARSA ({CUT})",
        "Sutton & Barto 2018, Figure 12.10",
        10,
        _replacing,
        _draw_replacing,
        size=(12.0, 4.8),
        notes=NOTES,
    ),
    Experiment(
        "figure-12.11",
        f"SARSA({_KIND_DECAY}) on MountainCar by kinds of traces ({CUT})",
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
