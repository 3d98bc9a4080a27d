"""Finite environments for learners with tables."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.toy.bandit import Bandit
from fathom.envs.wrappers import TimeLimit


class Walk(FiniteEnv):
    """Five places in a row: a step left or right goes astray with probability `slip`; right of all is 1."""

    slip: float = 0.2  # probability of a step in the other direction

    @property
    def num_states(self) -> int:
        return 7

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def obs_space(self) -> Discrete:
        return Discrete(7)

    def start(self) -> Float[Array, "7"]:
        return jnp.zeros(7).at[1:6].set(0.2)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        ahead = state + 2 * action - 1
        reached = jnp.clip(jnp.stack([ahead, 2 * state - ahead]), 0, 6).astype(jnp.int32)
        slip = jnp.asarray(self.slip, jnp.float32)
        over = (reached == 0) | (reached == 6)
        return Outcomes(
            jnp.stack([1.0 - slip, slip]), reached, {"goal": (reached == 6).astype(jnp.float32)}, over
        )

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        return state


def cut_walk() -> TimeLimit:
    """Episodes end, and some are cut."""
    return TimeLimit(Walk(), 5)


def cut_bandit() -> TimeLimit:
    """One state, and episodes that are cut."""
    return TimeLimit(Bandit(arms=3), 5)


class Unseen(Env):
    """The environment within, whatever its observations, seen as one state."""

    env: Env

    @property
    def obs_space(self) -> Discrete:
        return Discrete(1)

    @property
    def action_space(self) -> Any:
        return self.env.action_space

    def reset(self, key: Array) -> tuple[Any, Array]:
        return self.env.reset(key)[0], jnp.zeros((), jnp.int32)

    def step(self, key: Array, state: Any, action: Any) -> tuple[Any, TimeStep]:
        state, step = self.env.step(key, state, action)
        nothing = jnp.zeros((), jnp.int32)
        return state, TimeStep(nothing, step.reward, step.terminated, step.truncated, step.info)


class Steered(Env):
    """The environment within, its first two actions chosen by the sign of a real number."""

    env: Env

    @property
    def obs_space(self) -> Any:
        return self.env.obs_space

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (1,))

    def reset(self, key: Array) -> tuple[Any, Any]:
        return self.env.reset(key)

    def step(self, key: Array, state: Any, action: Array) -> tuple[Any, TimeStep]:
        return self.env.step(key, state, (action[0] > 0).astype(jnp.int32))


def sample(space: Any, seed: int) -> Any:
    """A random element of a space, as NumPy arrays."""
    return jax.tree.map(np.asarray, space.sample(jax.random.key(seed)))
