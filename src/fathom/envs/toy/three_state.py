"""Three states and two actions: values that can be worked out by hand."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import chain, chain_text

_NAMES = ("A", "B", "C")


class ThreeState(FiniteEnv):
    """Right leads from A to B to C and stays there, each time for a reward; left stays, for none. No end.

    Actions 0 (left) and 1 (right). With γ = 0.9, going right for ever is worth 1/(1 − 0.9) = 10 in C,
    2 + 0.9·10 = 11 in B and 5 + 0.9·11 = 14.9 in A, and nothing is worth more.
    """

    reward_a: float = 5.0  # for going right in A
    reward_b: float = 2.0  # for going right in B
    reward_c: float = 1.0  # for going right in C, where one stays

    @property
    def num_states(self) -> int:
        """A, B, C."""
        return 3

    @property
    def num_actions(self) -> int:
        """Left, right."""
        return 2

    @property
    def obs_space(self) -> Discrete:
        """The state."""
        return Discrete(3)

    def start(self) -> Float[Array, " state"]:
        """A."""
        return jnp.asarray(np.eye(3)[0], jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """The one thing that happens."""
        right = action == 1
        earned = jnp.where(state == 0, self.reward_a, jnp.where(state == 1, self.reward_b, self.reward_c))
        reward = jnp.where(right, earned, jnp.zeros(1, jnp.float32))
        after = jnp.where(right, jnp.minimum(state + 1, 2), state)
        return Outcomes(jnp.ones(1, jnp.float32), after[None], {"right": reward}, jnp.zeros(1, jnp.bool_))

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The state."""
        return state

    def view(self, state: Int[Array, ""]) -> Scene:
        """The row."""
        return chain(_NAMES, state)

    def ascii(self, state: Int[Array, ""]) -> str:
        """The row in one line, the state in brackets."""
        return chain_text(_NAMES, int(state))
