"""What learners of bandit problems have in common."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fathom.algos.base import Algorithm
from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.core.types import EnvSpec, Obs, Transition

State = TypeVar("State")


class Averages(eqx.Module):
    """What is known of each action: a mean of its rewards, and of how many."""

    value: Float[Array, " action"]  # Q
    count: Float[Array, " action"]  # N
    space: Discrete  # of the actions; holds no arrays


def require_one_state(algorithm: Algorithm, spec: EnvSpec) -> None:
    """Raise FathomError unless actions are Discrete and the one observation never changes."""
    name = type(algorithm).__name__
    if not isinstance(spec.action_space, Discrete):
        raise FathomError(
            f"{name} chooses among finitely many actions and cannot take {spec.action_space!r}; discretise "
            "them in a wrapper."
        )
    if not (isinstance(spec.obs_space, Discrete) and spec.obs_space.n == 1):
        raise FathomError(
            f"{name} learns one value for each action, whatever is observed, and {spec.obs_space!r} has more "
            "than one state. Take q_learning or sarsa for Discrete observations, dqn or ppo for others."
        )


def per_env(row: Float[Array, " action"], obs: Obs) -> Float[Array, "env action"]:
    """A row of numbers for each environment: all act by the same estimates."""
    num_envs = jax.tree.leaves(obs)[0].shape[0]
    return jnp.broadcast_to(row, (num_envs, row.shape[0]))


def in_turn(
    learn: Callable[[State, Int[Array, ""], Float[Array, ""]], State],
    state: State,
    space: Discrete,
    step: Transition,
) -> State:
    """The state after `learn(state, arm, reward)` of each environment's step, one after the other.

    Arms are counted from 0, wherever the action space starts.
    """

    def one(state: State, played: tuple[Array, Array]) -> tuple[State, None]:
        return learn(state, *played), None

    return jax.lax.scan(one, state, (step.action - space.start, step.reward))[0]
