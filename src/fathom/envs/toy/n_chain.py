"""A chain of any length with a crumb at its near end and the reward at its far one."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import chain, chain_text, ruler, ruler_text
from fathom.envs.wrappers import TimeLimit

_DRAWN_SINGLY = 30  # states up to which each is drawn


class NChain(FiniteEnv):
    """Left along a chain to a crumb of reward close by, or right to the whole one at its far end.

    States s_1, …, s_N, numbered from 0; the start is s_2. Action 0 goes left and pays `small` in s_1, action
    1 goes right and pays `large` in s_N; at an end one stays. Nothing is left to chance and nothing ends: the
    ids cut an episode after N + 9 steps. Osband et al. 2016, arXiv:1602.04621, Section 5.
    """

    small: float = 0.001  # reward for going left in the first state
    large: float = 1.0  # reward for going right in the last state
    num: int = 20  # N, states, ≥ 3; 10 to 100
    features: bool = True  # observe 1{x ≤ s} for each state x, as in the paper; else the state's number

    def __check_init__(self) -> None:
        if self.num < 3:
            raise FathomError(f"num is {self.num}; the chain has at least 3 states, the start between ends.")

    @property
    def num_states(self) -> int:
        """The chain."""
        return self.num

    @property
    def num_actions(self) -> int:
        """Left, right."""
        return 2

    @property
    def obs_space(self) -> Discrete | Box:
        """The features [N], or the state."""
        return Box(0.0, 1.0, (self.num,)) if self.features else Discrete(self.num)

    def start(self) -> Float[Array, " state"]:
        """s_2."""
        return jnp.asarray(np.eye(self.num)[1], jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """The one thing that happens."""
        last, right = self.num - 1, action == 1
        after = jnp.clip(jnp.where(right, state + 1, state - 1), 0, last)
        nothing = jnp.zeros(1, jnp.float32)
        rewards = {
            "small": jnp.where((state == 0) & ~right, self.small, nothing),
            "large": jnp.where((state == last) & right, self.large, nothing),
        }
        return Outcomes(jnp.ones(1, jnp.float32), after[None], rewards, jnp.zeros(1, jnp.bool_))

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""] | Float[Array, " state"]:
        """The features, or the state."""
        return (jnp.arange(self.num) <= state).astype(jnp.float32) if self.features else state

    def view(self, state: Int[Array, ""]) -> Scene:
        """The row, or a scale where it is long."""
        if self.num > _DRAWN_SINGLY:
            return ruler(self.num - 1, state)
        return chain(self._names(), state)

    def ascii(self, state: Int[Array, ""]) -> str:
        """The row in one line, the state in brackets."""
        if self.num > _DRAWN_SINGLY:
            return ruler_text(self.num - 1, int(state))
        return chain_text(self._names(), int(state))

    def _names(self) -> list[str]:
        return [str(i + 1) for i in range(self.num)]


def n_chain(num: int) -> TimeLimit:
    """The chain of `num` states whose episodes are cut after `num` + 9 steps."""
    return TimeLimit(NChain(num=num), num + 9)


def n_chain_20() -> TimeLimit:
    """Osband's chain of 20 states, cut after 29 steps. Osband et al. 2016, arXiv:1602.04621, Section 5."""
    return n_chain(20)


def n_chain_50() -> TimeLimit:
    """Osband's chain of 50 states, cut after 59 steps. Osband et al. 2016, arXiv:1602.04621, Section 5."""
    return n_chain(50)


def n_chain_100() -> TimeLimit:
    """Osband's chain of 100 states, cut after 109 steps. Osband et al. 2016, arXiv:1602.04621, Section 5."""
    return n_chain(100)
