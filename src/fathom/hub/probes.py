"""Looks into a learner that cost a computation of their own: copies are advanced, what is trained is not."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from fathom.algos.base import ActionValues, Ratios
from fathom.core.errors import FathomError
from fathom.core.keys import named, numbered
from fathom.core.spaces import Discrete
from fathom.core.types import Clock
from fathom.envs.base import Env
from fathom.train import loop
from fathom.train.loop import Plan, Seed

POINTS = 600  # of a scatter that are shown
EPISODES = 8  # side by side, to see what values come to
STEPS = 1024  # of each of them at most
REMAINDER = 0.05  # of a cut episode, steps are shown whose return the rest can change by this part at most


@dataclass(frozen=True)
class Scatter:
    """Pairs of numbers, and what is needed to read them."""

    u: int
    x: np.ndarray
    y: np.ndarray
    facts: dict[str, float]


def knows_ratios(algorithm: Any) -> bool:
    """Whether `ratios` can be asked of it."""
    return isinstance(algorithm, Ratios)


def knows_returns(algorithm: Any, spec: Any) -> bool:
    """Whether `returns` can be asked of it: of values in the units of what the environment pays."""
    scaled = bool(getattr(algorithm, "normalize_reward", False))
    return isinstance(algorithm, ActionValues) and isinstance(spec.action_space, Discrete) and not scaled


def ratios(algorithm: Any, env: Env, plan: Plan, before: Seed, after: PyTree, clock: Clock) -> Scatter:
    """The advantage (x) and probability ratio (y) of the steps of the update that led to the learner `after`.

    `before` is one seed as it was when that update began: its rollout is made once more, which gives the
    same steps.
    """
    found = jax.device_get(_ratios(algorithm, env, before, after, clock, plan))
    ratio, advantage, clip = (np.asarray(x, np.float64) for x in found)
    outside = np.abs(ratio - 1.0) > clip
    at = _some(ratio.size)
    facts = {"clip": float(clip), "outside": float(outside.mean()), "steps": float(ratio.size)}
    return Scatter(int(clock.update), advantage.ravel()[at], ratio.ravel()[at], facts)


@functools.partial(jax.jit, static_argnames=("plan",))
def _ratios(algorithm: Any, env: Env, before: Seed, after: PyTree, clock: Clock, plan: Plan) -> Any:
    _, rollout = loop.collect(algorithm, env, plan, before, clock)
    return algorithm.ratios(before.learner, after, rollout, clock)


def returns(
    algorithm: Any, env: Env, spec: Any, learner: PyTree, key: Key[Array, ""], clock: Clock
) -> Scatter:
    """What the learner takes actions to be worth (x) and what they brought (y): discounted, by its own greedy
    policy, over episodes of their own.

    Of episodes that were cut, only steps whose return the missing rest can no longer change much.
    """
    played = jax.device_get(_episodes(algorithm, env, learner, key, clock, spec.action_space.start))
    value, reward, alive, terminated = (np.asarray(x) for x in played)
    gamma = float(algorithm.gamma)
    realised = np.zeros(reward.shape)
    total, rest = np.zeros(reward.shape[1]), np.ones(reward.shape[1])
    rests = np.zeros(reward.shape)
    for t in range(len(reward) - 1, -1, -1):
        # γ^k of the k steps to where the episode was cut, 0 where it ended by itself.
        rest = np.where(alive[t], np.where(terminated[t], 0.0, gamma * rest), rest)
        total = np.where(alive[t], reward[t] + gamma * total, total)
        realised[t], rests[t] = total, rest
    known = alive & (rests <= REMAINDER)
    if not known.any():
        raise FathomError(
            f"none of {EPISODES} episodes ended within {STEPS:,} steps, nor went on long enough for γ = "
            f"{gamma:g} to make what follows negligible: what actions brought is not known yet."
        )
    x, y = value[known].astype(np.float64), realised[known]
    at = _some(len(x))
    facts = {"bias": float((x - y).mean()), "gamma": gamma, "steps": float(len(x)), "episodes": EPISODES}
    return Scatter(int(clock.update), x[at], y[at], facts)


@functools.partial(jax.jit, static_argnames=("first",))
def _episodes(algorithm: Any, env: Env, learner: PyTree, key: Array, clock: Clock, first: int) -> Any:
    state, obs = jax.vmap(env.reset)(jax.random.split(named(key, "reset"), EPISODES))
    start = (state, obs, algorithm.init_memory(learner, EPISODES), jnp.ones(EPISODES, jnp.bool_))

    def step(carry: tuple, t: Array) -> tuple[tuple, tuple]:
        state, obs, memory, alive = carry
        act_key, step_key = numbered(named(key, "act"), t), numbered(named(key, "step"), t)
        action, memory, _ = algorithm.act(learner, memory, obs, act_key, clock, False)
        values = algorithm.action_values(learner, obs)
        value = jnp.take_along_axis(values, (action - first)[:, None], axis=1)[:, 0]
        state, made = jax.vmap(env.step)(jax.random.split(step_key, EPISODES), state, action)
        row = (value, made.reward, alive, made.terminated)
        return (state, made.obs, memory, alive & ~(made.terminated | made.truncated)), row

    return jax.lax.scan(step, start, jnp.arange(STEPS, dtype=jnp.int32))[1]


def _some(size: int) -> np.ndarray:
    """Indices spread evenly over so many points."""
    return np.unique(np.linspace(0, size - 1, min(size, POINTS)).astype(np.int64))
