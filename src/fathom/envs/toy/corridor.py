"""A corridor in which one state turns left and right about."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import chain, chain_text

_NAMES = ("S", "x", "", "G")


class ShortCorridor(FiniteEnv):
    """Three states and a goal in a row; −1 a step; in the second state left goes right and right goes left.

    Actions 0 (left) and 1 (right); left in the first state stays. All states look alike, so the best policy
    goes right with probability 2 − √2 ≈ 0.586, whatever it sees, and earns −6 − 4√2 ≈ −11.66. Sutton & Barto
    2018, Example 13.1.
    """

    step_reward: float = -1.0  # reward of each step
    aliased: bool = True  # all states look alike, as in the book; else the state is seen

    @property
    def num_states(self) -> int:
        """Three and the goal."""
        return 4

    @property
    def num_actions(self) -> int:
        """Left, right."""
        return 2

    @property
    def obs_space(self) -> Discrete:
        """One number for all states, or the state."""
        return Discrete(1 if self.aliased else self.num_states)

    def start(self) -> Float[Array, " state"]:
        """The state farthest from the goal."""
        return jnp.asarray(np.eye(4)[0], jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """The one thing that happens."""
        right = (action == 1) ^ (state == 1)
        over = state == 3
        after = jnp.where(over, state, jnp.maximum(jnp.where(right, state + 1, state - 1), 0))
        reward = jnp.where(over, jnp.zeros(1, jnp.float32), self.step_reward)
        return Outcomes(jnp.ones(1, jnp.float32), after[None], {"step": reward}, (after == 3)[None])

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """Always 0, or the state."""
        return jnp.zeros((), jnp.int32) if self.aliased else state

    def start_value(self, right: float) -> float:
        """The value of the first state, γ = 1, when right is chosen with probability `right` in (0, 1).

        From Bellman's three equations: 2(2 − p) / (p(1 − p)) steps.
        """
        return float(self.step_reward) * 2 * (2 - right) / (right * (1 - right))

    def view(self, state: Int[Array, ""]) -> Scene:
        """The row; x marks the state that is switched."""
        return chain(_NAMES, state, (3,))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The row in one line; x marks the state that is switched."""
        return chain_text(["S", "x", ".", "G"], int(state))
