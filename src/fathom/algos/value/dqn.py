"""Deep Q-Network."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import (
    Metrics,
    OffPolicy,
    require,
    require_fraction,
    require_mask_fits,
    require_positive,
    require_replay,
)
from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.network import Network
from fathom.ops import exploration, optim, schedules, td


class State(eqx.Module):
    """All that DQN carries from one update to the next, apart from its replay."""

    params: Network  # θ of Q(s, ·)
    target: Network  # θ⁻
    opt_state: optax.OptState
    action_space: Discrete  # holds no arrays


class DQN(OffPolicy):
    """Deep Q-learning with experience replay and a target network.

    Mnih et al. 2015, Nature 518, Algorithm 1:

    1. initialise replay memory D, Q with weights θ, Q̂ with weights θ⁻ = θ
    2. for t = 1, 2, … do
    3.   with probability ε select a random action, otherwise argmax_a Q(s_t, a; θ)
    4.   execute it, store (s_t, a_t, r_t, s_{t+1}) in D                            (the loop does)
    5.   sample a minibatch from D                                                  (the loop does)
    6.   y = r where the episode terminates, else r + γ max_a' Q̂(s', a'; θ⁻)
    7.   gradient step on (y − Q(s, a; θ))²
    8.   every C steps θ⁻ ← θ

    Switches: `double` takes the action of line 6 from θ (van Hasselt et al. 2016, arXiv:1509.06461);
    `n_step` sums n rewards before it bootstraps (Sutton 1988; Hessel et al. 2018); `huber` bounds the error's
    slope as the paper's error clipping does; `tau` below 1 moves θ⁻ by Polyak averaging; `ez_mu` keeps a
    random action of line 3 for several steps (Dabney et al. 2021, arXiv:2006.01782). Deviations: Adam in
    place of RMSProp; illegal actions are left out of both maxima; a truncated episode bootstraps.
    """

    learning_rate: float = 1e-3  # Adam's step size α; 1e-4 to 3e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 100_000  # N, transitions kept, of all environments together
    batch_size: int = 64  # transitions in a minibatch; 32 to 512
    learning_starts: int = 1_000  # transitions collected before the first update
    train_every: int = 4  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    target_every: int = 500  # C, gradient steps between updates of θ⁻
    tau: float = 1.0  # θ⁻ ← τ θ + (1 − τ) θ⁻; 1 copies, 0.005 with target_every=1 trails
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.05  # ε at last; 0.01 to 0.1
    exploration_fraction: float = 0.2  # part of the run over which ε falls
    ez_mu: float | None = None  # μ: a random action is kept for n steps, P(n) ∝ n^−μ; 2, or none for one step
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    double: bool = False  # Double DQN
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    huber: bool = True  # Huber loss in place of the square
    huber_delta: float = 1.0  # error at which the Huber loss turns linear
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        if not isinstance(spec.action_space, Discrete):
            raise FathomError(
                f"DQN chooses among finitely many actions and cannot take {spec.action_space!r}. "
                "PPO takes continuous, multi-discrete and binary actions, SAC, TQC, TD3 and DDPG continuous "
                "ones; or discretise them in a wrapper."
            )
        require_mask_fits(spec)
        require_positive(self, "learning_rate", "huber_delta", "max_grad_norm", "num_envs", "ez_mu")
        require_positive(self, "target_every")
        require(all(n > 0 for n in self.hidden), f"hidden is {self.hidden}; every layer needs units.")
        require_fraction(self, "gamma", "tau", "epsilon_start", "epsilon_end", "exploration_fraction")
        require_positive(self, "tau")
        require_replay(self)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights, the target an equal copy."""
        net = (self.hidden, self.activation, self.scale_obs)
        params = Network.init(key, spec.obs_space, spec.action_space.n, *net)
        target = jax.tree.map(jnp.copy, params)
        return State(params, target, optim.start(self.optimizer(), params), spec.action_space)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam's direction after clipping; the step size is applied in `update`."""
        return optim.clipped_adam(self.max_grad_norm)

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·; θ)."""
        return state.params(obs)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The exploring actions under way, where `ez_mu` keeps them for more than a step; else nothing."""
        return () if self.ez_mu is None else exploration.Held.none(num_envs)

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3, with ε falling linearly over the first part of the run; greedy where not exploring."""
        q, mask = state.params(obs), action_mask(obs)
        if not explore:
            action = exploration.greedy(key, q, mask, self.ties)
        elif self.ez_mu is None:
            action = exploration.epsilon_greedy(key, q, self.epsilon(clock), mask, self.ties)
        else:
            epsilon = self.epsilon(clock)
            action, memory = exploration.ez_greedy(key, q, epsilon, self.ez_mu, memory, mask, self.ties)
        return to_env(state.action_space, action), memory, {}

    def epsilon(self, clock: Clock) -> Float[Array, ""]:
        """ε, a function of the run's progress alone."""
        return schedules.linear(
            self.epsilon_start, self.epsilon_end, clock.progress, self.exploration_fraction
        )

    def update(
        self, state: State, batch: Batch, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics, Array | None]:
        """Lines 6 to 8 on one minibatch."""
        target = self.td_target(state, batch)  # line 6
        grads, (metrics, priorities) = jax.grad(self.loss, has_aux=True)(
            state.params, batch, target, state.action_space
        )
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
        params, opt_state, norm = optim.descend(  # line 7
            self.optimizer(), state.params, grads, state.opt_state, step_size
        )

        due = (clock.gradient_step + 1) % self.target_every == 0  # line 8
        moved = lambda: optim.polyak(state.target, params, self.tau)  # noqa: E731
        new_target = jax.lax.cond(due, moved, lambda: state.target)

        metrics["grad_norm"] = Metric.of(norm)
        metrics["epsilon"] = Metric.of(self.epsilon(clock))
        metrics["learning_rate"] = Metric.of(step_size)
        return State(params, new_target, opt_state, state.action_space), metrics, priorities

    def td_target(self, state: State, batch: Batch) -> Float[Array, " batch"]:
        """Line 6: y = R + γ^k max_a' Q̂(s', a'; θ⁻), with the maximum at θ's choice for Double DQN."""
        next_q, mask = state.target(batch.next_obs), action_mask(batch.next_obs)
        if self.double:
            return td.double_q_target(
                batch.reward, batch.discount, next_q, state.params(batch.next_obs), mask
            )
        return td.q_target(batch.reward, batch.discount, next_q, mask)

    def loss(
        self, params: Network, batch: Batch, target: Float[Array, " batch"], space: Discrete
    ) -> tuple[Float[Array, ""], tuple[Metrics, Array]]:
        """Line 7: the mean of w ½(y − Q(s, a; θ))², or its Huber form; and |error|, a batch's priorities."""
        q = params(batch.obs)
        # Compared and summed, not gathered: the gradient of a gather is a scatter, slow on CPU.
        taken = jax.nn.one_hot(batch.action - space.start, space.n)
        q_taken = (taken * q).sum(axis=-1)
        error = target - q_taken
        per_item = td.huber(error, self.huber_delta) if self.huber else td.squared(error)
        loss = (batch.weight * per_item).mean()
        metrics = {
            "loss": Metric.of(loss),
            "q_value": Metric.of(q_taken),
            "td_error": Metric.of(jnp.abs(error)),
        }
        return loss, (metrics, jnp.abs(error))
