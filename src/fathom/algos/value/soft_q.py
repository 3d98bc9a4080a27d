"""Soft Q-learning with finitely many actions."""

from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import Metrics, require_positive
from fathom.algos.value.common import Learnt, State, ValueBased, taken
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.network import Network
from fathom.ops import td
from fathom.ops.distributions import Categorical


class SoftQ(ValueBased):
    """Q-learning for the reward and the entropy of the policy, which is a Boltzmann distribution of Q.

    Haarnoja et al. 2017, ICML, arXiv:1702.08165, with sums over finitely many actions for its integrals:

    1. initialise replay D, θ and θ⁻ = θ
    2. for t = 1, 2, … do
    3.   a_t ∼ π(·|s_t), π(a|s) = exp((Q(s, a; θ) − V(s))/α)                           (Theorem 1)
    4.   store (s_t, a_t, r_t, s_{t+1}) in D; sample a minibatch from D                      (the loop does)
    5.   V(s') = α log Σ_a' exp(Q(s', a'; θ⁻)/α)                                         (Theorem 1)
    6.   gradient step on ½(r + γ V(s') − Q(s, a; θ))²                                       (Eq. 11)
    7.   every C steps θ⁻ ← θ

    Exploration is the policy's own: α is the temperature of a Boltzmann rule, in units of the reward. Where
    not exploring the action of the largest Q is taken. `n_step` sums n rewards before it bootstraps, without
    the entropy between. Illegal actions have probability 0. Deviations: evaluation takes the best
    action, not one of the policy; a truncated episode bootstraps.
    """

    learning_rate: float = 1e-3  # Adam's step size λ; 1e-4 to 3e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 100_000  # transitions kept, of all environments together
    batch_size: int = 64  # transitions in a minibatch; 32 to 512
    learning_starts: int = 1_000  # transitions collected before the first update
    train_every: int = 4  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    target_every: int = 500  # gradient steps between updates of θ⁻
    tau: float = 1.0  # θ⁻ ← τ θ + (1 − τ) θ⁻; 1 copies, 0.005 with target_every=1 trails
    anneal_lr: bool = False  # λ falls linearly to 0 over the run
    alpha: float = 0.1  # α, the temperature, in units of the reward; 0.01 to 1
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        self.check_shared("Soft Q-learning", spec)
        require_positive(self, "alpha")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights."""
        net = (self.hidden, self.activation, self.scale_obs)
        params = Network.init(key, spec.obs_space, spec.action_space.n, *net)
        return self.begin(params, spec)

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·; θ), entropy to come included."""
        return state.params(obs)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing."""
        return ()

    def policy(self, params: Network, obs: Obs) -> Categorical:
        """Line 3: π(·|s), 0 where illegal."""
        return Categorical(params(obs) / self.alpha, action_mask(obs))

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3; the action of the largest Q where not exploring."""
        if explore:
            action = self.policy(state.params, obs).sample(key)
        else:
            action = self.policy(state.params, obs).mode()
        return to_env(state.action_space, action), memory, {}

    def schedule_metrics(self, clock: Clock) -> Metrics:
        """Nothing: there is no schedule of play."""
        return {}

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """Line 5: r + γ V(s')."""
        value = td.soft_value(state.target(batch.next_obs), self.alpha, action_mask(batch.next_obs))
        return td.td_target(batch.reward, batch.discount, value)

    def loss(
        self,
        params: Network,
        batch: Batch,
        target: Float[Array, " batch"],
        space: Discrete,
        key: Key[Array, ""],
    ) -> Learnt:
        """Line 6, weighed; metrics, and |error|."""
        q = taken(params(batch.obs), batch, space)
        error = target - q
        loss = (batch.weight * td.squared(error)).mean()
        metrics = {
            "loss": Metric.of(loss),
            "q_value": Metric.of(q),
            "td_error": Metric.of(jnp.abs(error)),
            "entropy": Metric.of(self.policy(params, batch.obs).entropy()),
        }
        return loss, (metrics, jnp.abs(error))
