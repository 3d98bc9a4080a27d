"""An environment whose every transition says where it belongs."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env

_NAMES = 2**20  # per half of an episode's name: float32 holds each integer exactly


class CountingState(eqx.Module):
    """The observation, as integers."""

    name: Int[Array, "2"]
    count: Int[Array, ""]
    length: Int[Array, ""]


class CountingEnv(Env):
    """Observations that name their episode and their place in it, to find lost, shifted and invented steps.

    Observation [name, name, t, length]: two random integers that name the episode, the steps made in it, and
    its length, drawn from 1 … `max_length`. Episodes of even length terminate, those of odd length are
    truncated. The reward of a step is t + 1 + action/4. So each transition can be judged by itself, wherever
    it is found: `consistent` says whether it can have happened.
    """

    max_length: int = 7  # of an episode, ≥ 1
    num_actions: int = 3  # 1 to 4, told apart by the reward

    def __check_init__(self) -> None:
        if self.max_length < 1 or not 1 <= self.num_actions <= 4:
            raise FathomError(
                f"max_length is {self.max_length} and num_actions {self.num_actions}; "
                "give at least 1, and 1 to 4."
            )

    @property
    def obs_space(self) -> Box:
        """Integers, as float32."""
        return Box(0.0, [_NAMES - 1, _NAMES - 1, self.max_length, self.max_length])

    @property
    def action_space(self) -> Discrete:
        """Actions change the reward and nothing else."""
        return Discrete(self.num_actions)

    def reset(self, key: Key[Array, ""]) -> tuple[CountingState, Float[Array, "4"]]:
        """A new name and length."""
        name_key, length_key = jax.random.split(key)
        name = jax.random.randint(name_key, (2,), 0, _NAMES)
        length = jax.random.randint(length_key, (), 1, self.max_length + 1)
        state = CountingState(name, jnp.zeros((), jnp.int32), length)
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: CountingState, action: Int[Array, ""]
    ) -> tuple[CountingState, TimeStep]:
        """Count one on."""
        state = CountingState(state.name, state.count + 1, state.length)
        reward = state.count.astype(jnp.float32) + action.astype(jnp.float32) / 4
        over, even = state.count >= state.length, state.length % 2 == 0
        return state, TimeStep(self.observe(state), reward, over & even, over & ~even)

    def observe(self, state: CountingState) -> Float[Array, "4"]:
        """[name, name, t, length]."""
        return jnp.stack([state.name[0], state.name[1], state.count, state.length]).astype(jnp.float32)

    def consistent(
        self,
        obs: Float[Array, "*batch 4"],
        action: Int[Array, "*batch"],
        reward: Float[Array, "*batch"],
        terminated: Bool[Array, "*batch"],
        truncated: Bool[Array, "*batch"],
        final_obs: Float[Array, "*batch 4"],
    ) -> Bool[Array, "*batch"]:
        """Whether each transition is one that this environment can make; `final_obs` is before any reset."""
        same = obs == final_obs
        same_episode = same[..., 0] & same[..., 1] & same[..., 3]
        count, length = final_obs[..., 2], obs[..., 3]
        next_place = count == obs[..., 2] + 1
        within = (count >= 1) & (count <= length)
        earned = reward == count + action.astype(jnp.float32) / 4
        over, even = count == length, length % 2 == 0
        flags = (terminated == (over & even)) & (truncated == (over & ~even))
        return same_episode & next_place & within & earned & flags
