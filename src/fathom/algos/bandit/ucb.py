"""Upper confidence bounds."""

from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from fathom.algos.bandit.arms import Averages, in_turn, per_env, require_one_state
from fathom.algos.base import Metrics, Online, require, require_positive
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.ops import bandits, exploration


class UCB(Online):
    """Optimism in the face of uncertainty. Sutton & Barto 2018, Section 2.7 (after Auer et al. 2002):

    1. for a = 1 … k: Q(a) ← 0, N(a) ← 0
    2. for t = 1, 2, … do
    3.   A ← argmax_a [Q(a) + c √(ln t / N(a))], an action with N(a) = 0 before all others      (Eq. 2.10)
    4.   R ← bandit(A)                                                              (the loop does)
    5.   N(A) ← N(A) + 1
    6.   Q(A) ← Q(A) + (R − Q(A)) / N(A)

    Where not exploring: the action of the highest mean among those that were tried.
    """

    num_envs: int = 1  # plays of the same problem side by side, learnt from in turn
    num_steps: int = 100  # steps in one update of the engine; what is learnt does not depend on it
    c: float = 2.0  # c, width of the bounds, in the unit of rewards; 0.5 to 4
    ties: Literal["random", "first"] = "random"  # which of equally good actions is taken

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for problems of more than one state."""
        require_one_state(self, spec)
        require_positive(self, "num_envs", "num_steps")
        require(self.c >= 0, f"c is {self.c}; it must not be below 0.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> Averages:
        """Line 1."""
        zeros = jnp.zeros(spec.action_space.n, jnp.float32)
        return Averages(zeros, jnp.copy(zeros), spec.action_space)

    def init_memory(self, state: Averages, num_envs: int) -> PyTree:
        """Nothing."""
        return ()

    def act(
        self, state: Averages, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3."""
        if explore:
            score = bandits.ucb_score(state.value, state.count, self.c)
        else:
            score = jnp.where(state.count > 0.0, state.value, -jnp.inf)
        arm = exploration.greedy(key, per_env(score, obs), ties=self.ties)
        return arm + state.space.start, memory, {}

    def update(
        self, state: Averages, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[Averages, PyTree, Metrics]:
        """Lines 5 and 6."""
        state = in_turn(self.learn, state, state.space, step)
        return state, memory, {"value": Metric.of(state.value.max())}

    def learn(self, state: Averages, arm: Int[Array, ""], reward: Float[Array, ""]) -> Averages:
        """Lines 5 and 6 for one play."""
        return Averages(*bandits.sample_average(state.value, state.count, arm, reward), state.space)
