"""Off-policy Monte Carlo with weighted importance sampling and a table."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, require_mask_fits
from fathom.algos.tabular.control import Explorer, check_given, given, of_action
from fathom.algos.tabular.monte_carlo import return_error
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.table import QTable, require_finite
from fathom.ops import exploration, monte_carlo, td, traces


class State(eqx.Module):
    """All that it carries from one step to the next, apart from its memory."""

    q: QTable  # Q(s, a)
    seen: Float[Array, " cell"]  # C(s, a), the weights taken in so far


class OffPolicyMonteCarlo(Explorer):
    """Off-policy Monte Carlo: learns of a deterministic policy π from episodes of an ε-greedy one, b.

    Sutton & Barto 2018, Sections 5.6 and 5.7, pp. 110 and 111, Eq. 5.7 and 5.8:

    1. initialise Q(s, a) for all s, a; C(s, a) ← 0; π(s) is given, or argmax_a Q(s, a), the first of equals
    2. for each episode: generate it by b, ε-greedy in Q
    3.   G ← 0; W ← 1; for t = T − 1, …, 0:
    4.     G ← γG + R_{t+1}; C(S_t, A_t) ← C(S_t, A_t) + W
    5.     Q(S_t, A_t) ← Q(S_t, A_t) + W / C(S_t, A_t) [G − Q(S_t, A_t)]
    6.     W ← W π(A_t|S_t) / b(A_t|S_t); if W = 0 leave the loop
    7.   π(s) ← argmax_a Q(s, a) for all s, unless given

    Lines 3 to 6 are summed forwards while the episode lasts (`ops.monte_carlo`), which is exact and needs no
    room for it. Deviations: π is improved after an episode and not while line 3 goes through it, so that it
    is one policy whose returns are averaged, unless another environment's episode ends meanwhile; an episode
    that is cut goes on with Q(S_T, π(S_T)); illegal actions are left out of both policies. Evaluation acts by
    π. W has mean 1: that it overflows is not to be feared.
    """

    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.1  # ε at last; above 0, or b never leaves its own ways
    exploration_fraction: float = 0.5  # part of the run over which ε falls
    initial_value: float = 0.0  # Q(s, a) at first
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    policy: tuple[int, ...] = ()  # π: the action of each state, from 0; () is greedy in Q
    ties: Literal["random", "first"] = "random"  # which of equally good actions b takes

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range, spaces that are not finite, a policy that is amiss."""
        require_finite("off-policy Monte Carlo", spec)
        require_mask_fits(spec)
        self.check_ranges()
        check_given(self.policy, spec)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        q = QTable.init(spec, self.initial_value)
        return State(q, jnp.zeros(q.size, jnp.float32))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> monte_carlo.Sums:
        """Line 3: no visits, no rewards."""
        return monte_carlo.nothing(num_envs, state.q.size)

    def target(self, state: State, obs: Obs, key: Key[Array, ""]) -> Int[Array, " env"]:
        """π(s), as a column."""
        if self.policy:
            return given(self.policy, state.q.state(obs))
        return exploration.greedy(key, state.q(obs), action_mask(obs), ties="first")

    def act(
        self, state: State, memory: Any, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Any, dict[str, Any]]:
        """Line 2: b, or π where not exploring."""
        action = self.choose(state.q(obs), obs, key, clock) if explore else self.target(state, obs, key)
        return to_env(state.q.action_space, action), memory, {}

    def update(
        self, state: State, memory: Any, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Any, Metrics]:
        """Lines 3 to 7."""
        q, column = state.q, state.q.column(step.action)
        behaviour = exploration.epsilon_greedy_probabilities(
            q(step.obs), self.epsilon(clock), action_mask(step.obs), self.ties
        )
        follows = column == self.target(state, step.obs, key)
        ratio = jnp.where(follows, 1.0 / of_action(behaviour, column), 0.0)

        cut = step.truncated & ~step.terminated
        following = of_action(q(step.final_obs), self.target(state, step.final_obs, key))
        reward = td.td_target(step.reward, jnp.where(cut, self.gamma, 0.0), following)
        here = traces.features(q.cell(step.obs, column)[:, None], q.size)
        sums = monte_carlo.visit(memory, here, reward, self.gamma, ratio)  # lines 3, 4 and 6
        over = step.terminated | step.truncated
        values, seen = monte_carlo.fold(q.cells, state.seen, sums, over, average=True)  # lines 5 and 7
        metrics = {
            "td_error": return_error(q.cells, sums, over),
            "follows": Metric.of(follows),
            "epsilon": Metric.of(self.epsilon(clock)),
        }
        return State(q.with_cells(values), seen), sums, metrics
