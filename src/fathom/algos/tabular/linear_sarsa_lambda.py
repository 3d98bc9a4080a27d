"""SARSA(λ) and n-step SARSA with tile coding, for observations that are points in a box."""

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, require, require_fraction, require_mask_fits, require_positive
from fathom.algos.tabular.control import Control, absolute, discount, of_action, require_lone_dutch
from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete, Masked
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Transition
from fathom.core.types import Masked as MaskedObs
from fathom.nn.heads import to_env
from fathom.ops import n_step, td, tiles, traces

_WEIGHTS_AT_MOST = 2**24


class TileQ(eqx.Module):
    """q̂(s, a, w) = Σ w over the tiles in which s lies: a weight for each tile and action."""

    weights: Float[Array, "*seed tile action"]
    obs_space: Box  # holds no arrays
    action_space: Discrete
    tilings: int = eqx.field(static=True)
    tiles: int = eqx.field(static=True)

    def active(self, obs: Obs) -> Int[Array, "*batch tiling"]:
        """The tiles in which an observation lies, one of each tiling."""
        x = obs.obs if isinstance(obs, MaskedObs) else obs
        low, high = (
            jnp.broadcast_to(bound.astype(np.float32), x.shape)
            for bound in (self.obs_space.low, self.obs_space.high)
        )
        return tiles.code((x - low) / (high - low), self.tilings, self.tiles)

    def __call__(self, obs: Obs) -> Float[Array, "*batch action"]:
        """The values of all actions."""
        return self.weights[self.active(obs)].sum(axis=-2)

    def cells(self, obs: Obs, column: Int[Array, " env"]) -> Int[Array, "env tiling"]:
        """The numbers, among all weights in a row, of those that make up the value of an action."""
        return self.active(obs) * self.action_space.n + column[:, None]

    def with_weights(self, weights: Float[Array, " cell"]) -> "TileQ":
        """The same tiles with other weights, given in a row."""
        shaped = weights.reshape(self.weights.shape)
        return TileQ(shaped, self.obs_space, self.action_space, self.tilings, self.tiles)


class State(eqx.Module):
    """All that it carries from one step to the next, apart from its memory."""

    q: TileQ  # q̂(s, a, w)


class Memory(eqx.Module):
    """What it remembers of each environment's episode."""

    next_action: Int[Array, " env"]  # A', chosen ahead; −1 where an episode begins
    trace: Float[Array, "env cell"]  # z, one number for each weight; none with n-step returns
    old: Float[Array, " env"]  # Q_old: the value of the pair now met as it was before the last change
    window: n_step.Window  # the last n steps; none with traces


