"""C51: the distribution of the return over fixed atoms."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.algos.base import require
from fathom.algos.value.common import EpsilonGreedyValues, Learnt, State, taken
from fathom.core.spaces import Discrete
from fathom.core.types import Batch, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.q_network import QNetwork, init_q_network, q_outputs
from fathom.ops import categorical, td


class C51(EpsilonGreedyValues):
    """Learns the probability of N returns z_1 < … < z_N, and acts by their mean.

    Bellemare et al. 2017, arXiv:1707.06887, Algorithm 1, in the place of lines 6 and 7 of DQN:

    1. Q(s', a) = Σ_i z_i p_i(s', a; θ⁻)
    2. a* = argmax_a Q(s', a)
    3. T̂z_j = r + γ z_j, limited to [v_min, v_max]; r alone where the episode terminates
    4. m = the mass p_j(s', a*; θ⁻) of each T̂z_j, shared by the two atoms around it     (Eq. 7)
    5. gradient step on −Σ_i m_i log p_i(s, a; θ)

    Switches: `double` takes a* from θ, `dueling` splits the network (Wang et al. 2016), `noisy` explores by
    noise on the weights (Fortunato et al. 2018), `prioritized` replays by the size of errors (Schaul et al.
    2016), here KL(m ‖ p), the loss of line 5 less the entropy of m; `n_step`. All of them together are
    Rainbow. Deviations: as DQN's.
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
    atoms: int = 51  # N; 21 to 101
    v_min: float = -100.0  # z_1: no return lies below; in units of the reward
    v_max: float = 100.0  # z_N: no return lies above
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
        self.check_shared("C51", spec)
        self.check_play()
        require_support(self.atoms, self.v_min, self.v_max)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights."""
        net = (self.hidden, self.activation, self.scale_obs, self.dueling, self.noisy)
        params = init_q_network(key, spec.obs_space, spec.action_space.n, self.atoms, *net)
        return self.begin(params, spec)

    def support(self) -> Float[Array, " atom"]:
        """z_1, …, z_N."""
        return categorical.atoms(self.v_min, self.v_max, self.atoms)

    def logits(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action atom"]:
        """Log p(s, ·) but for a constant to each action."""
        out = q_outputs(params, obs, key, each)
        return out.reshape(*out.shape[:-1], -1, self.atoms)

    def q_values(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action"]:
        """Line 1, of any weights."""
        return categorical.mean(self.logits(params, obs, key, each), self.support())

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, "batch atom"]:
        """Lines 1 to 4: m."""
        target_key, choice_key = jax.random.split(key)
        logits = self.logits(state.target, batch.next_obs, target_key)
        q = categorical.mean(logits, self.support())
        if self.double:
            q = self.q_values(state.params, batch.next_obs, choice_key)
        best = td.chosen(logits, q, action_mask(batch.next_obs))  # line 2
        return categorical.project(
            jax.nn.softmax(best, axis=-1), batch.reward, batch.discount, self.support()
        )

    def loss(
        self,
        params: QNetwork,
        batch: Batch,
        target: Float[Array, "batch atom"],
        space: Discrete,
        key: Key[Array, ""],
    ) -> Learnt:
        """Line 5, weighed; metrics, and the divergence of each transition."""
        logits = taken(self.logits(params, batch.obs, key), batch, space)
        per_item = categorical.cross_entropy(logits, target)
        loss = (batch.weight * per_item).mean()
        q = categorical.mean(logits, self.support())
        aim = (target * jnp.broadcast_to(self.support(), target.shape)).sum(axis=-1)
        metrics = {
            "loss": Metric.of(loss),
            "q_value": Metric.of(q),
            "td_error": Metric.of(jnp.abs(aim - q)),
        }
        return loss, (metrics, categorical.kl(logits, target))


def require_support(atoms: int, v_min: float, v_max: float) -> None:
    """Raise FathomError where there are no atoms between two bounds."""
    require(atoms >= 2, f"atoms is {atoms}; a distribution needs at least 2.")
    require(
        v_min < v_max,
        f"v_min is {v_min} and v_max {v_max}; v_min must lie below. Set them to the least and the largest "
        "discounted return that you expect.",
    )
