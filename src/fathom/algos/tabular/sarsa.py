"""SARSA with a table."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action
from fathom.core.types import Action, Clock, EnvSpec, Obs, Transition
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import td


class State(eqx.Module):
    """All that SARSA carries from one step to the next, apart from the action chosen ahead."""

    q: QTable  # Q(s, a)


class Sarsa(Control):
    """SARSA: on-policy temporal-difference control. Rummery & Niranjan 1994.

    Sutton & Barto 2018, Section 6.4, p. 130, Eq. 6.7:

    1. initialise Q(s, a) for all s, a; Q(terminal, ·) = 0
    2. for each episode: choose A from S by a policy derived from Q (ε-greedy)
    3.   for each step: take action A, observe R, S'                                (the loop does)
    4.     choose A' from S' by a policy derived from Q (ε-greedy)
    5.     Q(S, A) ← Q(S, A) + α [R + γ Q(S', A') − Q(S, A)]
    6.     S ← S', A ← A', until S is terminal

    Deviations: illegal actions are never chosen; a truncated episode bootstraps; with several environments
    side by side, those that meet in one pair move it by the mean of their errors.
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
        require_finite("SARSA", spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1. A terminal state's values are never read: `td_target` knows where the task ended."""
        return State(QTable.init(spec, self.initial_value))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> Int[Array, " env"]:
        """The action chosen ahead: none, −1, where an episode begins."""
        return jnp.full(num_envs, -1, jnp.int32)

    def act(
        self, state: State, memory: Any, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Any, dict[str, Any]]:
        """Line 2, or the action chosen ahead; greedy where not exploring."""
        action = self.choose(state.q(obs), obs, key, clock, explore)
        ahead = memory if explore else jnp.full_like(action, -1)
        return to_env(state.q.action_space, jnp.where(ahead < 0, action, ahead)), memory, {}

    def update(
        self, state: State, memory: Any, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Any, Metrics]:
        """Lines 4 to 6."""
        next_q = state.q(step.final_obs)
        next_action = self.choose(next_q, step.final_obs, key, clock)  # line 4
        target = td.td_target(step.reward, discount(self.gamma, step), of_action(next_q, next_action))
        error = target - of_action(state.q(step.obs), state.q.column(step.action))
        q = state.q.add(step.obs, step.action, self.alpha(clock) * error)  # line 5
        return State(q), next_action, self.report(absolute(error), clock)  # line 6
