"""SARSA(λ) with a table."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, require_fraction, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action, require_lone_dutch
from fathom.core.types import Action, Clock, EnvSpec, Obs, Transition
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import td, traces


class State(eqx.Module):
    """All that SARSA(λ) carries from one step to the next, apart from its memory."""

    q: QTable  # Q(s, a)


class Memory(eqx.Module):
    """What it remembers of each environment's episode."""

    next_action: Int[Array, " env"]  # A', chosen ahead; −1 where an episode begins
    trace: Float[Array, "env cell"]  # z, one number for each pair
    old: Float[Array, " env"]  # Q_old: the value of the pair now met as it was before the last change


class SarsaLambda(Control):
    """SARSA(λ): on-policy control by eligibility traces. Rummery 1995; van Seijen et al. 2016, Algorithm 2.

    Sutton & Barto 2018, Section 12.7, pp. 305 and 307, for a table, where x marks the pair (S, A):

    1. initialise Q(s, a) for all s, a; Q(terminal, ·) = 0
    2. for each episode: choose A from S (ε-greedy in Q); z ← 0; Q_old ← 0
    3.   for each step: take action A, observe R, S'                                (the loop does)
    4.     choose A' from S' (ε-greedy in Q)
    5.     δ ← R + γ Q(S', A') − Q(S, A)
    6.     z ← γλz + x                           accumulating
           z ← γλz, then z(S, A) ← 1             replacing
           z ← γλz + (1 − αγλ z(S, A)) x         dutch
    7.     Q ← Q + αδz; dutch: Q ← Q + α (δ + Q(S, A) − Q_old) z − α (Q(S, A) − Q_old) x, Q_old ← Q(S', A')
    8.     S ← S', A ← A', until S is terminal

    With dutch traces this is true online SARSA(λ), equal at each step to the forward view. Deviations:
    illegal actions are never chosen; a truncated episode bootstraps; changes of environments side by side add
    up, which dutch traces, exact for one learner's own changes only, do not allow.
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
    trace_decay: float = 0.9  # λ: 0 is SARSA, 1 is Monte Carlo; 0.5 to 0.95
    traces: Literal["accumulating", "replacing", "dutch"] = "replacing"  # how a visit marks its pair
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for spaces that are not finite."""
        require_finite("SARSA(λ)", spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate")
        require_fraction(self, "trace_decay")
        require_lone_dutch(self.traces, self.num_envs)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        return State(QTable.init(spec, self.initial_value))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> Memory:
        """Line 2: no action chosen ahead, no traces."""
        return Memory(
            jnp.full(num_envs, -1, jnp.int32),
            jnp.zeros((num_envs, state.q.size), jnp.float32),
            jnp.zeros(num_envs, jnp.float32),
        )

    def act(
        self, state: State, memory: Memory, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Memory, dict[str, Any]]:
        """Line 2, or the action chosen ahead; greedy where not exploring."""
        action = self.choose(state.q(obs), obs, key, clock, explore)
        ahead = memory.next_action if explore else jnp.full_like(action, -1)
        return to_env(state.q.action_space, jnp.where(ahead < 0, action, ahead)), memory, {}

    def update(
        self, state: State, memory: Memory, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Memory, Metrics]:
        """Lines 4 to 8."""
        q, alpha, column = state.q, self.alpha(clock), state.q.column(step.action)
        next_q, value = q(step.final_obs), of_action(q(step.obs), column)
        next_action = self.choose(next_q, step.final_obs, key, clock)  # line 4
        following = of_action(next_q, next_action)
        error = td.td_target(step.reward, discount(self.gamma, step), following) - value  # line 5

        x = traces.features(q.cell(step.obs, column)[:, None], q.size)
        trace = traces.mark(memory.trace, x, self.gamma * self.trace_decay, alpha, self.traces)  # line 6
        drift = value - memory.old if self.traces == "dutch" else jnp.zeros_like(value)
        values = traces.credit(q.cells, trace, x, error, drift, alpha)  # line 7
        metrics = self.report(absolute(error), clock)
        return State(q.with_cells(values)), Memory(next_action, trace, following), metrics  # line 8
