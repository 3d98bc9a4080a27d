"""Environments of finitely many states, whose dynamics can be listed as well as simulated."""

import abc
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.core.module import lift
from fathom.core.spaces import Discrete
from fathom.core.types import TimeStep
from fathom.envs import chance
from fathom.envs.base import Env
from fathom.mdp.model import MDP

_FEW = 32  # outcomes that are added up one by one


class Outcomes(NamedTuple):
    """What may follow a state and an action; every leaf is [outcome]. Impossible ones have probability 0."""

    prob: Float[Array, " outcome"]
    next_state: Int[Array, " outcome"]
    rewards: dict[str, Float[Array, " outcome"]]  # the reward's named terms: it is their sum
    terminated: Bool[Array, " outcome"]

    @property
    def reward(self) -> Float[Array, " outcome"]:
        """The sum of the named terms."""
        return sum(self.rewards.values(), jnp.zeros_like(self.prob))


class FiniteEnv(Env):
    """An environment of states 0, …, `num_states` − 1: its one function `outcomes` is simulator and MDP.

    The state is the number itself, an int32 scalar.
    """

    @property
    @abc.abstractmethod
    def num_states(self) -> int:
        """How many states there are, those in which episodes end included."""

    @property
    @abc.abstractmethod
    def num_actions(self) -> int:
        """How many actions there are in every state."""

    @abc.abstractmethod
    def start(self) -> Float[Array, " state"]:
        """The probability of each state at the start of an episode."""

    @abc.abstractmethod
    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """What may follow: a fixed number of outcomes whose probabilities sum to 1."""

    @abc.abstractmethod
    def observe(self, state: Int[Array, ""]) -> PyTree:
        """What is seen of a state, an element of `obs_space`."""

    @property
    def action_space(self) -> Discrete:
        """The actions 0, …, `num_actions` − 1."""
        return Discrete(self.num_actions)

    def reset(self, key: Key[Array, ""]) -> tuple[Int[Array, ""], PyTree]:
        """A state drawn from `start`."""
        state = _draw(self.start(), chance.uniform(key))
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: Int[Array, ""], action: Int[Array, ""]
    ) -> tuple[Int[Array, ""], TimeStep]:
        """One of the outcomes, by its probability; the named terms of its reward are in `info`."""
        outcomes = self.outcomes(state, action)
        chosen = _draw(outcomes.prob, chance.uniform(key))
        next_state, terminated, rewards = jax.tree.map(
            lambda x: x[chosen], (outcomes.next_state, outcomes.terminated, outcomes.rewards)
        )
        reward = sum(rewards.values(), jnp.zeros(()))
        step = TimeStep(self.observe(next_state), reward, terminated, jnp.zeros((), jnp.bool_), rewards)
        return next_state, step


def mdp_of(env: FiniteEnv) -> MDP:
    """The environment's dynamics, listed: `outcomes` of every state and action.

    Probabilities are computed in float32 and made to sum to 1 in float64.
    """
    listed = _listed(lift(env))
    prob, start = np.asarray(listed.prob, np.float64), np.asarray(env.start(), np.float64)
    return MDP(
        prob / prob.sum(axis=-1, keepdims=True),
        np.asarray(listed.next_state),
        np.asarray(listed.reward, np.float64),
        np.asarray(listed.terminated),
        start / start.sum(),
    )


@jax.jit
def _listed(env: FiniteEnv) -> Outcomes:
    """`outcomes` of every state and action; a program that serves however an environment is repainted."""
    states = jnp.arange(env.num_states, dtype=jnp.int32)
    actions = jnp.arange(env.num_actions, dtype=jnp.int32)
    return jax.vmap(jax.vmap(env.outcomes, (None, 0)), (0, None))(states, actions)


def _draw(prob: Float[Array, " outcome"], uniform: Float[Array, ""]) -> Int[Array, ""]:
    """The outcome at which the running sum of probabilities passes `uniform` ∈ [0, 1); never one of 0."""
    if len(prob) > _FEW:
        total = jnp.cumsum(prob)
        last = jnp.searchsorted(total, total[-1])
        return jnp.minimum(jnp.searchsorted(total, uniform * total[-1], side="right"), last).astype(jnp.int32)
    # Additions one by one become part of the step's program; a cumulative sum is a program of its own.
    sums = list(itertools.accumulate(prob[k] for k in range(len(prob))))
    # Rounding may make the product the whole sum, which no outcome passes.
    passed = [(below <= uniform * sums[-1]) & (below < sums[-1]) for below in sums[:-1]]
    return sum((p.astype(jnp.int32) for p in passed), jnp.zeros((), jnp.int32))
