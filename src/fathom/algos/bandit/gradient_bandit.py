"""Preferences moved by stochastic gradient ascent."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from fathom.algos.bandit.arms import in_turn, per_env, require_one_state
from fathom.algos.base import Metrics, Online, require_positive
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.ops import bandits, exploration
from fathom.ops.sampling import choose


class Preferences(eqx.Module):
    """What is preferred, and the mean of all rewards so far."""

    preference: Float[Array, " action"]  # H
    mean_reward: Float[Array, ""]  # R̄
    count: Float[Array, ""]  # rewards in that mean
    space: Discrete  # of the actions; holds no arrays


class GradientBandit(Online):
    """The gradient bandit algorithm. Sutton & Barto 2018, Section 2.8:

    1. for a = 1 … k: H(a) ← 0
    2. for t = 1, 2, … do
    3.   A ~ π = softmax(H)                                                                      (Eq. 2.11)
    4.   R ← bandit(A)                                                              (the loop does)
    5.   R̄ ← the mean of the rewards before this one; R itself where it is the first
    6.   H(a) ← H(a) + α (R − R̄) (1{a = A} − π(a)) for every a                                   (Eq. 2.12)

    Switch: with `baseline` off R̄ is 0. Where not exploring: the most preferred action, ties at random.
    """

    num_envs: int = 1  # plays of the same problem side by side, learnt from in turn
    num_steps: int = 100  # steps in one update of the engine; what is learnt does not depend on it
    step_size: float = 0.1  # α; 0.03 to 0.4
    baseline: bool = True  # compare each reward with the mean of those before

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for problems of more than one state."""
        require_one_state(self, spec)
        require_positive(self, "num_envs", "num_steps", "step_size")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> Preferences:
        """Line 1."""
        zero = jnp.zeros((), jnp.float32)
        return Preferences(
            jnp.zeros(spec.action_space.n, jnp.float32), zero, jnp.copy(zero), spec.action_space
        )

    def init_memory(self, state: Preferences, num_envs: int) -> PyTree:
        """Nothing."""
        return ()

    def act(
        self, state: Preferences, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3."""
        if explore:
            policy = per_env(jax.nn.softmax(state.preference), obs)
            arm = choose(policy, jax.random.uniform(key, policy.shape[:-1]))
        else:
            arm = exploration.greedy(key, per_env(state.preference, obs))
        return arm + state.space.start, memory, {}

    def update(
        self, state: Preferences, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[Preferences, PyTree, Metrics]:
        """Lines 5 and 6."""
        # All arms were drawn from the preferences as they were: so is the policy whose gradient it is.
        policy = jax.nn.softmax(state.preference)
        learn = lambda state, arm, reward: self.learn(state, policy, arm, reward)  # noqa: E731
        state = in_turn(learn, state, state.space, step)
        likeliest = jax.nn.softmax(state.preference).max()
        return state, memory, {"likeliest": Metric.of(likeliest)}

    def learn(
        self,
        state: Preferences,
        policy: Float[Array, " action"],
        arm: Int[Array, ""],
        reward: Float[Array, ""],
    ) -> Preferences:
        """Lines 5 and 6 for one play of an arm that was drawn from `policy`."""
        before = jnp.where(state.count > 0.0, state.mean_reward, reward)  # line 5
        baseline = before if self.baseline else jnp.zeros_like(reward)
        preference = bandits.gradient_preference(  # line 6
            state.preference, arm, reward, baseline, self.step_size, policy
        )
        count = state.count + 1.0
        mean = state.mean_reward + (reward - state.mean_reward) / count
        return Preferences(preference, mean, count, state.space)
