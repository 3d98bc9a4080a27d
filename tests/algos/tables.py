"""What the tests of learners with tables share: small problems with exact values, and a recorder."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fathom.algos.base import Online
from fathom.core.module import lift
from fathom.core.spaces import Discrete
from fathom.core.types import Transition
from fathom.envs.base import spec_of, vec_reset, vec_step
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.wrappers import TimeLimit

from .probes import clock_of

KEY = jax.random.key(0)


class Listed(FiniteEnv):
    """A problem given by its lists: arrays, so that problems of one size share one program."""

    prob: Array  # [state, action, outcome]
    next_state: Array
    reward: Array
    ends: Array
    first: Array  # [state]

    @property
    def num_states(self) -> int:
        return self.prob.shape[0]

    @property
    def num_actions(self) -> int:
        return self.prob.shape[1]

    @property
    def obs_space(self) -> Discrete:
        return Discrete(self.num_states)

    def start(self) -> Array:
        return self.first

    def outcomes(self, state: Array, action: Array) -> Outcomes:
        p, s, r, e = (x[state, action] for x in (self.prob, self.next_state, self.reward, self.ends))
        return Outcomes(p, s, {"reward": r}, e)

    def observe(self, state: Array) -> Array:
        return state


def random_problem(seed: int, states: int = 4, actions: int = 3, ending: float = 0.15) -> Listed:
    """Two outcomes a pair, rewards in [−1, 1], some outcomes that end the episode, every state a start."""
    rng = np.random.default_rng(seed)
    shape = (states, actions, 2)
    p = rng.uniform(0.1, 0.9, shape[:2])
    return Listed(
        jnp.asarray(np.stack([p, 1 - p], axis=-1), jnp.float32),
        jnp.asarray(rng.integers(0, states, shape), jnp.int32),
        jnp.asarray(rng.uniform(-1, 1, shape), jnp.float32),
        jnp.asarray(rng.random(shape) < ending),
        jnp.full(states, 1 / states, jnp.float32),
    )


def endless() -> Listed:
    """As many states and actions as a random problem; each stays where it is, for a reward of 1, for ever."""
    env = random_problem(0, ending=0.0)
    stays = jnp.broadcast_to(jnp.arange(env.num_states, dtype=jnp.int32)[:, None, None], env.prob.shape)
    return Listed(env.prob, stays, jnp.ones_like(env.reward), env.ends, env.first)


def optimal_q(env: Listed, gamma: float) -> np.ndarray:
    """Q* by iteration of the Bellman equation, in float64."""
    p, s, r, e = lists(env)
    q = np.zeros(p.shape[:2])
    for _ in range(2000):
        q = (p * (r + gamma * ~e * q.max(axis=-1)[s])).sum(axis=-1)
    return q


def policy_value(env: Listed, gamma: float, policy: np.ndarray) -> np.ndarray:
    """V of a policy [state, action], by a linear solve in float64."""
    p, s, r, e = lists(env)
    gain = (policy * (p * r).sum(axis=-1)).sum(axis=-1)
    move = np.zeros((len(p), len(p)))
    for i, a, k in np.ndindex(p.shape):
        move[i, s[i, a, k]] += policy[i, a] * p[i, a, k] * (not e[i, a, k])
    return np.linalg.solve(np.eye(len(p)) - gamma * move, gain)


def lists(env: Listed) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    p, r = (np.asarray(x, np.float64) for x in (env.prob, env.reward))
    return p, np.asarray(env.next_state), r, np.asarray(env.ends)


class Record(NamedTuple):
    """Every step of a run; `learner` and `memory` are as the step's update left them."""

    step: Transition
    learner: Any
    memory: Any
    metrics: Any


def trained(algorithm: Online, env: Any, steps: int, seed: int = 0) -> Any:
    """The learner after a run of so many steps."""
    return _train(lift(algorithm), env, jax.random.key(seed), jnp.int32(steps))


