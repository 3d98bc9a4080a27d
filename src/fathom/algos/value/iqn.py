"""IQN: the return's distribution by its quantile function."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.algos.base import require, require_fraction, require_positive
from fathom.algos.value.common import EpsilonGreedyValues, Learnt, State
from fathom.core.spaces import Discrete
from fathom.core.types import Batch, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.q_network import QuantileNetwork, init_quantile_network
from fathom.ops import td


class IQN(EpsilonGreedyValues):
    """Learns the return's quantile Z_τ(s, a) at any τ in (0, 1), and acts by the mean over some.

    Dabney et al. 2018, ICML, arXiv:1806.06923, Algorithm 1, in the place of lines 6 and 7 of DQN:

    1. τ̃_k ∼ U([0, 1]), k = 1 … K: a* = argmax_a' 1/K Σ_k Z_τ̃k(s', a'; θ⁻)
    2. τ_i, τ'_j ∼ U([0, 1]), i = 1 … N, j = 1 … N'
    3. δ_ij = r + γ Z_τ'j(s', a*; θ⁻) − Z_τi(s, a; θ)
    4. gradient step on Σ_i E_j[ρ^κ_τi(δ_ij)]                                            (Eq. 3)

    `risk` below 1 draws the τ̃ of actions from U([0, risk]): decisions by the conditional value at risk, one
    of the distortions there. Where not exploring the K values of τ̃ are spread evenly, so that what is
    evaluated is no matter of luck. Switches: `double` takes a* from θ, `prioritized` replays by the size of
    errors (Schaul et al. 2016), here the distance of the means of what was drawn, which luck keeps above 0;
    `n_step`. Deviations: as DQN's.
    """

    learning_rate: float = 5e-4  # Adam's step size α; 1e-4 to 3e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 100_000  # transitions kept, of all environments together
    batch_size: int = 64  # transitions in a minibatch; 32 to 512
    learning_starts: int = 1_000  # transitions collected before the first update
    train_every: int = 4  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    target_every: int = 500  # gradient steps between updates of θ⁻
    tau: float = 1.0  # θ⁻ ← τ θ + (1 − τ) θ⁻; 1 copies, 0.005 with target_every=1 trails
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.01  # ε at last; 0.01 to 0.1
    exploration_fraction: float = 0.2  # part of the run over which ε falls
    ez_mu: float | None = None  # μ: a random action is kept for n steps, P(n) ∝ n^−μ; 2, or none for one step
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    double: bool = False  # Double DQN
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    quantiles: int = 16  # N, τ drawn for the values that learn; 8 to 64
    target_quantiles: int = 16  # N', τ drawn for their targets; 8 to 64
    policy_quantiles: int = 32  # K, τ drawn to choose an action; 8 to 64
    cosines: int = 64  # n, of the embedding of τ
    risk: float = 1.0  # η of CVaR_η: actions are chosen by the worst part η of returns; 1 is the mean
    kappa: float = 1.0  # κ, the error at which the Huber loss turns linear
    prioritized: bool = False  # replay by the size of errors
    priority_exponent: float = 0.6  # α of P(i) ∝ p_i^α; 0 is uniform, 1 proportional
    importance_start: float = 0.4  # β of the weights (N P(i))^−β at first; it rises to 1
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        self.check_shared("IQN", spec)
        self.check_play()
        require_positive(self, "quantiles", "target_quantiles", "policy_quantiles", "cosines", "kappa")
        require_fraction(self, "risk")
        require(self.risk > 0, f"risk is {self.risk}; it must be above 0: 1 for the mean.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights."""
        net = (self.hidden, self.activation, self.scale_obs)
        params = init_quantile_network(key, spec.obs_space, spec.action_space.n, self.cosines, *net)
        return self.begin(params, spec)

    def q_values(
        self, params: QuantileNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action"]:
        """The mean of line 1, of any weights; evenly spread τ̃ without a key."""
        shape = (*params.encoder(obs).shape[:-1], self.policy_quantiles)
        if key is None:
            tau = jnp.broadcast_to(td.quantile_midpoints(self.policy_quantiles), shape)
        else:
            tau = jax.random.uniform(key, shape)
        return params(obs, self.risk * tau).mean(axis=-2)

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, "batch quantile"]:
        """Lines 1 to 3: r + γ Z_τ'j(s', a*; θ⁻)."""
        choice_key, tau_key = jax.random.split(key)
        chooser = state.params if self.double else state.target
        q = self.q_values(chooser, batch.next_obs, choice_key)  # line 1
        tau = jax.random.uniform(tau_key, (batch.reward.shape[0], self.target_quantiles))  # line 2
        following = jnp.swapaxes(state.target(batch.next_obs, tau), -1, -2)
        best = td.chosen(following, q, action_mask(batch.next_obs))
        reward, discount = (jnp.broadcast_to(x[:, None], best.shape) for x in (batch.reward, batch.discount))
        return td.td_target(reward, discount, best)

    def loss(
        self,
        params: QuantileNetwork,
        batch: Batch,
        target: Float[Array, "batch quantile"],
        space: Discrete,
        key: Key[Array, ""],
    ) -> Learnt:
        """Line 4, weighed; metrics, and the distance of the means of each transition."""
        tau = jax.random.uniform(key, (batch.reward.shape[0], self.quantiles))  # line 2
        one = jax.nn.one_hot(batch.action - space.start, space.n)
        z = (params(batch.obs, tau) * one[:, None, :]).sum(axis=-1)
        per_item = self.quantiles * td.quantile_huber(z, target, self.kappa, tau)
        loss = (batch.weight * per_item).mean()
        error = jnp.abs(target.mean(axis=-1) - z.mean(axis=-1))
        metrics = {"loss": Metric.of(loss), "q_value": Metric.of(z), "td_error": Metric.of(error)}
        return loss, (metrics, error)
