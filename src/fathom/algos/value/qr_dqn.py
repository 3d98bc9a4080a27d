"""QR-DQN: the quantiles of the return."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.algos.base import require_positive
from fathom.algos.value.common import EpsilonGreedyValues, Learnt, State, taken
from fathom.core.spaces import Discrete
from fathom.core.types import Batch, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.q_network import QNetwork, init_q_network, q_outputs
from fathom.ops import td


class QRDQN(EpsilonGreedyValues):
    """Learns N quantiles of the return of each action, and acts by their mean.

    Dabney et al. 2018, AAAI, arXiv:1710.10044, Algorithm 1, in the place of lines 6 and 7 of DQN:

    1. Q(s', a') = 1/N Σ_j θ_j(s', a'; θ⁻)
    2. a* = argmax_a' Q(s', a')
    3. T θ_j = r + γ θ_j(s', a*; θ⁻) for all j; r alone where the episode terminates
    4. gradient step on Σ_i E_j[ρ^κ_τ̂i(T θ_j − θ_i(s, a; θ))], τ̂_i = (2i − 1)/2N          (Eq. 10)

    Switches: `double` takes a* from θ, `dueling` splits the network (Wang et al. 2016), `noisy` explores by
    noise on the weights (Fortunato et al. 2018), `prioritized` replays by the size of errors (Schaul et al.
    2016), here the distance of the means; `n_step`. Deviations: as DQN's.
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
    dueling: bool = False  # streams for the state's value and the actions' advantages
    noisy: bool = False  # noisy layers explore; set both ε to 0 with them
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    quantiles: int = 50  # N; 25 to 200
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
        self.check_shared("QR-DQN", spec)
        self.check_play()
        require_positive(self, "quantiles", "kappa")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights."""
        net = (self.hidden, self.activation, self.scale_obs, self.dueling, self.noisy)
        params = init_q_network(key, spec.obs_space, spec.action_space.n, self.quantiles, *net)
        return self.begin(params, spec)

    def quantile_values(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action quantile"]:
        """θ_i(s, ·)."""
        out = q_outputs(params, obs, key, each)
        return out.reshape(*out.shape[:-1], -1, self.quantiles)

    def q_values(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action"]:
        """Line 1, of any weights."""
        return self.quantile_values(params, obs, key, each).mean(axis=-1)

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, "batch quantile"]:
        """Lines 1 to 3: T θ_j."""
        target_key, choice_key = jax.random.split(key)
        following = self.quantile_values(state.target, batch.next_obs, target_key)
        q = following.mean(axis=-1)
        if self.double:
            q = self.q_values(state.params, batch.next_obs, choice_key)
        best = td.chosen(following, q, action_mask(batch.next_obs))  # line 2
        reward, discount = (jnp.broadcast_to(x[:, None], best.shape) for x in (batch.reward, batch.discount))
        return td.td_target(reward, discount, best)

    def loss(
        self,
        params: QNetwork,
        batch: Batch,
        target: Float[Array, "batch quantile"],
        space: Discrete,
        key: Key[Array, ""],
    ) -> Learnt:
        """Line 4, weighed; metrics, and the distance of the means of each transition."""
        theta = taken(self.quantile_values(params, batch.obs, key), batch, space)
        per_item = self.quantiles * td.quantile_huber(theta, target, self.kappa)
        loss = (batch.weight * per_item).mean()
        error = jnp.abs(target.mean(axis=-1) - theta.mean(axis=-1))
        metrics = {"loss": Metric.of(loss), "q_value": Metric.of(theta), "td_error": Metric.of(error)}
        return loss, (metrics, error)
