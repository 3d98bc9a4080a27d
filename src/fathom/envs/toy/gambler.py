"""Stakes on the flips of a coin."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import ruler, ruler_text


class Gambler(FiniteEnv):
    """Stake part of a capital on each flip of a coin until it has reached the goal (+1) or is gone (0).

    State: the capital, 0 … `goal`. Action a stakes a + 1, cut to the capital and to what is missing to the
    goal. Staking nothing, which the book lists too, is left out: it is never better, and for ever it would
    not end. With γ = 1 the value is the probability of winning. Sutton & Barto 2018, Example 4.3.
    """

    p_heads: float = 0.4  # p_h, probability of heads, at which the stake is won; 0.25, 0.4 or 0.55
    goal: int = 100  # capital at which the game is won, ≥ 2

    def __check_init__(self) -> None:
        if self.goal < 2:
            raise FathomError(
                f"goal is {self.goal}; give at least 2, so that there is something to stake for."
            )

    @property
    def num_states(self) -> int:
        """Nothing, …, the goal."""
        return self.goal + 1

    @property
    def num_actions(self) -> int:
        """More than half of the goal can never be staked."""
        return self.goal // 2

    @property
    def obs_space(self) -> Discrete:
        """The capital."""
        return Discrete(self.num_states)

    def start(self) -> Float[Array, " state"]:
        """Any capital in between, all equally likely."""
        inside = np.ones(self.num_states, np.float32)
        inside[[0, -1]] = 0
        return jnp.asarray(inside / inside.sum(), jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """Heads and tails."""
        stake = jnp.minimum(action + 1, jnp.minimum(state, self.goal - state))
        after = jnp.stack([state + stake, state - stake])
        heads = jnp.asarray(self.p_heads, jnp.float32)
        playing = (state > 0) & (state < self.goal)
        won = (playing & (after == self.goal)).astype(jnp.float32)
        over = (after == 0) | (after == self.goal)
        return Outcomes(jnp.stack([heads, 1.0 - heads]), after, {"won": won}, over)

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The capital."""
        return state

    def view(self, state: Int[Array, ""]) -> Scene:
        """The capital on its scale."""
        return ruler(self.goal, state, (self.goal // 4, self.goal // 2, 3 * self.goal // 4))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The capital on its scale."""
        return ruler_text(self.goal, int(state))
