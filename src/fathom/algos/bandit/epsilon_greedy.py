"""Action values with ε-greedy choice; greedy and optimistic as settings of it."""

from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from fathom.algos.bandit.arms import Averages, in_turn, per_env, require_one_state
from fathom.algos.base import Metrics, Online, require_fraction, require_positive
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.ops import bandits, exploration


class EpsilonGreedy(Online):
    """The simple bandit algorithm. Sutton & Barto 2018, Section 2.4:

    1. for a = 1 … k: Q(a) ← Q₁, N(a) ← 0
    2. loop for ever:
    3.   A ← argmax_a Q(a) with probability 1 − ε, else a random action; ties broken at random
    4.   R ← bandit(A)                                                              (the loop does)
    5.   N(A) ← N(A) + 1
    6.   Q(A) ← Q(A) + (R − Q(A)) / N(A)

    Switches: `epsilon` 0 is greedy; `initial_value` above all rewards explores by disappointment (Section
    2.6); with `sample_average` off line 6 takes α for 1 / N(A), for problems that change (Section 2.5).
    """

    num_envs: int = 1  # plays of the same problem side by side, learnt from in turn
    num_steps: int = 100  # steps in one update of the engine; what is learnt does not depend on it
    epsilon: float = 0.1  # ε, probability of a random action; 0 to 0.25
    initial_value: float = 0.0  # Q₁ of every action; 5 is optimistic where rewards are about 1
    sample_average: bool = True  # Q is the mean of all rewards; off, that of recent ones
    step_size: float = 0.1  # α, for sample_average off; 0.01 to 0.5
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for problems of more than one state."""
        require_one_state(self, spec)
        require_positive(self, "num_envs", "num_steps", "step_size")
        require_fraction(self, "epsilon", "step_size")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> Averages:
        """Line 1."""
        k = spec.action_space.n
        value = jnp.full(k, self.initial_value, jnp.float32)
        return Averages(value, jnp.zeros(k, jnp.float32), spec.action_space)

    def init_memory(self, state: Averages, num_envs: int) -> PyTree:
        """Nothing."""
        return ()

    def act(
        self, state: Averages, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3; greedy where not exploring."""
        q = per_env(state.value, obs)
        if explore:
            arm = exploration.epsilon_greedy(key, q, self.epsilon, ties=self.ties)
        else:
            arm = exploration.greedy(key, q, ties=self.ties)
        return arm + state.space.start, memory, {}

    def update(
        self, state: Averages, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[Averages, PyTree, Metrics]:
        """Lines 5 and 6."""
        state = in_turn(self.learn, state, state.space, step)
        return state, memory, {"value": Metric.of(state.value.max())}

    def learn(self, state: Averages, arm: Int[Array, ""], reward: Float[Array, ""]) -> Averages:
        """Lines 5 and 6 for one play."""
        value, count = bandits.sample_average(state.value, state.count, arm, reward)
        if not self.sample_average:
            value = bandits.constant_step(state.value, arm, reward, self.step_size)
        return Averages(value, count, state.space)
