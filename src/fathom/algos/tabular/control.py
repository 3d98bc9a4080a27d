"""What learners with tables have in common: schedules, behaviour, and what they report."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, Online, require, require_fraction, require_positive
from fathom.core import spaces
from fathom.core.spaces import Masked
from fathom.core.types import Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.ops import exploration, schedules


class Explorer(Online):
    """A learner that acts ε-greedily by the action values it learns."""

    epsilon_start: eqx.AbstractVar[float]
    epsilon_end: eqx.AbstractVar[float]
    exploration_fraction: eqx.AbstractVar[float]
    ties: eqx.AbstractVar[str]

    def check_ranges(self) -> None:
        """Raise FathomError for values out of range."""
        require_positive(self, "num_envs", "num_steps")
        require_fraction(self, "gamma", "epsilon_start", "epsilon_end", "exploration_fraction")

    def epsilon(self, clock: Clock) -> Float[Array, ""]:
        """ε, a function of the run's progress alone."""
        return schedules.linear(
            self.epsilon_start, self.epsilon_end, clock.progress, self.exploration_fraction
        )

    def choose(
        self, q: Float[Array, "env action"], obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool = True
    ) -> Int[Array, " env"]:
        """The column of an ε-greedy action legal in `obs`, whose values are `q`; greedy if not exploring."""
        mask = action_mask(obs)
        if explore:
            return exploration.epsilon_greedy(key, q, self.epsilon(clock), mask, ties=self.ties)
        return exploration.greedy(key, q, mask, ties=self.ties)


class Control(Explorer):
    """An explorer with a step size, constant or falling to 0 over the run."""

    learning_rate: eqx.AbstractVar[float]
    anneal_lr: eqx.AbstractVar[bool]

    def alpha(self, clock: Clock) -> Float[Array, ""]:
        """The step size α, a function of the run's progress alone."""
        return step_size(self.learning_rate, self.anneal_lr, clock)

    def report(self, error: Metric, clock: Clock) -> Metrics:
        """The mean |error|, ε and α."""
        return {
            "td_error": error,
            "epsilon": Metric.of(self.epsilon(clock)),
            "learning_rate": Metric.of(self.alpha(clock)),
        }


class Prediction(Online):
    """A learner of the values of a policy that is given and does not change."""

    learning_rate: eqx.AbstractVar[float]
    anneal_lr: eqx.AbstractVar[bool]
    policy: eqx.AbstractVar[tuple[int, ...]]

    def check_policy(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for a policy that does not fit the environment."""
        require_positive(self, "learning_rate", "num_envs", "num_steps")
        require_fraction(self, "gamma")
        check_given(self.policy, spec)

    def choose(
        self, state: Int[Array, " env"], obs: Obs, actions: int, key: Key[Array, ""]
    ) -> Int[Array, " env"]:
        """The column of the policy's action in each state; a uniform legal one where no policy is given."""
        if self.policy:
            return given(self.policy, state)
        zeros = jnp.zeros((*state.shape, actions), jnp.float32)
        return exploration.greedy(key, zeros, action_mask(obs))

    def alpha(self, clock: Clock) -> Float[Array, ""]:
        """The step size α, a function of the run's progress alone."""
        return step_size(self.learning_rate, self.anneal_lr, clock)

    def report(self, error: Metric, clock: Clock) -> Metrics:
        """The mean |error| and α."""
        return {"td_error": error, "learning_rate": Metric.of(self.alpha(clock))}


def step_size(learning_rate: float, anneal: bool, clock: Clock) -> Float[Array, ""]:
    """The learning rate, or with `anneal` the line from it to 0 at the horizon."""
    return schedules.annealed(learning_rate, anneal, clock.progress)


def discount(gamma: float, step: Transition) -> Float[Array, " env"]:
    """The discount γ, and 0 where the step terminated the task: a cut episode goes on for its values."""
    return jnp.where(step.terminated, 0.0, gamma)


def given(policy: tuple[int, ...], state: Int[Array, " env"]) -> Int[Array, " env"]:
    """The action that a policy, listed by state, takes in each state."""
    return jnp.asarray(policy, jnp.int32)[state]


def check_given(policy: tuple[int, ...], spec: EnvSpec) -> None:
    """Raise FathomError unless `policy` is empty or names an action for every state."""
    if not policy:
        return
    states, actions = spaces.cardinality(spec.obs_space), spec.action_space.n
    require(
        len(policy) == states,
        f"policy lists {len(policy)} actions; there are {states} states, and each needs one, from 0.",
    )
    wrong = next((a for a in policy if not 0 <= a < actions), None)
    require(wrong is None, f"policy has the action {wrong}; the actions are 0 to {actions - 1}.")
    require(
        not isinstance(spec.obs_space, Masked),
        "a given policy does not heed action masks; leave policy empty, or drop the mask.",
    )


def of_action(q: Float[Array, "env action"], column: Int[Array, " env"]) -> Float[Array, " env"]:
    """The value of one action of each row."""
    return jnp.take_along_axis(q, column[:, None], axis=-1)[:, 0]


def absolute(error: Any) -> Metric:
    """The mean size of an error."""
    return Metric.of(jnp.abs(error))


def require_lone_dutch(traces: str, num_envs: int) -> None:
    """Raise FathomError for dutch traces of several environments."""
    require(
        traces != "dutch" or num_envs == 1,
        f"dutch traces correct for what a learner itself has changed, and with num_envs = {num_envs} others "
        "change the same values; set num_envs to 1 (and seeds to as many as you like), or take other traces.",
    )
