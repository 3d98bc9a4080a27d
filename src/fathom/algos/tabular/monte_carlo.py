"""Monte Carlo with a table: on-policy control, and prediction for a given policy."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.algos.base import Metrics, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, Prediction
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, VTable, require_finite
from fathom.ops import exploration, monte_carlo, td, traces

Visits = Literal["first", "every"]


class ControlState(eqx.Module):
    """All that Monte Carlo control carries from one step to the next, apart from its memory."""

    q: QTable  # Q(s, a)
    seen: Float[Array, " cell"]  # N(s, a), the visits averaged so far


class PredictionState(eqx.Module):
    """All that Monte Carlo prediction carries from one step to the next, apart from its memory."""

    v: VTable  # V(s)
    seen: Float[Array, " cell"]  # N(s), the visits averaged so far


class MonteCarlo(Control):
    """On-policy Monte Carlo control for ε-soft policies.

    Sutton & Barto 2018, Section 5.4, p. 101, with the mean kept as in Eq. 5.7 and 5.8, or α as in Eq. 6.1:

    1. initialise Q(s, a) for all s, a; N(s, a) ← 0
    2. for each episode: generate it by π, ε-greedy in Q
    3.   G ← 0; for t = T − 1, …, 0: G ← γG + R_{t+1}
    4.     unless (S_t, A_t) appears before t ("first" visits only):
    5.       Q(S_t, A_t) ← the mean of all returns so far, or Q + α (G − Q)
    6.   π ← ε-greedy in the new Q

    Lines 3 and 4 are summed forwards while the episode lasts (`ops.monte_carlo`), which is exact and needs no
    room for it. Deviations: an episode that is cut goes on with Σ_a π(a|S_T) Q(S_T, a): without it its
    returns would be too small; illegal actions are never chosen; changes of environments side by side add up.
    """

    learning_rate: float = 0.05  # step size α where `average` is off; 0.01 to 0.2
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.1  # ε at last; equal to epsilon_start for a constant ε
    exploration_fraction: float = 0.5  # part of the run over which ε falls
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    initial_value: float = 0.0  # Q(s, a) at first
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    visits: Literal["first", "every"] = "first"  # which visits to a pair in an episode count
    average: bool = True  # Q is the mean of all returns; off: steps of α, which forget old policies
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for spaces that are not finite."""
        require_finite("Monte Carlo", spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> ControlState:
        """Line 1."""
        q = QTable.init(spec, self.initial_value)
        return ControlState(q, jnp.zeros(q.size, jnp.float32))

    def action_values(self, state: ControlState, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: ControlState, num_envs: int) -> monte_carlo.Sums:
        """Line 3: no visits, no rewards."""
        return monte_carlo.nothing(num_envs, state.q.size)

    def act(
        self, state: ControlState, memory: Any, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Any, dict[str, Any]]:
        """Line 2; greedy where not exploring."""
        action = self.choose(state.q(obs), obs, key, clock, explore)
        return to_env(state.q.action_space, action), memory, {}

    def update(
        self, state: ControlState, memory: Any, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[ControlState, Any, Metrics]:
        """Lines 3 to 6."""
        q, over = state.q, step.terminated | step.truncated
        following = exploration.expected_value(
            q(step.final_obs), self.epsilon(clock), action_mask(step.final_obs)
        )
        cell = q.cell(step.obs, q.column(step.action))
        step_size = None if self.average else self.alpha(clock)
        sums = visit(memory, cell, self.visits, step_size, step, following, self.gamma)
        values, seen = monte_carlo.fold(q.cells, state.seen, sums, over, self.average)  # lines 5 and 6
        metrics = self.report(return_error(q.cells, sums, over), clock)
        return ControlState(q.with_cells(values), seen), sums, metrics


class MonteCarloPrediction(Prediction):
    """Monte Carlo prediction: the values of a given policy as the mean of the returns from each state.

    Sutton & Barto 2018, Section 5.1, p. 92, or with α Eq. 6.1:

    1. initialise V(s) for all s; N(s) ← 0; the policy π is given
    2. for each episode: generate it by π
    3.   G ← 0; for t = T − 1, …, 0: G ← γG + R_{t+1}
    4.     unless S_t appears before t ("first" visits only):
    5.       V(S_t) ← the mean of all returns so far, or V + α (G − V)

    Lines 3 and 4 are summed forwards while the episode lasts (`ops.monte_carlo`), which is exact and needs no
    room for it. Deviations: an episode that is cut goes on with V(S_T): without it its returns would be too
    small; changes of environments side by side add up. Evaluation acts by π too.
    """

    learning_rate: float = 0.05  # step size α where `average` is off; 0.01 to 0.2
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    initial_value: float = 0.0  # V(s) at first
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    visits: Literal["first", "every"] = "first"  # which visits to a state in an episode count
    average: bool = True  # V is the mean of all returns; off: steps of α
    policy: tuple[int, ...] = ()  # π: the action of each state, from 0; () is uniform over legal actions

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range, spaces that are not finite, a policy that is amiss."""
        require_finite("Monte Carlo", spec)
        require_mask_fits(spec)
        self.check_policy(spec)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> PredictionState:
        """Line 1."""
        v = VTable.init(spec, self.initial_value)
        return PredictionState(v, jnp.zeros(v.size, jnp.float32))

    def state_values(self, state: PredictionState, obs: Obs) -> Float[Array, "*batch"]:
        """V(s)."""
        return state.v(obs)

    def init_memory(self, state: PredictionState, num_envs: int) -> monte_carlo.Sums:
        """Line 3: no visits, no rewards."""
        return monte_carlo.nothing(num_envs, state.v.size)

    def act(
        self, state: PredictionState, memory: Any, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Any, dict[str, Any]]:
        """Line 2."""
        action = self.choose(state.v.state(obs), obs, state.v.action_space.n, key)
        return to_env(state.v.action_space, action), memory, {}

    def update(
        self, state: PredictionState, memory: Any, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[PredictionState, Any, Metrics]:
        """Lines 3 to 5."""
        v, over = state.v, step.terminated | step.truncated
        step_size = None if self.average else self.alpha(clock)
        sums = visit(memory, v.state(step.obs), self.visits, step_size, step, v(step.final_obs), self.gamma)
        values, seen = monte_carlo.fold(v.values, state.seen, sums, over, self.average)  # line 5
        metrics = self.report(return_error(v.values, sums, over), clock)
        return PredictionState(v.with_cells(values), seen), sums, metrics


def visit(
    sums: monte_carlo.Sums,
    cell: Int[Array, " env"],
    visits: Visits,
    step_size: Float[Array, ""] | None,
    step: Transition,
    following: Float[Array, " env"],
    gamma: Float[Array, ""] | float,
) -> monte_carlo.Sums:
    """The episode's sums with one more step; `following` is the value of where it led, if it is cut there.

    For a mean (`step_size` None) every visit weighs 1. With a step size α the j-th visit of an episode weighs
    α (1 − α)^(j − 1): line 3 goes backwards, so that the earliest visit has the last word. `sums.weight`, of
    the visits so far, is 1 − (1 − α)^(j − 1).
    """
    here = traces.features(cell[:, None], sums.trace.shape[-1])
    if visits == "first":
        here = jnp.where(sums.weight > 0.0, 0.0, here)
    weight = here if step_size is None else here * step_size * (1.0 - sums.weight)
    cut = step.truncated & ~step.terminated
    reward = td.td_target(step.reward, jnp.where(cut, gamma, 0.0), following)
    return monte_carlo.visit(sums, weight, reward, gamma)


def return_error(values: Float[Array, " cell"], sums: monte_carlo.Sums, over: Bool[Array, " env"]) -> Metric:
    """The mean over the cells visited in episodes now over of |mean return − value|."""
    met = over[:, None] & (sums.weight > 0.0)
    mean = sums.total / jnp.where(sums.weight > 0.0, sums.weight, 1.0)
    return Metric.where(jnp.abs(mean - values[None, :]), met)
