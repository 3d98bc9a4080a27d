"""Thompson sampling with Gaussian or Bernoulli rewards."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from fathom.algos.bandit.arms import Averages, in_turn, per_env, require_one_state
from fathom.algos.base import Metrics, Online, require, require_positive
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.ops import bandits, exploration


class Thompson(Online):
    """Act as is best in a world drawn from what is believed. Thompson 1933; Russo et al. 2018, Algorithm 4.2:

    1. for a = 1 … k: a prior for its mean reward, worth n₀ rewards of mean μ₀
    2. for t = 1, 2, … do
    3.   for every a draw θ(a) from the posterior of its mean reward
    4.   A ← argmax_a θ(a)
    5.   R ← bandit(A)                                                              (the loop does)
    6.   the posterior of A ← with R

    Both models have conjugate priors, and the posterior after n rewards is that of n₀ + n rewards of mean m:
    "gaussian", rewards N(q, σ²): N(m, σ² / (n₀ + n)); "bernoulli", rewards 0 and 1: Beta(m (n₀ + n),
    (1 − m)(n₀ + n)). Where not exploring: the action of the highest posterior mean, ties at random.
    """

    num_envs: int = 1  # plays of the same problem side by side, learnt from in turn
    num_steps: int = 100  # steps in one update of the engine; what is learnt does not depend on it
    rewards: Literal["gaussian", "bernoulli"] = "gaussian"  # what rewards are believed to be
    prior_mean: float = 0.0  # μ₀; 0.5 with prior_count 2 is uniform on [0, 1] for bernoulli
    prior_count: float = 1.0  # n₀, rewards that the prior is worth; 0.1 to 10
    reward_std: float = 1.0  # σ, standard deviation of a gaussian reward; bernoulli has no use for it

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for problems of more than one state."""
        require_one_state(self, spec)
        require_positive(self, "num_envs", "num_steps", "prior_count", "reward_std")
        require(
            self.rewards == "gaussian" or 0 < self.prior_mean < 1,
            f"prior_mean is {self.prior_mean}; a Bernoulli reward's lies between 0 and 1: prior_mean=0.5, "
            "prior_count=2 is uniform.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> Averages:
        """Line 1."""
        k = spec.action_space.n
        mean = jnp.full(k, self.prior_mean, jnp.float32)
        return Averages(mean, jnp.full(k, self.prior_count, jnp.float32), spec.action_space)

    def init_memory(self, state: Averages, num_envs: int) -> PyTree:
        """Nothing."""
        return ()

    def act(
        self, state: Averages, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Lines 3 and 4."""
        mean = per_env(state.value, obs)
        if not explore:
            return exploration.greedy(key, mean) + state.space.start, memory, {}
        # Continuous draws do not tie: the first of the highest is the highest.
        arm = jnp.argmax(self.draw(key, mean, per_env(state.count, obs)), axis=-1).astype(jnp.int32)
        return arm + state.space.start, memory, {}

    def draw(
        self, key: Key[Array, ""], mean: Float[Array, "env action"], count: Float[Array, "env action"]
    ) -> Float[Array, "env action"]:
        """Line 3: mean rewards drawn from their posteriors."""
        if self.rewards == "gaussian":
            return mean + self.reward_std / jnp.sqrt(count) * jax.random.normal(key, mean.shape)
        return jax.random.beta(key, mean * count, (1.0 - mean) * count)

    def update(
        self, state: Averages, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[Averages, PyTree, Metrics]:
        """Line 6."""
        state = in_turn(self.learn, state, state.space, step)
        return state, memory, {"value": Metric.of(state.value.max())}

    def learn(self, state: Averages, arm: Int[Array, ""], reward: Float[Array, ""]) -> Averages:
        """Line 6 for one play: one more reward in the mean."""
        return Averages(*bandits.sample_average(state.value, state.count, arm, reward), state.space)
