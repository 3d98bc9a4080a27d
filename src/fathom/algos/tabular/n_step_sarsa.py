"""n-step SARSA with a table."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, discount
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import n_step


class State(eqx.Module):
    """All that n-step SARSA carries from one step to the next, apart from its memory."""

    q: QTable  # Q(s, a)


class Memory(eqx.Module):
    """What it remembers of each environment's episode."""

    next_action: Int[Array, " env"]  # A_{t+1}, chosen ahead; −1 where an episode begins
    window: n_step.Window  # the last n steps


class NStepSarsa(Control):
    """n-step SARSA: on-policy control by n-step returns.

    Sutton & Barto 2018, Section 7.2, p. 147, Eq. 7.4 and 7.5:

    1. initialise Q(s, a) for all s, a
    2. for each episode: select A_0 ~ π(·|S_0), ε-greedy in Q; T ← ∞
    3.   for t = 0, 1, 2, …: if t < T: take A_t, observe R_{t+1}, S_{t+1}           (the loop does)
    4.     if S_{t+1} is terminal T ← t + 1, else select A_{t+1} ~ π(·|S_{t+1})
    5.     τ ← t − n + 1; if τ ≥ 0:
    6.       G ← Σ_{i=τ+1}^{min(τ+n,T)} γ^{i−τ−1} R_i, plus γⁿ Q(S_{τ+n}, A_{τ+n}) if τ + n < T
    7.       Q(S_τ, A_τ) ← Q(S_τ, A_τ) + α [G − Q(S_τ, A_τ)]
    8.   until τ = T − 1

    The turns of line 3 after the end, in which only lines 5 to 7 have something to do, are all made with the
    last step. Deviations: illegal actions are never chosen; where an episode is truncated after T steps the
    returns end in γ^{T−τ} Q(S_T, A_T); changes of environments side by side add up.
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
    n: int = 4  # steps of a return; 1 is SARSA; 2 to 16
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for spaces that are not finite."""
        require_finite("n-step SARSA", spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate")
        require_positive(self, "n")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        return State(QTable.init(spec, self.initial_value))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> Memory:
        """No action chosen ahead, no steps."""
        return Memory(jnp.full(num_envs, -1, jnp.int32), n_step.empty(num_envs, self.n))

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
        next_action = self.choose(state.q(step.final_obs), step.final_obs, key, clock)  # line 4
        window = n_step.push(
            memory.window, state.q.cell(step.obs, state.q.column(step.action))[:, None], step.reward
        )
        values, error, changes = n_step.learn(  # lines 5 to 7
            state.q.cells,
            window,
            state.q.cell(step.final_obs, next_action)[:, None],
            discount(self.gamma, step),
            step.terminated | step.truncated,
            self.gamma,
            self.alpha(clock),
        )
        metrics = self.report(Metric(error, changes.astype(jnp.float32)), clock)
        return State(state.q.with_cells(values)), Memory(next_action, window), metrics
