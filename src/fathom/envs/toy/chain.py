"""A chain whose reward at the end is out of sight for who takes the small one."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import chain, chain_text


class Chain(FiniteEnv):
    """Forward along a chain for nothing but a large reward at its end, or back to the start for a small one.

    Actions 0 (forward; in the last state it stays and pays) and 1 (back to the start). With probability
    `slip` the other action is done. No end. Strens 2000, "A Bayesian framework for reinforcement learning".
    """

    slip: float = 0.2  # probability that the other action is done; 0 to 0.5
    small: float = 2.0  # reward for going back
    large: float = 10.0  # reward for going forward in the last state
    num: int = 5  # states, ≥ 2

    def __check_init__(self) -> None:
        if self.num < 2:
            raise FathomError(f"num is {self.num}; a chain has at least 2 states.")

    @property
    def num_states(self) -> int:
        """The chain."""
        return self.num

    @property
    def num_actions(self) -> int:
        """Forward, back."""
        return 2

    @property
    def obs_space(self) -> Discrete:
        """The state."""
        return Discrete(self.num)

    def start(self) -> Float[Array, " state"]:
        """The first state."""
        return jnp.asarray(np.eye(self.num)[0], jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """Forward and back."""
        slip = jnp.asarray(self.slip, jnp.float32)
        forward = jnp.where(action == 0, 1.0 - slip, slip)
        last = state == self.num - 1
        after = jnp.stack([jnp.minimum(state + 1, self.num - 1), jnp.zeros_like(state)])
        nothing = jnp.zeros((), jnp.float32)
        rewards = {
            "small": jnp.stack([nothing, jnp.asarray(self.small, jnp.float32)]),
            "large": jnp.stack([jnp.where(last, self.large, nothing), nothing]),
        }
        return Outcomes(jnp.stack([forward, 1.0 - forward]), after, rewards, jnp.zeros(2, jnp.bool_))

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The state."""
        return state

    def view(self, state: Int[Array, ""]) -> Scene:
        """The row."""
        return chain(self._names(), state)

    def ascii(self, state: Int[Array, ""]) -> str:
        """The row in one line, the state in brackets."""
        return chain_text(self._names(), int(state))

    def _names(self) -> list[str]:
        return [str(i + 1) for i in range(self.num)]
