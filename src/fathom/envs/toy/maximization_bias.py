"""A choice that looks good only because a maximum is taken over noise."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete, Masked
from fathom.core.types import Masked as MaskedObs
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Scene
from fathom.envs.toy.shapes import chain, chain_text

_A, _B, _OVER = 0, 1, 2


class MaximizationBias(Env):
    """In A, left leads to B and right to the end, both for nothing; in B all actions end it, noise for pay.

    States A (0), B (1) and the end (2). Legal in A are 0 (left) and 1 (right), in B all of `num_actions`,
    each with a reward of N(`mean`, `noise`²): what is legal is seen in the mask. Left is worth `mean` < 0,
    right 0; a learner that takes the maximum of its noisy estimates in B prefers left for long. Sutton &
    Barto 2018, Example 6.7.

    Its rewards are no finite list; `means` is the finite environment that pays their means, whose values and
    best actions are the same.
    """

    mean: float = -0.1  # μ of each reward in B
    noise: float = 1.0  # σ of each reward in B
    num_actions: int = 10  # in B, ≥ 2; the book says "many"

    def __check_init__(self) -> None:
        _require_two(self.num_actions)

    @property
    def obs_space(self) -> Masked:
        """The state, with the actions that are legal."""
        return Masked(Discrete(3), self.num_actions)

    @property
    def action_space(self) -> Discrete:
        """Those of B."""
        return Discrete(self.num_actions)

    @property
    def means(self) -> "MaximizationBiasMeans":
        """The same without noise, as a finite environment."""
        return MaximizationBiasMeans(self.mean, self.num_actions)

    def reset(self, key: Key[Array, ""]) -> tuple[Int[Array, ""], MaskedObs]:
        """A."""
        state = jnp.full((), _A, jnp.int32)
        return state, _seen(state, self.num_actions)

    def step(
        self, key: Key[Array, ""], state: Int[Array, ""], action: Int[Array, ""]
    ) -> tuple[Int[Array, ""], TimeStep]:
        """The move, and in B its noisy reward."""
        drawn = self.mean + self.noise * jax.random.normal(key, (), jnp.float32)
        reward = jnp.where(state == _B, drawn, jnp.zeros((), jnp.float32))
        after = _after(state, action)
        step = TimeStep(_seen(after, self.num_actions), reward, after == _OVER, jnp.zeros((), jnp.bool_))
        return after, step

    def view(self, state: Int[Array, ""]) -> Scene:
        """B, A and the end, as the book draws them."""
        return _scene(state)

    def ascii(self, state: Int[Array, ""]) -> str:
        """B, A and the end in one line, the state in brackets."""
        return _text(state)


class MaximizationBiasMeans(FiniteEnv):
    """`MaximizationBias` that pays the mean of each reward. In A, all but left (0) counts as right."""

    mean: float = -0.1  # reward in B
    branches: int = 10  # actions in B, ≥ 2

    def __check_init__(self) -> None:
        _require_two(self.branches)

    @property
    def num_states(self) -> int:
        """A, B and the end."""
        return 3

    @property
    def num_actions(self) -> int:
        """Those of B."""
        return self.branches

    @property
    def obs_space(self) -> Masked:
        """The state, with the actions that are legal."""
        return Masked(Discrete(3), self.branches)

    def start(self) -> Float[Array, " state"]:
        """A."""
        return jnp.asarray(np.eye(3)[_A], jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """The one thing that happens."""
        after = _after(state, action)[None]
        reward = jnp.where(state == _B, self.mean, jnp.zeros(1, jnp.float32))
        return Outcomes(jnp.ones(1, jnp.float32), after, {"mean": reward}, after == _OVER)

    def observe(self, state: Int[Array, ""]) -> MaskedObs:
        """The state, with the actions that are legal."""
        return _seen(state, self.branches)

    def view(self, state: Int[Array, ""]) -> Scene:
        """B, A and the end, as the book draws them."""
        return _scene(state)

    def ascii(self, state: Int[Array, ""]) -> str:
        """B, A and the end in one line, the state in brackets."""
        return _text(state)


def _require_two(num_actions: int) -> None:
    if num_actions < 2:
        raise FathomError(f"there are {num_actions} actions; give at least 2, left and right.")


def _after(state: Int[Array, ""], action: Int[Array, ""]) -> Int[Array, ""]:
    return jnp.where((state == _A) & (action == 0), _B, _OVER).astype(jnp.int32)


def _seen(state: Int[Array, ""], num_actions: int) -> MaskedObs:
    legal: Bool[Array, " action"] = (jnp.arange(num_actions) < 2) | (state != _A)
    return MaskedObs(state, legal)


def _scene(state: Int[Array, ""]) -> Scene:
    place = jnp.where(state == _OVER, 2, 1 - state)  # B left of A
    return chain(("B", "A", ""), place, (2,))


def _text(state: Int[Array, ""]) -> str:
    return chain_text(("B", "A", ""), {_A: 1, _B: 0, _OVER: 2}[int(state)])
