"""Parallelised Q-Network."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import (
    Metrics,
    OnPolicy,
    require,
    require_fraction,
    require_mask_fits,
    require_positive,
)
from fathom.algos.policy.common import require_minibatches, shuffled
from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.network import Network
from fathom.ops import exploration, optim, returns, schedules, td


class State(eqx.Module):
    """All that PQN carries from one update to the next."""

    params: Network  # φ
    opt_state: optax.OptState
    action_space: Discrete  # holds no arrays


class Step(eqx.Module):
    """A step to learn from; every leaf is [time, env, ...]."""

    obs: Obs
    action: Array  # from 0
    target: Float[Array, "..."]


class PQN(OnPolicy):
    """Q-learning from many environments side by side, without replay and without a target network.

    Gallici et al. 2025, ICLR, arXiv:2407.04811, Algorithm 1 with Q(λ):

    1. initialise Q_φ, whose layers are normalised (LayerNorm)
    2. for each update do
    3.   T steps of each of E environments, ε-greedy by Q_φ                               (the loop does)
    4.   R_t = r_t + γ ((1 − λ) max_a' Q_φ(s_{t+1}, a') + λ R_{t+1}), backwards; r_t alone where the
         episode terminates
    5.   for each of K epochs, for each minibatch B of the T·E steps:
    6.     φ ← φ − α ∇ 1/|B| Σ ½(R_t − Q_φ(s_t, a_t))²

    by RAdam (Liu et al. 2020, arXiv:1908.03265), gradients limited to a norm. It is LayerNorm that keeps the
    values from diverging: `layer_norm` off shows it. Illegal actions are left out of both maxima.
    Deviations: a truncated episode bootstraps from the observation it was cut at.
    """

    learning_rate: float = 2.5e-4  # RAdam's step size α; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    td_lambda: float = 0.65  # λ of the returns; 0.5 to 0.95
    num_envs: int = 128  # E, environments side by side; 8 to 1024
    num_steps: int = 32  # T, steps of each environment in an update; 16 to 128
    epochs: int = 2  # K, passes over an update's steps; 1 to 4
    minibatches: int = 32  # minibatches of an epoch; 4 to 32
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.05  # ε at last; 0.01 to 0.2
    exploration_fraction: float = 0.1  # part of the run over which ε falls
    anneal_lr: bool = True  # α falls linearly to 0 over the run
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    layer_norm: bool = True  # layers normalised before the activation
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        if not isinstance(spec.action_space, Discrete):
            raise FathomError(
                f"PQN chooses among finitely many actions and cannot take {spec.action_space!r}. "
                "PPO takes continuous, multi-discrete and binary actions."
            )
        require_mask_fits(spec)
        require_positive(self, "learning_rate", "max_grad_norm", "num_envs", "num_steps", "epochs")
        require_minibatches(self, "minibatches")
        require_fraction(self, "gamma", "td_lambda", "epsilon_start", "epsilon_end", "exploration_fraction")
        require(all(n > 0 for n in self.hidden), f"hidden is {self.hidden}; every layer needs units.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights."""
        net = (self.hidden, self.activation, self.scale_obs)
        actions = spec.action_space.n
        params = Network.init(key, spec.obs_space, actions, *net, layer_norm=self.layer_norm)
        return State(params, optim.start(self.optimizer(), params), spec.action_space)

    def optimizer(self) -> optax.GradientTransformation:
        """RAdam's direction after clipping; the step size is applied in `update`."""
        return optim.clipped_radam(self.max_grad_norm)

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return state.params(obs)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3; greedy where not exploring."""
        q, mask = state.params(obs), action_mask(obs)
        if explore:
            action = exploration.epsilon_greedy(key, q, self.epsilon(clock), mask, self.ties)
        else:
            action = exploration.greedy(key, q, mask, self.ties)
        return to_env(state.action_space, action), memory, {}

    def epsilon(self, clock: Clock) -> Float[Array, ""]:
        """ε, a function of the run's progress alone."""
        return schedules.linear(
            self.epsilon_start, self.epsilon_end, clock.progress, self.exploration_fraction
        )

    def targets(self, params: Network, rollout: Rollout) -> Float[Array, "time env"]:
        """Line 4: R_t."""
        following = td.best_value(params(rollout.final_obs), action_mask(rollout.final_obs))
        ends = (rollout.terminated, rollout.truncated)
        target = returns.lambda_returns(rollout.reward, *ends, following, self.gamma, self.td_lambda)
        return jax.lax.stop_gradient(target)

    def loss(
        self, params: Network, batch: Step
    ) -> tuple[Float[Array, ""], tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
        """Line 6; Q(s_t, a_t), and the size of each error."""
        q = params(batch.obs)
        q = (jax.nn.one_hot(batch.action, q.shape[-1]) * q).sum(axis=-1)
        error = batch.target - q
        return td.squared(error).mean(), (q, jnp.abs(error))

    def update(
        self, state: State, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics]:
        """Lines 4 to 6."""
        action = rollout.action - state.action_space.start
        data = Step(rollout.obs, action, self.targets(state.params, rollout))  # line 4
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)

        def minibatch(carry: tuple, batch: Step) -> tuple[tuple, Metrics]:
            params, opt_state = carry
            (loss, (q, error)), grads = jax.value_and_grad(self.loss, has_aux=True)(params, batch)
            params, opt_state, norm = optim.descend(  # line 6
                self.optimizer(), params, grads, opt_state, step_size
            )
            metrics = {"loss": loss, "q_value": q, "td_error": error, "grad_norm": norm}
            return (params, opt_state), {name: Metric.of(x) for name, x in metrics.items()}

        def epoch(carry: tuple, epoch_key: Array) -> tuple[tuple, Metrics]:
            return jax.lax.scan(minibatch, carry, shuffled(data, self.minibatches, epoch_key))

        keys = jax.random.split(key, self.epochs)
        (params, opt_state), metrics = jax.lax.scan(epoch, (state.params, state.opt_state), keys)
        metrics = jax.tree.map(jnp.sum, metrics)
        metrics["epsilon"] = Metric.of(self.epsilon(clock))
        metrics["learning_rate"] = Metric.of(step_size)
        return State(params, opt_state, state.action_space), metrics
