"""Problems whose values are known: whatever a critic learns on them can be checked against a number."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env


class ValueProbe(Env):
    """One step, one observation, reward 1: can the critic learn a constant? V = 1."""

    reward: float = 1.0  # earned by the one step

    @property
    def obs_space(self) -> Box:
        """Always [1]."""
        return Box(0.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        """Two actions that do the same."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[tuple[()], Float[Array, "1"]]:
        """The one observation."""
        return (), jnp.ones(1, jnp.float32)

    def step(
        self, key: Key[Array, ""], state: tuple[()], action: Int[Array, ""]
    ) -> tuple[tuple[()], TimeStep]:
        """The reward and the end."""
        reward = jnp.asarray(self.reward, jnp.float32)
        over, not_cut = jnp.ones((), jnp.bool_), jnp.zeros((), jnp.bool_)
        return (), TimeStep(jnp.ones(1, jnp.float32), reward, over, not_cut)

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of every policy, which is also Q of every action."""
        return jnp.full(obs.shape[:-1], self.reward, jnp.float32)


class ObsValueProbe(Env):
    """One step, a random observation of ±1, which is also the reward: does the critic look? V(s) = s."""

    @property
    def obs_space(self) -> Box:
        """[−1] or [1]."""
        return Box(-1.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        """Two actions that do the same."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[Float[Array, "1"], Float[Array, "1"]]:
        """A fair coin."""
        obs = jax.random.rademacher(key, (1,), jnp.float32)
        return obs, obs

    def step(
        self, key: Key[Array, ""], state: Float[Array, "1"], action: Int[Array, ""]
    ) -> tuple[Float[Array, "1"], TimeStep]:
        """The reward that was shown, and the end."""
        return state, TimeStep(state, state[0], jnp.ones((), jnp.bool_), jnp.zeros((), jnp.bool_))

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of every policy, which is also Q of every action."""
        return obs[..., 0]


class CreditProbe(Env):
    """Two steps, reward 1 for the second: does value flow back, discounted? V([−1]) = γ, V([1]) = 1."""

    @property
    def obs_space(self) -> Box:
        """[−1] first, then [1]."""
        return Box(-1.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        """Two actions that do the same."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[Float[Array, "1"], Float[Array, "1"]]:
        """The first of two observations."""
        obs = jnp.full(1, -1.0, jnp.float32)
        return obs, obs

    def step(
        self, key: Key[Array, ""], state: Float[Array, "1"], action: Int[Array, ""]
    ) -> tuple[Float[Array, "1"], TimeStep]:
        """On to the second observation, then the reward and the end."""
        second = state[0] > 0
        obs = jnp.ones(1, jnp.float32)
        return obs, TimeStep(obs, second.astype(jnp.float32), second, jnp.zeros((), jnp.bool_))

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of every policy, which is also Q of every action."""
        last = (obs[..., 0] > 0).astype(jnp.float32)
        return last + (1 - last) * gamma


class TruncationProbe(Env):
    """One state, reward 1 a step, no end: wrapped in a `TimeLimit`, does the critic see through the cut?

    V = 1/(1 − γ), 10 for γ = 0.9, however short the episodes. A critic that takes the cut for an end gives
    (1 − γⁿ)/(1 − γ) for n steps or less.
    """

    @property
    def obs_space(self) -> Box:
        """Always [1]."""
        return Box(0.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        """Two actions that do the same."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[tuple[()], Float[Array, "1"]]:
        """The one observation."""
        return (), jnp.ones(1, jnp.float32)

    def step(
        self, key: Key[Array, ""], state: tuple[()], action: Int[Array, ""]
    ) -> tuple[tuple[()], TimeStep]:
        """Reward 1, the same state again."""
        never = jnp.zeros((), jnp.bool_)
        return (), TimeStep(jnp.ones(1, jnp.float32), jnp.ones((), jnp.float32), never, never)

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of every policy, which is also Q of every action."""
        return jnp.full(obs.shape[:-1], 1.0 / (1.0 - gamma), jnp.float32)
