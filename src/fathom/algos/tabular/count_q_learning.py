"""Q-learning that explores by counting its visits."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.algos.base import Metrics, require, require_fraction, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, count_at, require_finite
from fathom.ops import td


class State(eqx.Module):
    """All that is carried from one step to the next."""

    q: QTable  # Q(s, a), without the bonus of its own pair
    visits: Int[Array, "state action"]  # N(s, a)


class CountQLearning(Control):
    """Q-learning in the face of uncertainty: values rise by a bonus that shrinks as a pair is visited.

    The bonus and its place are those of MBIE-EB (Strehl & Littman 2008, "An analysis of model-based Interval
    Estimation for Markov decision processes"), Q̃(s, a) = R̂(s, a) + γ Σ_s' T̂(s'|s, a) max_a' Q̃(s', a')
    + β/√N(s, a), with Q-learning in the place of the model R̂, T̂:

    1. N(s, a) ← 0, Q(s, a) ← Q₀, the largest value there can be, for all s, a
       (throughout Q̃(s, a) = Q(s, a) + β/√N(s, a), and Q₀ where N(s, a) = 0)
    2. for each step from S
    3.   A ← argmax_a Q̃(S, a); take it, observe R, S'                      (the loop does the latter)
    4.   α' ← max(α, 1/(N(S, A) + 1)); N(S, A) ← N(S, A) + 1
    5.   Q(S, A) ← Q(S, A) + α' [R + γ max_a Q̃(S', a) − Q(S, A)]

    So a bonus is never averaged into the value of its own pair, whose present count alone decides it; it
    enters the values of pairs before it, and draws the agent to where it has not been. By line 4 the first
    visit puts an outcome in the place of Q₀, and the first 1/α are averaged. Where not exploring, actions are
    greedy by Q among those tried in a state, by chance where none was. Deviations from the paper: no model,
    so that news travels a step at each visit; line 3 may be ε-greedy (ε is 0 by default); illegal actions
    are left out; a truncated episode bootstraps; environments that meet in one pair each count, and move its
    value by the mean of their errors.
    """

    learning_rate: float = 0.1  # least step size α; 0.05 to 1, 1 where nothing is left to chance
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    epsilon_start: float = 0.0  # ε at first
    epsilon_end: float = 0.0  # ε at last
    exploration_fraction: float = 0.5  # part of the run over which ε falls
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    bonus: float = 0.1  # β, of the bonus β/√N; 0 leaves optimism alone; in units of the reward
    initial_value: float = 1.0  # Q₀ of a pair never tried; r_max/(1 − γ) in the paper, or the largest return
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
        require(self.bonus >= 0, f"bonus is {self.bonus}; it must be 0 or more.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        q = QTable.init(spec, self.initial_value)
        return State(q, jnp.zeros(q.values.shape, jnp.int32))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def optimistic(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q̃(s, ·) of line 1."""
        visits = self.visits(state, obs)
        bonus = self.bonus / jnp.sqrt(jnp.maximum(visits, 1).astype(jnp.float32))
        return state.q(obs) + jnp.where(visits > 0, bonus, 0.0)

    def visits(self, state: State, obs: Obs) -> Int[Array, "*batch action"]:
        """N(s, ·)."""
        return state.visits[state.q.state(obs)]

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: counts outlive the episode."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3; greedy by what was learnt where not exploring."""
        q = self.optimistic(state, obs) if explore else self.learnt(state, obs)
        action = self.choose(q, obs, key, clock, explore)
        return to_env(state.q.action_space, action), memory, {}

    def learnt(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·) of the legal actions tried, −∞ of the others; the same of all where none was tried."""
        tried, mask = self.visits(state, obs) > 0, action_mask(obs)
        usable: Bool[Array, "*batch action"] = tried if mask is None else tried & mask
        known = usable.any(axis=-1, keepdims=True)
        return jnp.where(usable, state.q(obs), jnp.where(known, -jnp.inf, 0.0))

    def update(
        self, state: State, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, PyTree, Metrics]:
        """Lines 4 and 5."""
        row, column = state.q.state(step.obs), state.q.column(step.action)
        before = state.visits[row, column]
        step_size = jnp.maximum(self.alpha(clock), 1.0 / (before + 1).astype(jnp.float32))  # line 4
        visits = count_at(state.visits, row, column)
        error = self.td_error(state, step)
        q = state.q.add(step.obs, step.action, step_size * error)  # line 5
        metrics = self.report(absolute(error), clock)
        metrics["tried"] = Metric.of((visits > 0).astype(jnp.float32))
        return State(q, visits), memory, metrics

    def td_error(self, state: State, step: Transition) -> Float[Array, " env"]:
        """R + γ max_a Q̃(S', a) − Q(S, A), line 5."""
        following, mask = self.optimistic(state, step.final_obs), action_mask(step.final_obs)
        target = td.q_target(step.reward, discount(self.gamma, step), following, mask)
        return target - of_action(state.q(step.obs), state.q.column(step.action))
