"""TD(0) and n-step TD with a table: the values of a given policy."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Key

from fathom.algos.base import Metrics, require_mask_fits, require_positive
from fathom.algos.tabular.control import Prediction, discount
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.nn.heads import to_env
from fathom.nn.table import VTable, require_finite
from fathom.ops import n_step


class State(eqx.Module):
    """All that TD carries from one step to the next, apart from its memory."""

    v: VTable  # V(s)


class TD(Prediction):
    """Temporal-difference prediction: TD(0), or with n > 1 n-step TD. Sutton 1988.

    Sutton & Barto 2018, Section 7.1, p. 144, Eq. 7.1 and 7.2 (Section 6.1 for n = 1):

    1. initialise V(s) for all s; the policy π is given
    2. for each episode: T ← ∞
    3.   for t = 0, 1, 2, …: if t < T: act by π(·|S_t), observe R_{t+1}, S_{t+1}     (the loop does)
    4.     if S_{t+1} is terminal, T ← t + 1
    5.     τ ← t − n + 1; if τ ≥ 0:
    6.       G ← Σ_{i=τ+1}^{min(τ+n,T)} γ^{i−τ−1} R_i, plus γⁿ V(S_{τ+n}) if τ + n < T
    7.       V(S_τ) ← V(S_τ) + α [G − V(S_τ)]
    8.   until τ = T − 1

    The turns of line 3 after the end, in which only lines 5 to 7 have something to do, are all made with the
    last step. Deviations: where an episode is truncated after T steps the returns end in γ^{T−τ} V(S_T);
    changes of environments side by side add up. Evaluation acts by π too.
    """

    learning_rate: float = 0.1  # step size α; 0.01 to 0.5
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    initial_value: float = 0.0  # V(s) at first
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    n: int = 1  # steps of a return; 1 is TD(0); 1 to 16
    policy: tuple[int, ...] = ()  # π: the action of each state, from 0; () is uniform over legal actions

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range, spaces that are not finite, a policy that is amiss."""
        require_finite("TD", spec)
        require_mask_fits(spec)
        self.check_policy(spec)
        require_positive(self, "n")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        return State(VTable.init(spec, self.initial_value))

    def state_values(self, state: State, obs: Obs) -> Float[Array, "*batch"]:
        """V(s)."""
        return state.v(obs)

    def init_memory(self, state: State, num_envs: int) -> n_step.Window:
        """No steps."""
        return n_step.empty(num_envs, self.n)

    def act(
        self, state: State, memory: Any, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, Any, dict[str, Any]]:
        """Line 3."""
        action = self.choose(state.v.state(obs), obs, state.v.action_space.n, key)
        return to_env(state.v.action_space, action), memory, {}

    def update(
        self, state: State, memory: Any, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Any, Metrics]:
        """Lines 4 to 8."""
        window = n_step.push(memory, state.v.state(step.obs)[:, None], step.reward)
        values, error, changes = n_step.learn(  # lines 5 to 7
            state.v.values,
            window,
            state.v.state(step.final_obs)[:, None],
            discount(self.gamma, step),
            step.terminated | step.truncated,
            self.gamma,
            self.alpha(clock),
        )
        metrics = self.report(Metric(error, changes.astype(error.dtype)), clock)
        return State(state.v.with_cells(values)), window, metrics
