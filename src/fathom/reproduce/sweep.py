"""Learners that differ in numbers alone, each for whole episodes of many runs, in one compiled program."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.algos.base import Online
from fathom.core.keys import env_seeds, named, numbered
from fathom.core.module import lift
from fathom.core.scan import scan_ahead
from fathom.core.types import Clock, Transition
from fathom.envs.base import Env, spec_of, vec_draws, vec_reset, vec_step
from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate
from fathom.train.loop import act_online, learn_from_step

_ROWS = 128  # steps whose chance is drawn at once

AnyOnline = TypeVar("AnyOnline", bound=Online)
Measure = Callable[[PyTree], Float[Array, ""]]


class Episodes(NamedTuple):
    """What the episodes of each run of each learner gave."""

    length: Int[np.ndarray, "learner run episode"]  # steps
    truncated: Bool[np.ndarray, "learner run episode"]  # whether it was cut before its end
    measured: Float[np.ndarray, "learner run episode"]  # of the learner's state after it; 0 if not asked for


def stack(learner: AnyOnline, **numbers: Sequence[float]) -> AnyOnline:
    """One learner for each row of the numbers, which are fields of it; every leaf [learner]."""
    (count,) = {len(values) for values in numbers.values()}
    varied = replace(learner, **{name: np.asarray(x, np.float32) for name, x in numbers.items()})
    return jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.float32), (count,)), varied)


def play(
    learners: Online,
    env: Env,
    runs: int,
    episodes: int,
    seed: int = 0,
    measure: Measure | None = None,
    batch: int | None = None,
) -> Episodes:
    """Let each of the `learners` (every leaf [learner]) play `episodes` episodes in each of `runs` runs.

    By its own `act` and `update`, in one environment, as the training loop has it. Run i of every learner has
    the same chance. `measure` is taken of the learner's state at the end of each episode. `batch` learners
    and runs go side by side, all by default: each waits for the longest of them.
    """
    (count,) = {x.shape[0] for x in jax.tree.leaves(learners)}
    root = named(jax.random.key(seed), "runs")
    keys = jax.vmap(lambda i: numbered(root, i))(jnp.arange(runs, dtype=jnp.int32))
    lanes = count * runs
    each = jax.tree.map(lambda x: jnp.repeat(x, runs, axis=0), learners)
    given = each, jnp.tile(keys, count)
    out = _play(given, lift(env), episodes, measure, min(batch or lanes, lanes))
    return Episodes(*(np.asarray(x).reshape(count, runs, episodes) for x in out))


@partial(jax.jit, static_argnames=("episodes", "measure", "batch"))
def _play(
    given: tuple[Online, Key[Array, " lane"]], env: Env, episodes: int, measure: Measure | None, batch: int
) -> Episodes:
    def run(one: tuple[Online, Key[Array, ""]]) -> Episodes:
        return _run(*one, env, episodes, measure)

    return jax.lax.map(run, given, batch_size=batch) if batch > 1 else jax.lax.map(run, given)


def _run(learner: Online, key: Key[Array, ""], env: Env, episodes: int, measure: Measure | None) -> Episodes:
    """One run of one learner. What is played after the last episode, to the end of a block, is not kept."""
    env_state, obs = vec_reset(env, env_seeds(key, 1))
    state = learner.init(spec_of(env), named(key, "init"))
    start = (env_state, obs, state, learner.init_memory(state, 1))
    zero = jnp.zeros((), jnp.int32)
    empty = Episodes(
        jnp.zeros(episodes, jnp.int32), jnp.zeros(episodes, jnp.bool_), jnp.zeros(episodes, jnp.float32)
    )

    def row(carry: tuple, ahead: tuple) -> tuple[tuple, None]:
        (env_state, obs, state, memory), episode, length, kept = carry
        t, draws = ahead
        clock = Clock(t, jnp.ones((), jnp.int32), jnp.ones((), jnp.float32), zero)
        action, memory, extras = act_online(learner, state, memory, obs, key, clock)
        env_state, vec = vec_step(env, env_state, action, draws)
        step = Transition(obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras)
        state, memory, _ = learn_from_step(learner, state, memory, step, key, clock)

        over, cut = (step.terminated | step.truncated)[0], (step.truncated & ~step.terminated)[0]
        length = length + 1
        measured = jnp.zeros((), jnp.float32) if measure is None else measure(state)
        at = jnp.where(over, episode, episodes)
        put = lambda into, x: into.at[at].set(x, mode="drop")  # noqa: E731
        kept = jax.tree.map(put, kept, Episodes(length, cut, measured))
        episode, length = episode + over.astype(jnp.int32), jnp.where(over, 0, length)
        return ((env_state, vec.obs, state, memory), episode, length, kept), None

    def block(carry: tuple) -> tuple:
        first, inner = carry
        ahead = (first + jnp.arange(_ROWS, dtype=jnp.int32), vec_draws(env, inner[0][0], _ROWS))
        inner, _ = scan_ahead(row, inner, ahead)
        return first + _ROWS, inner

    def unfinished(carry: tuple) -> Array:
        return carry[1][1] < episodes

    _, (_, _, _, kept) = jax.lax.while_loop(unfinished, block, (zero, (start, zero, zero, empty)))
    return kept


class Curve(NamedTuple):
    """A number of ours against a parameter."""

    x: Float[np.ndarray, " point"]
    y: list[Estimate]

    @property
    def best(self) -> int:
        """The point of the lowest value; what diverged is none."""
        return int(np.argmin([e.value if np.isfinite(e.value) else np.inf for e in self.y]))


def curve_of(x: Sequence[float], samples: Float[np.ndarray, "point run"]) -> Curve:
    """The mean over runs at each point."""
    with np.errstate(invalid="ignore", over="ignore"):
        return Curve(np.asarray(x, np.float64), [Estimate.of(row) for row in samples])


def draw_curves(axes: Any, curves: dict[str, Curve], ylim: tuple[float, float]) -> None:
    """Each curve with the 95 % interval of its points; what leaves the axes, or diverged, is cut off."""
    for (label, one), color in zip(curves.items(), drawing.COLORS, strict=False):
        known = [(x, e) for x, e in zip(one.x, one.y, strict=True) if np.isfinite(e.value)]
        # Points far outside would break the drawing of the lines that lead to them.
        far = ylim[1] + 5.0 * (ylim[1] - ylim[0])
        y = np.minimum([e.value for _, e in known], far)
        half = np.array([e.interval[1] - e.value if e.interval else 0.0 for _, e in known])
        half = np.where(y < far, half, 0.0)
        drawing.curve(axes, np.array([x for x, _ in known]), y, label, color, half, marker="o", ms=2.5)
    axes.set_ylim(*ylim)
