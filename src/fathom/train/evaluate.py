"""Evaluation: its own environments, its own keys, and no way back into training."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from fathom.algos.base import Algorithm
from fathom.core.keys import env_seeds, named, numbered
from fathom.core.types import Clock
from fathom.envs.base import Env
from fathom.envs.host import HostEnv
from fathom.train.engine import Engine, HostEngine, NativeEngine, clock_at, over_seeds
from fathom.train.loop import act_key, reset_memory

STEP_CAP = 100_000  # steps after which an episode is cut, for environments that never end one themselves
_HOST_ENVS = 10  # environments side by side per seed on the host path


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of whole episodes, raw reward, undiscounted; arrays [seed, episode]."""

    returns: np.ndarray
    lengths: np.ndarray
    cut: int  # episodes that the step cap ended, whose return is of the steps made

    @property
    def mean(self) -> float:
        """Mean over seeds and episodes."""
        return float(self.returns.mean())

    @property
    def per_seed(self) -> np.ndarray:
        """Mean return of each seed, [seed]."""
        return self.returns.mean(axis=1)


def evaluate(
    engine: Engine,
    episodes: int,
    *,
    horizon: int,
    deterministic: bool = True,
    max_steps: int = STEP_CAP,
    stream: int = 0,
) -> Evaluation:
    """Run every seed's present policy for `episodes` whole episodes.

    `stream` numbers the evaluation's own random stream: the same number gives the same episodes. Nothing of
    the training state is written, nor are its keys consumed.
    """
    keys = over_seeds(lambda key: numbered(named(key, "evaluate"), stream), engine.batched, 0)(engine.keys)
    clock = clock_at(engine, horizon)
    if isinstance(engine, NativeEngine):
        returns, lengths, over = _evaluate_native(
            engine.algorithm,
            engine.env,
            engine.learner,
            keys,
            clock,
            np.int32(max_steps),
            episodes,
            not deterministic,
            engine.seeds,
        )
        shape = (engine.seeds, episodes)
        returns, lengths, over = (np.asarray(x).reshape(shape) for x in (returns, lengths, over))
        return Evaluation(returns.astype(np.float64), lengths, int((~over).sum()))
    assert isinstance(engine, HostEngine)
    return _evaluate_host(engine, keys, clock, episodes, not deterministic, max_steps)


@partial(jax.jit, static_argnames=("episodes", "explore", "seeds"))
def _evaluate_native(
    algorithm: Algorithm,
    env: Env,
    learner: PyTree,
    keys: Array,
    clock: Clock,
    max_steps: Int[Array, ""],
    episodes: int,
    explore: bool,
    seeds: int,
) -> tuple[Array, Array, Array]:
    """All episodes of all seeds side by side, until the last one is over."""

    def start(learner: PyTree, key: Array) -> tuple:
        reset_keys = jax.random.split(named(key, "reset"), episodes)
        state, obs = jax.vmap(env.reset)(reset_keys)
        over = jnp.zeros(episodes, jnp.bool_)
        memory = algorithm.init_memory(learner, episodes)
        return state, obs, memory, over, jnp.zeros(episodes), jnp.zeros(episodes, jnp.int32)

    def step(t: Array, learner: PyTree, key: Array, carry: tuple) -> tuple:
        state, obs, memory, over, total, length = carry
        action, memory, _ = algorithm.act(
            learner, memory, obs, numbered(named(key, "act"), t), clock, explore
        )
        step_keys = jax.random.split(numbered(named(key, "step"), t), episodes)
        state, ts = jax.vmap(env.step)(step_keys, state, action)
        total = total + jnp.where(over, 0.0, ts.reward)
        length = length + (~over).astype(jnp.int32)
        return state, ts.obs, memory, over | ts.terminated | ts.truncated, total, length

    def body(loop: tuple) -> tuple:
        t, carry = loop
        return t + 1, over_seeds(partial(step, t), seeds > 1, 0)(learner, keys, carry)

    first = over_seeds(start, seeds > 1, 0)(learner, keys)
    unfinished = lambda loop: (loop[0] < max_steps) & ~loop[1][3].all()  # noqa: E731
    _, last = jax.lax.while_loop(unfinished, body, (jnp.asarray(0, jnp.int32), first))
    return last[4], last[5], last[3]


@partial(jax.jit, static_argnames=("tree", "explore", "seeds"))
def _act_evaluate(
    leaves: list, memory: PyTree, obs: PyTree, over: Array, t: Array, tree: Any, explore: bool, seeds: int
) -> tuple[PyTree, PyTree]:
    algorithm, learner, keys, clock = jax.tree.unflatten(tree, leaves)

    def one(learner: PyTree, memory: PyTree, obs: PyTree, over: Array, key: Array) -> tuple:
        memory = reset_memory(algorithm, learner, memory, over)
        action, memory, _ = algorithm.act(learner, memory, obs, act_key(key, clock, t), clock, explore)
        return action, memory

    return over_seeds(one, seeds > 1, 0)(learner, memory, obs, over, keys)


def _evaluate_host(
    engine: HostEngine, keys: Array, clock: Clock, episodes: int, explore: bool, max_steps: int
) -> Evaluation:
    """Each environment plays its fixed share of the episodes: short ones are not counted more often."""
    task = engine.env.task
    env = _capped(task, max_steps)
    width = min(episodes, _HOST_ENVS)
    share = np.full(width, episodes // width)
    share[: episodes % width] += 1
    left = np.tile(share, engine.seeds)
    vector = env.vector(engine.seeds * width, workers="in-process")
    try:
        starts = over_seeds(partial(env_seeds, num_envs=width), engine.batched, 0)(keys)
        obs = vector.reset(np.asarray(starts).ravel())
        lead = (engine.seeds, width) if engine.batched else (width,)
        split = lambda tree: jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), tree)  # noqa: E731
        memory = over_seeds(lambda learner: engine.algorithm.init_memory(learner, width), engine.batched, 0)(
            engine.learner
        )
        leaves, tree = jax.tree.flatten((engine.algorithm, engine.learner, keys, clock))
        total, length = np.zeros(len(left)), np.zeros(len(left), np.int64)
        over = np.zeros(len(left), bool)
        returns: list[list[float]] = [[] for _ in range(engine.seeds)]
        lengths: list[list[int]] = [[] for _ in range(engine.seeds)]
        t = cut = 0
        while left.any():
            action, memory = _act_evaluate(
                leaves, memory, split(obs), split(over), np.int32(t), tree, explore, engine.seeds
            )
            action = jax.tree.map(lambda x: np.asarray(x).reshape(len(left), *x.shape[len(lead) :]), action)
            step = vector.step(action)
            obs, over = step.obs, step.terminated | step.truncated
            total += step.reward
            length += 1
            t += 1
            for i in np.flatnonzero(over & (left > 0)):
                returns[i // width].append(float(total[i]))
                lengths[i // width].append(int(length[i]))
                cut += int(env is not task and length[i] >= max_steps and not step.terminated[i])
                left[i] -= 1
            total[over], length[over] = 0.0, 0
    finally:
        vector.close()
    return Evaluation(np.array(returns), np.array(lengths), cut)


def _capped(env: HostEnv, max_steps: int) -> HostEnv:
    """The environment with episodes of at most `max_steps`."""
    if env.max_episode_steps is not None and env.max_episode_steps <= max_steps:
        return env
    from gymnasium.wrappers import TimeLimit

    return HostEnv(lambda: TimeLimit(env.make(), max_steps), env.id)
