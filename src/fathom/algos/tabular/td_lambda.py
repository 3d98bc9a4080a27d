"""TD(λ) with a table: the values of a given policy by eligibility traces."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.algos.base import Metrics, require_fraction, require_mask_fits
from fathom.algos.tabular.control import Prediction, absolute, discount, require_lone_dutch
from fathom.core.types import Action, Clock, EnvSpec, Obs, Transition
from fathom.nn.heads import to_env
from fathom.nn.table import VTable, require_finite
from fathom.ops import td, traces


class State(eqx.Module):
    """All that TD(λ) carries from one step to the next, apart from its memory."""

    v: VTable  # V(s)


class Memory(eqx.Module):
    """What it remembers of each environment's episode."""

    trace: Float[Array, "env cell"]  # z, one number for each state
    old: Float[Array, " env"]  # V_old: the value of the state now met as it was before the last change


class TDLambda(Prediction):
    """TD(λ) prediction. Sutton 1988; true online: van Seijen et al. 2016, Algorithm 1.

    Sutton & Barto 2018, Sections 12.2 and 12.5, pp. 293 and 300, for a table, where x marks the state S:

    1. initialise V(s) for all s, V(terminal) = 0; the policy π is given
    2. for each episode: z ← 0; V_old ← 0
    3.   for each step: act by π(·|S), observe R, S'                                (the loop does)
    4.     δ ← R + γ V(S') − V(S)
    5.     z ← γλz + x                           accumulating
           z ← γλz, then z(S) ← 1                replacing
           z ← γλz + (1 − αγλ z(S)) x            dutch
    6.     V ← V + αδz; dutch: V ← V + α (δ + V(S) − V_old) z − α (V(S) − V_old) x, V_old ← V(S')
    7.     S ← S', until S is terminal

    With dutch traces this is true online TD(λ), equal at each step to the online λ-return algorithm.
    Deviations: a truncated episode bootstraps; changes of environments side by side add up, which dutch
    traces, exact for one learner's own changes only, do not allow. Evaluation acts by π too.
    """

    learning_rate: float = 0.1  # step size α; 0.01 to 0.5
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    initial_value: float = 0.0  # V(s) at first
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    trace_decay: float = 0.9  # λ: 0 is TD(0), 1 is Monte Carlo; 0.5 to 0.95
    traces: Literal["accumulating", "replacing", "dutch"] = "accumulating"  # how a visit marks its state
    policy: tuple[int, ...] = ()  # π: the action of each state, from 0; () is uniform over legal actions

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range, spaces that are not finite, a policy that is amiss."""
        require_finite("TD(λ)", spec)
        require_mask_fits(spec)
        self.check_policy(spec)
        require_fraction(self, "trace_decay")
        require_lone_dutch(self.traces, self.num_envs)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        return State(VTable.init(spec, self.initial_value))

    def state_values(self, state: State, obs: Obs) -> Float[Array, "*batch"]:
        """V(s)."""
        return state.v(obs)

    def init_memory(self, state: State, num_envs: int) -> Memory:
        """Line 2."""
        return Memory(jnp.zeros((num_envs, state.v.size), jnp.float32), jnp.zeros(num_envs, jnp.float32))

    def act(
        self, state: State, memory: Memory, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Memory, dict[str, Any]]:
        """Line 3."""
        action = self.choose(state.v.state(obs), obs, state.v.action_space.n, key)
        return to_env(state.v.action_space, action), memory, {}

    def update(
        self, state: State, memory: Memory, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Memory, Metrics]:
        """Lines 4 to 7."""
        v, alpha = state.v, self.alpha(clock)
        value, following = v(step.obs), v(step.final_obs)
        error = td.td_target(step.reward, discount(self.gamma, step), following) - value  # line 4

        x = traces.features(v.state(step.obs)[:, None], v.size)
        trace = traces.mark(memory.trace, x, self.gamma * self.trace_decay, alpha, self.traces)  # line 5
        drift = value - memory.old if self.traces == "dutch" else jnp.zeros_like(value)
        values = traces.credit(v.values, trace, x, error, drift, alpha)  # line 6
        return State(v.with_cells(values)), Memory(trace, following), self.report(absolute(error), clock)
