"""Dyna-Q and Dyna-Q+ with tables."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.algos.base import Metrics, require, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action
from fathom.core.spaces import Masked
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import td
from fathom.ops.sampling import choose


class Model(eqx.Module):
    """What followed each pair when it was last tried; at first, that nothing happens."""

    reward: Float[Array, "state action"]
    next_state: Int[Array, "state action"]
    terminated: Bool[Array, "state action"]
    tried: Int[Array, "state action"]  # the step at which it was last tried, from 1; 0 for never
    met: Int[Array, " state"]  # the states acted in, in the order in which they were first met
    count: Int[Array, ""]  # how many they are


class State(eqx.Module):
    """All that Dyna-Q carries from one step to the next."""

    q: QTable  # Q(s, a)
    model: Model


class DynaQ(Control):
    """Dyna-Q: Q-learning from steps made and from steps recalled; with κ > 0 Dyna-Q+. Sutton 1990.

    Sutton & Barto 2018, Section 8.2, p. 164:

    1. initialise Q(s, a) and Model(s, a) for all s, a
    2. loop: S ← current state; A ← ε-greedy in Q
    3.   take action A, observe R, S'                                               (the loop does)
    4.   Q(S, A) ← Q(S, A) + α [R + γ max_a Q(S', a) − Q(S, A)]
    5.   Model(S, A) ← R, S'
    6.   n times: S ← random state acted in before, A ← random action tried in it before
    7.     R, S' ← Model(S, A)
    8.     Q(S, A) ← Q(S, A) + α [R + κ√τ + γ max_a Q(S', a) − Q(S, A)]

    Dyna-Q+ (Section 8.3): τ is the number of steps since the pair was tried, and, as the footnote on p. 168
    has it, line 6 also takes actions never tried in a state, of which the model says at first that they lead
    back to it with reward 0. Deviations: the model keeps the last outcome, also where outcomes are random; an
    outcome that terminates is worth its reward alone; a truncated episode bootstraps; environments side by
    side tell the model one after the other, and those that meet in one pair move it by the mean of their
    errors.
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
    planning_steps: int = 10  # n, steps recalled for each step made; 0 is Q-learning; 5 to 50
    kappa: float = 0.0  # κ, bonus for pairs long untried: Dyna-Q+; 1e-4 to 1e-2
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range, for spaces that are not finite, for action masks."""
        require_finite("Dyna-Q", spec)
        require(
            not isinstance(spec.obs_space, Masked),
            "Dyna-Q plans in states it does not see, whose legal actions its model does not know; take "
            "q_learning where actions are masked.",
        )
        self.check_ranges()
        require_positive(self, "learning_rate")
        require(self.planning_steps >= 0, f"planning_steps is {self.planning_steps}; it must be 0 or more.")
        require(self.kappa >= 0, f"kappa is {self.kappa}; it must be 0 or more.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        q = QTable.init(spec, self.initial_value)
        zeros = jnp.zeros(q.values.shape, jnp.int32)
        stays = jnp.broadcast_to(jnp.arange(zeros.shape[0], dtype=jnp.int32)[:, None], zeros.shape)
        reward, terminated = zeros.astype(jnp.float32), zeros.astype(jnp.bool_)
        return State(q, Model(reward, stays, terminated, zeros, zeros[:, 0], jnp.zeros((), jnp.int32)))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: the model outlives the episode."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 2; greedy where not exploring."""
        action = self.choose(state.q(obs), obs, key, clock, explore)
        return to_env(state.q.action_space, action), memory, {}

    def update(
        self, state: State, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, PyTree, Metrics]:
        """Lines 4 to 8."""
        q, now = state.q, clock.update + 1
        target = td.q_target(step.reward, discount(self.gamma, step), q(step.final_obs))
        error = target - of_action(q(step.obs), q.column(step.action))
        q = q.add(step.obs, step.action, self.alpha(clock) * error)  # line 4
        model = self.remember(state.model, q, step, now)  # line 5
        pairs = self.recall(model, key)  # line 6
        q = self.plan(q, model, pairs, now, self.alpha(clock))  # lines 7 and 8
        metrics = self.report(absolute(error), clock) | {"known": Metric.of((model.tried > 0).mean())}
        return State(q, model), memory, metrics

    def remember(self, model: Model, q: QTable, step: Transition, now: Int[Array, ""]) -> Model:
        """Line 5, one environment after the other."""

        def note(model: Model, row: tuple) -> tuple[Model, None]:
            s, a, reward, next_state, terminated = row
            new = ~(model.tried[s] > 0).any()
            met = model.met.at[jnp.where(new, model.count, 0)].set(jnp.where(new, s, model.met[0]))
            return Model(
                model.reward.at[s, a].set(reward),
                model.next_state.at[s, a].set(next_state),
                model.terminated.at[s, a].set(terminated),
                model.tried.at[s, a].set(now),
                met,
                model.count + new.astype(jnp.int32),
            ), None

        states, columns = q.state(step.obs), q.column(step.action)
        rows = (states, columns, step.reward, q.state(step.final_obs), step.terminated)
        return jax.lax.scan(note, model, rows)[0]

    def recall(self, model: Model, key: Key[Array, ""]) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
        """Line 6: the n pairs to plan with; the model does not change between them."""
        uniform = jax.random.uniform(key, (2, self.planning_steps))
        which = (uniform[0] * model.count.astype(jnp.float32)).astype(jnp.int32)
        states = model.met[jnp.minimum(which, model.count - 1)]
        eligible = (model.tried[states] > 0) | (jnp.asarray(self.kappa) > 0.0)
        return states, choose(eligible.astype(jnp.float32), uniform[1])

    def plan(
        self, q: QTable, model: Model, pairs: tuple[Array, Array], now: Int[Array, ""], alpha: Array
    ) -> QTable:
        """Lines 7 and 8, one pair after the other."""

        def learn(values: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
            s, a = pair
            untried = (now - model.tried[s, a]).astype(jnp.float32)
            reward = model.reward[s, a] + self.kappa * jnp.sqrt(untried)
            gamma = jnp.where(model.terminated[s, a], 0.0, self.gamma)
            error = td.q_target(reward, gamma, values[model.next_state[s, a]]) - values[s, a]
            return values.at[s, a].add(alpha * error), None

        return q.with_cells(jax.lax.scan(learn, q.values, pairs)[0])
