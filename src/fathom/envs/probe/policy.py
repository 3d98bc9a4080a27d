"""Problems whose best action is known, for policies discrete, masked and continuous."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete, Masked
from fathom.core.types import Masked as MaskedObs
from fathom.core.types import TimeStep
from fathom.envs.base import Env


class PolicyProbe(Env):
    """One step, one observation, +1 for action 1 and −1 for action 0: does the policy choose? Q = ±1."""

    @property
    def obs_space(self) -> Box:
        """Always [1]."""
        return Box(0.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        """The wrong one and the right one."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[tuple[()], Float[Array, "1"]]:
        """The one observation."""
        return (), jnp.ones(1, jnp.float32)

    def step(
        self, key: Key[Array, ""], state: tuple[()], action: Int[Array, ""]
    ) -> tuple[tuple[()], TimeStep]:
        """The reward and the end."""
        reward = _sign(action == 1)
        over, not_cut = jnp.ones((), jnp.bool_), jnp.zeros((), jnp.bool_)
        return (), TimeStep(jnp.ones(1, jnp.float32), reward, over, not_cut)

    def best_action(self, obs: Float[Array, "*batch 1"]) -> Int[Array, "*batch"]:
        """Always 1."""
        return jnp.ones(obs.shape[:-1], jnp.int32)

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of the best policy."""
        return jnp.ones(obs.shape[:-1], jnp.float32)


class ObsPolicyProbe(Env):
    """One step, a random observation of ±1, +1 for the action that matches it and −1 for the other.

    Does the policy look at what it decides on? Action 1 matches [1], action 0 matches [−1].
    """

    @property
    def obs_space(self) -> Box:
        """[−1] or [1]."""
        return Box(-1.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        """One for each observation."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[Float[Array, "1"], Float[Array, "1"]]:
        """A fair coin."""
        obs = jax.random.rademacher(key, (1,), jnp.float32)
        return obs, obs

    def step(
        self, key: Key[Array, ""], state: Float[Array, "1"], action: Int[Array, ""]
    ) -> tuple[Float[Array, "1"], TimeStep]:
        """The reward and the end."""
        reward = _sign(action == self.best_action(state))
        return state, TimeStep(state, reward, jnp.ones((), jnp.bool_), jnp.zeros((), jnp.bool_))

    def best_action(self, obs: Float[Array, "*batch 1"]) -> Int[Array, "*batch"]:
        """1 where the observation is above 0."""
        return (obs[..., 0] > 0).astype(jnp.int32)

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of the best policy."""
        return jnp.ones(obs.shape[:-1], jnp.float32)


class ContinuousProbe(Env):
    """One step, reward −(a − target)², in a box that is not symmetric: does the policy fill its box?

    The best action is the target, which is in the box but not in [−1, 1]. The reward is that of the action as
    given; `info["outside"]` is 1 where it lies outside the box, which none ever should.
    """

    target: float = 1.5  # the best action, in [−0.4, 2]

    @property
    def obs_space(self) -> Box:
        """Always [1]."""
        return Box(0.0, 1.0, (1,))

    @property
    def action_space(self) -> Box:
        """[−0.4, 2.0]: neither centred nor of unit size."""
        return Box(-0.4, 2.0, (1,))

    def reset(self, key: Key[Array, ""]) -> tuple[tuple[()], Float[Array, "1"]]:
        """The one observation."""
        return (), jnp.ones(1, jnp.float32)

    def step(
        self, key: Key[Array, ""], state: tuple[()], action: Float[Array, "1"]
    ) -> tuple[tuple[()], TimeStep]:
        """The reward and the end."""
        box = self.action_space
        outside = jnp.any((action < box.low) | (action > box.high)).astype(jnp.float32)
        over, not_cut = jnp.ones((), jnp.bool_), jnp.zeros((), jnp.bool_)
        reward = -((action[0] - self.target) ** 2)
        return (), TimeStep(jnp.ones(1, jnp.float32), reward, over, not_cut, {"outside": outside})

    def best_action(self, obs: Float[Array, "*batch 1"]) -> Float[Array, "*batch 1"]:
        """The target."""
        return jnp.full(obs.shape, self.target, jnp.float32)

    def value(self, obs: Float[Array, "*batch 1"], gamma: Any) -> Float[Array, "*batch"]:
        """V of the best policy."""
        return jnp.zeros(obs.shape[:-1], jnp.float32)


class MaskedProbeState(eqx.Module):
    """What is legal now, and the steps that are left."""

    mask: Bool[Array, " action"]
    left: Int[Array, ""]


class MaskedProbe(Env):
    """A few steps, at each of which some actions are illegal: is the mask obeyed, now and in the target?

    Action a earns a/(n − 1) where it is legal; where it is not it earns −1 and `info["illegal"]` is 1. So the
    best action is the highest legal one. Each step draws a new mask: one action certain to be legal, each
    other one with probability ½. With more than one step the value depends on what will be legal next: a
    target that takes its maximum over all actions overestimates.
    """

    num_actions: int = 4  # n, ≥ 2
    num_steps: int = 2  # steps of an episode, ≥ 1

    def __check_init__(self) -> None:
        if self.num_actions < 2 or self.num_steps < 1:
            raise FathomError(
                f"num_actions is {self.num_actions} and num_steps {self.num_steps}; give at least 2 and 1."
            )

    @property
    def obs_space(self) -> Masked:
        """The part of the steps that is left, [1] at the start and [0] at the end, and the mask."""
        return Masked(Box(0.0, 1.0, (1,)), self.num_actions)

    @property
    def action_space(self) -> Discrete:
        """The higher the better."""
        return Discrete(self.num_actions)

    def reset(self, key: Key[Array, ""]) -> tuple[MaskedProbeState, MaskedObs]:
        """The first mask."""
        state = MaskedProbeState(self.draw_mask(key), jnp.full((), self.num_steps, jnp.int32))
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: MaskedProbeState, action: Int[Array, ""]
    ) -> tuple[MaskedProbeState, TimeStep]:
        """What the action earns, and the next mask."""
        legal = state.mask[action]
        reward = jnp.where(legal, action.astype(jnp.float32) / (self.num_actions - 1), -1.0)
        state = MaskedProbeState(self.draw_mask(key), state.left - 1)
        info = {"illegal": (~legal).astype(jnp.float32)}
        return state, TimeStep(self.observe(state), reward, state.left == 0, jnp.zeros((), jnp.bool_), info)

    def draw_mask(self, key: Key[Array, ""]) -> Bool[Array, " action"]:
        """One action certain, the others by a fair coin each."""
        coin_key, certain_key = jax.random.split(key)
        coins = jax.random.bernoulli(coin_key, shape=(self.num_actions,))
        return coins.at[jax.random.randint(certain_key, (), 0, self.num_actions)].set(True)

    def observe(self, state: MaskedProbeState) -> MaskedObs:
        """The part of the steps that is left, and what is legal."""
        left = state.left.astype(jnp.float32)[None] / self.num_steps
        return MaskedObs(left, state.mask)

    def best_action(self, obs: MaskedObs) -> Int[Array, "*batch"]:
        """The highest legal action."""
        actions = jnp.arange(self.num_actions, dtype=jnp.int32)
        return jnp.max(jnp.where(obs.mask, actions, -1), axis=-1)

    def value(self, obs: MaskedObs, gamma: Any) -> Float[Array, "*batch"]:
        """V of the best policy: the highest legal action now, and the mean of it for each step after."""
        now = self.best_action(obs).astype(jnp.float32) / (self.num_actions - 1)
        left = jnp.round(obs.obs[..., 0] * self.num_steps)
        later = jnp.zeros_like(now)
        for i in range(1, self.num_steps):
            later += (left > i).astype(jnp.float32) * gamma**i
        return (left > 0).astype(jnp.float32) * (now + self.mean_best * later)

    @property
    def mean_best(self) -> float:
        """The expected reward of the highest legal action of a random mask."""
        n = self.num_actions
        # k is the highest: it is the certain one (1/n), or one below is (k/n) and k's coin fell right;
        # either way all coins above it fell wrong.
        chances = [(2.0 ** -(n - 1 - k) + k * 2.0 ** -(n - k)) / n for k in range(n)]
        return sum(k / (n - 1) * chance for k, chance in enumerate(chances))


def _sign(right: Bool[Array, ""]) -> Float[Array, ""]:
    return 2 * right.astype(jnp.float32) - 1
