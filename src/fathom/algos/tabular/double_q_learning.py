"""Double Q-learning with two tables."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import Metrics, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action
from fathom.core.types import Action, Clock, EnvSpec, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import td


class State(eqx.Module):
    """All that Double Q-learning carries from one step to the next."""

    q1: QTable  # Q1(s, a)
    q2: QTable  # Q2(s, a)


class DoubleQLearning(Control):
    """Double Q-learning: one table chooses the best next action, the other judges it. van Hasselt 2010.

    Sutton & Barto 2018, Section 6.7, p. 136, Eq. 6.10:

    1. initialise Q1(s, a), Q2(s, a) for all s, a; Q(terminal, ·) = 0
    2. for each episode, for each step of it, from S
    3.   choose A from S by a policy ε-greedy in Q1 + Q2
    4.   take action A, observe R, S'                                               (the loop does)
    5.   with probability 0.5:
    6.     Q1(S, A) ← Q1(S, A) + α [R + γ Q2(S', argmax_a Q1(S', a)) − Q1(S, A)]
    7.   else the same with Q1 and Q2 exchanged
    8.   S ← S', until S is terminal                                                (the loop does)

    Deviations: of equal values in line 6 the first is chosen; illegal actions are left out of the maxima; a
    truncated episode bootstraps; environments side by side throw one coin in line 5, and those that meet in
    one pair move it by the mean of their errors.
    """

    learning_rate: float = 0.1  # step size α; 0.05 to 0.8
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.05  # ε at last; equal to epsilon_start for a constant ε
    exploration_fraction: float = 0.5  # part of the run over which ε falls
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    initial_value: float = 0.0  # Q(s, a) at first; above the returns it is optimistic, and explores
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for spaces that are not finite."""
        require_finite("Double Q-learning", spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1. A terminal state's values are never read: `td_target` knows where the task ended."""
        return State(QTable.init(spec, self.initial_value), QTable.init(spec, self.initial_value))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """The mean of Q1(s, ·) and Q2(s, ·)."""
        return (state.q1(obs) + state.q2(obs)) / 2

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: one step is all that a target needs."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3; greedy where not exploring."""
        action = self.choose(state.q1(obs) + state.q2(obs), obs, key, clock, explore)
        return to_env(state.q1.action_space, action), memory, {}

    def update(
        self, state: State, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, PyTree, Metrics]:
        """Lines 5 to 7."""
        first = jax.random.bernoulli(key)  # line 5
        error = jnp.where(
            first, self.td_error(state.q1, state.q2, step), self.td_error(state.q2, state.q1, step)
        )
        change = self.alpha(clock) * error
        q1 = state.q1.add(step.obs, step.action, jnp.where(first, change, 0.0))  # line 6
        q2 = state.q2.add(step.obs, step.action, jnp.where(first, 0.0, change))  # line 7
        return State(q1, q2), memory, self.report(absolute(error), clock)

    def td_error(self, q: QTable, other: QTable, step: Transition) -> Float[Array, " env"]:
        """R + γ Q'(S', argmax_a Q(S', a)) − Q(S, A), with Q' the other table. Eq. 6.10."""
        target = td.double_q_target(
            step.reward,
            discount(self.gamma, step),
            other(step.final_obs),
            q(step.final_obs),
            action_mask(step.final_obs),
        )
        return target - of_action(q(step.obs), q.column(step.action))
