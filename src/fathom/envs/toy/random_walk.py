"""Random walks: prediction problems whose values are known."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes, mdp_of
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import chain, chain_text, ruler, ruler_text

_DRAWN_SINGLY = 24  # states up to which each is drawn


class RandomWalk(FiniteEnv):
    """Step left or right by chance until one end is left. There is one action: it is a task of prediction.

    States 1 … `num` in a row, ends 0 and `num` + 1, start in the middle. Each step goes to one of the
    `reach` states on either side, all equally likely; who would go beyond an end is at that end. Sutton &
    Barto 2018, Example 6.2 (5 states A … E), Section 7.1 (19 states, −1 at the left) and, with `reach` 100,
    Example 9.1 (1,000 states).
    """

    num: int = 5  # states that are no end, ≥ 1; 5, 19 or 1000 in the book
    reach: int = 1  # the longest step; 1, or 100 for 1,000 states
    left_reward: float = 0.0  # for leaving at the left; 0 or −1
    right_reward: float = 1.0  # for leaving at the right

    def __check_init__(self) -> None:
        if self.num < 1 or self.reach < 1:
            raise FathomError(f"num is {self.num} and reach {self.reach}; give at least 1 of each.")

    @property
    def num_states(self) -> int:
        """The row and its two ends."""
        return self.num + 2

    @property
    def num_actions(self) -> int:
        """There is nothing to choose."""
        return 1

    @property
    def obs_space(self) -> Discrete:
        """The state."""
        return Discrete(self.num_states)

    def start(self) -> Float[Array, " state"]:
        """The middle, the left one of two."""
        return jnp.asarray(np.arange(self.num_states) == (self.num + 1) // 2, jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """One outcome for each length of step."""
        steps = np.concatenate([np.arange(-self.reach, 0), np.arange(1, self.reach + 1)]).astype(np.int32)
        inside = (state > 0) & (state <= self.num)
        after = jnp.where(inside, jnp.clip(state + steps, 0, self.num + 1), state)
        left, right = after == 0, after == self.num + 1
        nothing = jnp.zeros(len(steps), jnp.float32)
        rewards = {
            "left": jnp.where(inside & left, self.left_reward, nothing),
            "right": jnp.where(inside & right, self.right_reward, nothing),
        }
        return Outcomes(jnp.full(len(steps), 1 / len(steps), jnp.float32), after, rewards, left | right)

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The state."""
        return state

    def values(self, gamma: float = 1.0) -> Float[np.ndarray, " state"]:
        """The true value of each state, by a linear solve of Bellman's equation in float64.

        For `reach` 1 and γ = 1 the value of state k is left + (right − left)·k / (num + 1).
        """
        mdp = mdp_of(self)
        prob, after, over = mdp.prob[:, 0], mdp.next_state[:, 0], mdp.terminated[:, 0]
        follow = np.zeros((self.num_states, self.num_states))
        np.add.at(follow, (np.arange(self.num_states)[:, None], after), np.where(over, 0.0, prob))
        return np.linalg.solve(np.eye(self.num_states) - gamma * follow, (prob * mdp.reward[:, 0]).sum(-1))

    def view(self, state: Int[Array, ""]) -> Scene:
        """The row, or a scale where it is long."""
        if self.num > _DRAWN_SINGLY:
            return ruler(self.num + 1, state, ((self.num + 1) // 2,))
        return chain(self._names(), state, (0, self.num + 1))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The row in one line, the state in brackets."""
        if self.num > _DRAWN_SINGLY:
            return ruler_text(self.num + 1, int(state))
        return chain_text(self._names(), int(state))

    def _names(self) -> list[str]:
        return ["", *(chr(ord("A") + i) for i in range(self.num)), ""]


def random_walk_19() -> RandomWalk:
    """Random walk of 19 states, −1 at the left end and +1 at the right. Sutton & Barto 2018, Section 7.1."""
    return RandomWalk(19, left_reward=-1.0)


def random_walk_1000() -> RandomWalk:
    """Random walk of 1,000 states in steps of up to 100. Sutton & Barto 2018, Example 9.1."""
    return RandomWalk(1000, 100, left_reward=-1.0)
