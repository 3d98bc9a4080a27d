"""Many runs of a bandit learner side by side, each on a problem of its own, in one compiled program."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import Online
from fathom.core.keys import named, numbered
from fathom.core.module import lift
from fathom.core.types import Clock, Transition
from fathom.envs.base import spec_of
from fathom.envs.toy.bandit import Bandit


class Played(NamedTuple):
    """What the runs of one learner gave: means over runs at each step, means over steps of each run."""

    reward: Float[np.ndarray, " step"]
    reward_std: Float[np.ndarray, " step"]  # standard deviation over runs
    optimal: Float[np.ndarray, " step"]  # part of the runs that took a best arm
    last_reward: Float[np.ndarray, " run"]  # over the last steps
    last_optimal: Float[np.ndarray, " run"]
    all_reward: Float[np.ndarray, " run"]  # over all steps


def play(
    learners: tuple[Online, ...], env: Bandit, runs: int, steps: int, last: int, seed: int = 0
) -> list[Played]:
    """Let each learner play `runs` problems, those of every learner the same, for `steps` steps.

    The learner's own `act` and `update` and the environment's `step`, vmapped over runs. `last` is how many
    of the last steps `last_reward` and `last_optimal` average.
    """
    played = _play(lift(learners), lift(env), jax.random.key(seed), runs, steps, last)
    return [Played(*(np.asarray(x) for x in one)) for one in played]


# Runs lie along the last axis of every array, so that what is done over actions is vectorised over runs.
@partial(jax.jit, static_argnames=("runs", "steps", "last"))
def _play(
    learners: tuple[Online, ...], env: Bandit, key: Key[Array, ""], runs: int, steps: int, last: int
) -> list[tuple[Array, ...]]:
    problems, obs = jax.vmap(env.reset, out_axes=(-1, None))(jax.random.split(named(key, "problems"), runs))
    plays = named(key, "plays")
    return [
        _play_one(learner, env, problems, obs[None], numbered(plays, i), runs, steps, last)
        for i, learner in enumerate(learners)
    ]


def _play_one(
    learner: Online,
    env: Bandit,
    problems: PyTree,
    obs: Array,
    key: Key[Array, ""],
    runs: int,
    steps: int,
    last: int,
) -> tuple[Array, ...]:
    zero = jnp.zeros((), jnp.int32)
    clock = Clock(zero, zero, jnp.ones((), jnp.float32), zero)  # no bandit learner has a schedule

    def begin(key: Array) -> PyTree:
        return learner.init(spec_of(env), key)

    def advance(keys: Array, state: PyTree, problem: PyTree) -> tuple:
        action, memory, extras = learner.act(state, (), obs, keys[0], clock, True)
        problem, step = env.step(keys[1], problem, action[0])
        seen = Transition(
            obs, action, step.reward[None], step.terminated[None], step.truncated[None], obs, extras
        )
        state, _, _ = learner.update(state, memory, seen, keys[2], clock)
        return state, problem, step.reward, step.info["optimal"]

    over_runs = jax.vmap(advance, in_axes=(0, -1, -1), out_axes=(-1, -1, 0, 0))

    def step(carry: tuple, now: tuple) -> tuple:
        states, problems, total, late = carry
        keys, is_late = now
        states, problems, reward, optimal = over_runs(keys, states, problems)
        late = jax.tree.map(lambda sum, x: sum + is_late * x, late, (reward, optimal))
        row = (reward.mean(), reward.std(ddof=1) if runs > 1 else jnp.zeros(()), optimal.mean())
        return (states, problems, total + reward, late), row

    init_key, step_key = jax.random.split(key)
    states = jax.vmap(begin, out_axes=-1)(jax.random.split(init_key, runs))
    zeros = jnp.zeros(runs, jnp.float32)
    # One batch for all steps: inside a scan each call of Threefry is a loop of its own.
    keys = jax.random.split(step_key, (steps, runs, 3))
    is_late = (jnp.arange(steps) >= steps - last).astype(jnp.float32)
    (_, _, total, late), rows = jax.lax.scan(step, (states, problems, zeros, (zeros, zeros)), (keys, is_late))
    return (*rows, late[0] / last, late[1] / last, total / steps)