def record(algorithm: Online, env: Any, steps: int, seed: int = 0) -> tuple[Any, Record]:
    """The learner after a run, and all that happened in it, [step, env, ...]."""
    return jax.device_get(_record(lift(algorithm), env, jax.random.key(seed), steps))


@jax.jit
def _train(algorithm: Online, env: Any, key: Array, steps: Array) -> Any:
    env_key, run_key = jax.random.split(key)
    carry = _start(algorithm, env, env_key)
    body = lambda t, carry: _row(algorithm, env, run_key, steps, carry, t)[0]  # noqa: E731
    return jax.lax.fori_loop(0, steps, body, carry)[2]


@partial(jax.jit, static_argnames="steps")
def _record(algorithm: Online, env: Any, key: Array, steps: int) -> tuple[Any, Record]:
    env_key, run_key = jax.random.split(key)
    row = lambda carry, t: _row(algorithm, env, run_key, steps, carry, t)  # noqa: E731
    start = _start(algorithm, env, env_key)
    carry, kept = jax.lax.scan(row, start, jnp.arange(steps, dtype=jnp.int32))
    return carry[2], kept


def _start(algorithm: Online, env: Any, key: Array) -> tuple:
    env_state, obs = vec_reset(env, jax.random.bits(key, (algorithm.num_envs,)))
    learner = algorithm.init(spec_of(env), KEY)
    return env_state, obs, learner, algorithm.init_memory(learner, algorithm.num_envs)


def _row(
    algorithm: Online, env: Any, run_key: Array, steps: Any, carry: tuple, t: Array
) -> tuple[tuple, Record]:
    env_state, obs, learner, memory = carry
    act_key, update_key = keys(run_key, t)
    clock = clock_of(t, steps)
    action, memory, extras = algorithm.act(learner, memory, obs, act_key, clock, True)
    env_state, vec = vec_step(env, env_state, action)
    step = Transition(obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras)
    learner, memory, metrics = algorithm.update(learner, memory, step, update_key, clock)
    fresh = algorithm.init_memory(learner, algorithm.num_envs)
    over = step.terminated | step.truncated
    pick = lambda new, old: jnp.where(over.reshape(-1, *[1] * (old.ndim - 1)), new, old)  # noqa: E731
    next_carry = (env_state, vec.obs, learner, jax.tree.map(pick, fresh, memory))
    return next_carry, Record(step, learner, memory, metrics)


def keys(run_key: Array, t: Any) -> tuple[Array, Array]:
    """The keys with which a recorded run acted and learnt at step t."""
    act_key, update_key = jax.random.split(jax.random.fold_in(run_key, t))
    return act_key, update_key


class Row(NamedTuple):
    """One step of one environment, as Python's numbers; `a2` is the action chosen ahead, if there is one."""

    t: int
    s: int
    a: int
    r: float
    s2: int
    a2: int
    terminated: bool
    over: bool


def episodes_of(run: Record, chosen_ahead: Any = None) -> list[list[Row]]:
    """The episodes of a recorded run of one environment; the last may be under way."""
    step = run.step
    ahead = np.zeros_like(step.action) if chosen_ahead is None else chosen_ahead
    episodes: list[list[Row]] = [[]]
    for t in range(len(step.reward)):
        terminated, truncated = bool(step.terminated[t, 0]), bool(step.truncated[t, 0])
        s, a, s2, a2 = (int(x[t, 0]) for x in (step.obs, step.action, step.final_obs, ahead))
        over = terminated or truncated
        episodes[-1].append(Row(t, s, a, float(step.reward[t, 0]), s2, a2, terminated, over))
        if over:
            episodes.append([])
    return episodes


def rows_of(run: Record) -> list[Row]:
    """The steps of a recorded run of one environment."""
    return [row for episode in episodes_of(run) for row in episode]


def cut(env: Any, steps: int = 5) -> TimeLimit:
    """The environment with short episodes, so that a run sees both ways to end."""
    return TimeLimit(env, steps)
