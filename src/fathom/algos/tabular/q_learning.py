"""Q-learning with a table."""

from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import Metrics, require_fraction, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action
from fathom.core.types import Action, Clock, EnvSpec, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import td


class State(eqx.Module):
    """All that Q-learning carries from one step to the next."""

    q: QTable  # Q(s, a)


class QLearning(Control):
    """Q-learning: off-policy temporal-difference control. Watkins 1989.

    Sutton & Barto 2018, Section 6.5, p. 131, Eq. 6.8:

    1. initialise Q(s, a) for all s, a; Q(terminal, ·) = 0
    2. for each episode, for each step of it, from S
    3.   choose A from S by a policy derived from Q (ε-greedy)
    4.   take action A, observe R, S'                                               (the loop does)
    5.   Q(S, A) ← Q(S, A) + α [R + γ max_a Q(S', a) − Q(S, A)]
    6.   S ← S', until S is terminal                                                (the loop does)

    Deviations: illegal actions are left out of both maxima; a truncated episode bootstraps; with several
    environments side by side, those that meet in one pair move it by the mean of their errors.
    """

    learning_rate: float = 0.1  # step size α; 0.05 to 0.8, in (0, 1]
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
        require_finite("Q-learning", spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate")
        require_fraction(self, "learning_rate")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1. A terminal state's values are never read: `td_target` knows where the task ended."""
        return State(QTable.init(spec, self.initial_value))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: one step is all that a target needs."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3, with ε falling linearly over the first part of the run; greedy where not exploring."""
        action = self.choose(state.q(obs), obs, key, clock, explore)
        return to_env(state.q.action_space, action), memory, {}

    def update(
        self, state: State, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, PyTree, Metrics]:
        """Line 5."""
        error = self.td_error(state, step)
        q = state.q.add(step.obs, step.action, self.alpha(clock) * error)
        return State(q), memory, self.report(absolute(error), clock)

    def td_error(self, state: State, step: Transition) -> Float[Array, " env"]:
        """R + γ max_a Q(S', a) − Q(S, A), Eq. 6.8."""
        next_q, mask = state.q(step.final_obs), action_mask(step.final_obs)
        target = td.q_target(step.reward, discount(self.gamma, step), next_q, mask)
        return target - of_action(state.q(step.obs), state.q.column(step.action))