class LinearSarsaLambda(Control):
    """SARSA(λ) with binary features from tile coding, or episodic semi-gradient n-step SARSA.

    Sutton & Barto 2018, Section 12.7, p. 305 (dutch: true online SARSA(λ), p. 307); tiles: Section 9.5.4:

    1. w so that q̂ is `initial_value` everywhere
    2. for each episode: choose A from S (ε-greedy in q̂(S, ·, w)); z ← 0; Q_old ← 0
    3.   for each step: take action A, observe R, S'                                (the loop does)
    4.     choose A' from S' (ε-greedy)
    5.     δ ← R + γ q̂(S', A', w) − q̂(S, A, w)
    6.     z ← γλz + x, with x = 1 at the tiles of (S, A);   accumulating
           z ← γλz, then z_i ← 1 for all i in F(S, A);      replacing
           z ← γλz + (1 − αγλ zᵀx) x                         dutch
    7.     w ← w + αδz; dutch: w ← w + α (δ + Q − Q_old) z − α (Q − Q_old) x, Q_old ← q̂(S', A', w)
    8.     S ← S', A ← A', until S is terminal

    With `n` > 0 lines 5 to 7 are those of n-step SARSA, Section 10.2: w ← w + α [G − q̂(S_τ, A_τ, w)] x_τ
    with G the n-step return, and λ has no part in it. Deviations: α is given times the number of tilings;
    illegal actions are never chosen; a truncated episode bootstraps; changes of environments side by side add
    up, which dutch traces, exact for one learner's own changes only, do not allow.
    """

    learning_rate: float = 0.3  # step size α times the number of tilings; 0.1 to 1
    gamma: float = 1.0  # discount factor γ; 0.9 to 1
    epsilon_start: float = 0.0  # ε at first; 0 leaves exploring to optimistic values
    epsilon_end: float = 0.0  # ε at last
    exploration_fraction: float = 0.5  # part of the run over which ε falls
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    initial_value: float = 0.0  # Q(s, a) at first; above the returns it is optimistic, and explores
    num_envs: int = 1  # environments side by side
    num_steps: int = 128  # steps between reports; what is learnt does not depend on it
    trace_decay: float = 0.9  # λ: 0 is one-step SARSA; 0.5 to 0.95
    traces: Literal["accumulating", "replacing", "dutch"] = "replacing"  # how a visit marks its tiles
    n: int = 0  # steps of n-step returns in place of traces; 0 for traces; 2 to 16
    tilings: int = 8  # grids, each shifted against the others; a power of 2 and at least 4 times dimensions
    tiles: int = 8  # tiles of a grid along each dimension
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for spaces that tiles do not cover."""
        require_tileable(spec)
        require_mask_fits(spec)
        self.check_ranges()
        require_positive(self, "learning_rate", "tilings", "tiles")
        require_fraction(self, "trace_decay")
        require(self.n >= 0, f"n is {self.n}; it must be 0, for traces, or more.")
        require_lone_dutch("none" if self.n else self.traces, self.num_envs)
        size = tiles.count(self.tilings, self.tiles, _box(spec).shape[0]) * spec.action_space.n
        require(
            size <= _WEIGHTS_AT_MOST,
            f"{self.tilings} tilings of {self.tiles} tiles in each of {_box(spec).shape[0]} dimensions take "
            f"{size:,} weights, more than {_WEIGHTS_AT_MOST:,}; set fewer tiles, or take dqn.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        space = _box(spec)
        shape = (tiles.count(self.tilings, self.tiles, space.shape[0]), spec.action_space.n)
        weights = jnp.full(shape, self.initial_value / self.tilings, jnp.float32)
        return State(TileQ(weights, space, spec.action_space, self.tilings, self.tiles))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """q̂(s, ·)."""
        return state.q(obs)

    def init_memory(self, state: State, num_envs: int) -> Memory:
        """Line 2: no action chosen ahead, no traces, no steps."""
        *_, rows, columns = state.q.weights.shape
        return Memory(
            jnp.full(num_envs, -1, jnp.int32),
            jnp.zeros((num_envs, 0 if self.n else rows * columns), jnp.float32),
            jnp.zeros(num_envs, jnp.float32),
            n_step.empty(num_envs, self.n, self.tilings),
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
        next_action = self.choose(state.q(step.final_obs), step.final_obs, key, clock)  # line 4
        if self.n:
            return self.learn_n_step(state, memory, step, next_action, clock)
        return self.learn_by_traces(state, memory, step, next_action, clock)

    def learn_by_traces(
        self, state: State, memory: Memory, step: Transition, next_action: Array, clock: Clock
    ) -> tuple[State, Memory, Metrics]:
        """Lines 5 to 8."""
        q, alpha, column = state.q, self.alpha(clock) / self.tilings, step.action - state.q.action_space.start
        value, following = of_action(q(step.obs), column), of_action(q(step.final_obs), next_action)
        error = td.td_target(step.reward, discount(self.gamma, step), following) - value  # line 5

        x = traces.features(q.cells(step.obs, column), memory.trace.shape[-1])
        trace = traces.mark(memory.trace, x, self.gamma * self.trace_decay, alpha, self.traces)  # line 6
        drift = value - memory.old if self.traces == "dutch" else jnp.zeros_like(value)
        weights = traces.credit(q.weights.reshape(-1), trace, x, error, drift, alpha)  # line 7
        memory = Memory(next_action, trace, following, memory.window)
        return State(q.with_weights(weights)), memory, self.report(absolute(error), clock)

    def learn_n_step(
        self, state: State, memory: Memory, step: Transition, next_action: Array, clock: Clock
    ) -> tuple[State, Memory, Metrics]:
        """Section 10.2, p. 247."""
        q, column = state.q, step.action - state.q.action_space.start
        window = n_step.push(memory.window, q.cells(step.obs, column), step.reward)
        weights, error, changes = n_step.learn(
            q.weights.reshape(-1),
            window,
            q.cells(step.final_obs, next_action),
            discount(self.gamma, step),
            step.terminated | step.truncated,
            self.gamma,
            self.alpha(clock) / self.tilings,
        )
        memory = Memory(next_action, memory.trace, memory.old, window)
        metrics = self.report(Metric(error, changes.astype(jnp.float32)), clock)
        return State(q.with_weights(weights)), memory, metrics


def _box(spec: EnvSpec) -> Any:
    return spec.obs_space.obs if isinstance(spec.obs_space, Masked) else spec.obs_space


def require_tileable(spec: EnvSpec) -> None:
    """FathomError unless observations are vectors in a finite box and actions are Discrete."""
    space = _box(spec)
    if not isinstance(space, Box) or len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
        raise FathomError(
            f"tile coding covers vectors of real numbers, and cannot take {space!r}; sarsa_lambda takes "
            "finite spaces, dqn and ppo take pictures."
        )
    if not space.bounded or np.any(space.high <= space.low):
        raise FathomError(
            f"tile coding covers a finite box, and {space!r} has a side without end or without width; clip "
            "observations in a wrapper whose obs_space has finite bounds, or take dqn."
        )
    if not isinstance(spec.action_space, Discrete):
        raise FathomError(
            f"SARSA(λ) chooses among finitely many actions and cannot take {spec.action_space!r}. "
            "PPO takes continuous actions; or discretise them in a wrapper."
        )
