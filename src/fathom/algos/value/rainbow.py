"""Rainbow: six extensions of DQN in one agent."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.algos.base import require
from fathom.algos.value.c51 import require_support
from fathom.algos.value.common import EpsilonGreedyValues, Learnt, State, taken
from fathom.core.spaces import Discrete
from fathom.core.types import Batch, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.q_network import QNetwork, init_q_network, q_outputs
from fathom.ops import categorical, td


class Rainbow(EpsilonGreedyValues):
    """Double Q-learning, prioritised replay, dueling networks, n-step, distributional and noisy, all at once.

    Hessel et al. 2018, AAAI, arXiv:1710.02298, "The Integrated Agent", in the place of DQN's lines 5 to 7:

    1. sample a minibatch by P(i) ∝ p_i^ω, p_i the divergence of line 5 when i was last replayed; weigh it by
       (N P(i))^−β, β rising to 1                                                       (Schaul et al. 2016)
    2. a* = argmax_a Σ_i z_i p_i(s_{t+n}, a; θ), the online weights choose              (double)
    3. m = Φ of the target weights' distribution at a*, shrunk by γ^n and moved by
       R^(n) = Σ_k γ^k r_{t+k}                                               (distributional, multi-step)
    4. p_i(s, a) = softmax of v_i(s) + a_i(s, a) − mean_a' a_i(s, a'), over noisy layers
    5. gradient step on the weighted KL divergence of p(s_t, a_t; θ) from m

    and line 3 of DQN: the noise of the layers explores, ε is 0. Each part has its switch: `double`,
    `prioritized`, `dueling`, `n_step` 1, `noisy` (set ε_start to 1 without it), and `distributional`, without
    which lines 3 to 5 are those of DQN with the Huber loss and |error| for p_i. Deviations: cross-entropy
    for the divergence in the loss, which has the same gradient; noisy are the streams alone; a truncated
    episode bootstraps.
    """

    learning_rate: float = 2.5e-4  # Adam's step size α; 6.25e-5 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 100_000  # transitions kept, of all environments together
    batch_size: int = 64  # transitions in a minibatch; 32 to 512
    learning_starts: int = 1_000  # transitions collected before the first update
    train_every: int = 4  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    target_every: int = 500  # gradient steps between updates of θ⁻
    tau: float = 1.0  # θ⁻ ← τ θ + (1 − τ) θ⁻; 1 copies, 0.005 with target_every=1 trails
    epsilon_start: float = 0.0  # ε at first; 1 without noisy layers
    epsilon_end: float = 0.0  # ε at last
    exploration_fraction: float = 0.2  # part of the run over which ε falls
    ez_mu: float | None = None  # μ: a random action is kept for n steps, P(n) ∝ n^−μ; 2, or none for one step
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    double: bool = True  # line 2 by the online weights
    dueling: bool = True  # streams for the state's value and the actions' advantages
    noisy: bool = True  # noisy layers explore
    distributional: bool = True  # the distribution over atoms; else its mean alone
    n_step: int = 3  # n, rewards summed before bootstrapping; 1 to 5
    atoms: int = 51  # N of the distribution; 21 to 101
    v_min: float = -100.0  # z_1: no return lies below; in units of the reward
    v_max: float = 100.0  # z_N: no return lies above
    prioritized: bool = True  # replay by the size of errors
    priority_exponent: float = 0.5  # ω of P(i) ∝ p_i^ω; 0 is uniform, 1 proportional
    importance_start: float = 0.4  # β of the weights (N P(i))^−β at first; it rises to 1
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        self.check_shared("Rainbow", spec)
        self.check_play()
        require_support(self.atoms, self.v_min, self.v_max)
        require(
            self.noisy or self.epsilon_start > 0,
            "noisy is off and epsilon_start is 0: nothing would explore. Set epsilon_start to 1 and "
            "epsilon_end to 0.01, or leave noisy on.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 4's network: uniform weights in noisy layers, orthogonal ones elsewhere."""
        net = (self.hidden, self.activation, self.scale_obs, self.dueling, self.noisy)
        atoms = self.atoms if self.distributional else 1
        params = init_q_network(key, spec.obs_space, spec.action_space.n, atoms, *net)
        return self.begin(params, spec)

    def support(self) -> Float[Array, " atom"]:
        """z_1, …, z_N."""
        return categorical.atoms(self.v_min, self.v_max, self.atoms)

    def outputs(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action atom"]:
        """Line 4 before its softmax; one value to an action where there is no distribution."""
        out = q_outputs(params, obs, key, each)
        return out.reshape(*out.shape[:-1], -1, self.atoms if self.distributional else 1)

    def means(self, outputs: Float[Array, "*batch atom"]) -> Float[Array, "*batch"]:
        """Q, of what the network gives for an action."""
        return categorical.mean(outputs, self.support()) if self.distributional else outputs[..., 0]

    def q_values(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return self.means(self.outputs(params, obs, key, each))

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, "batch atom"]:
        """Lines 2 and 3: m, or the target of the mean alone."""
        target_key, choice_key = jax.random.split(key)
        following = self.outputs(state.target, batch.next_obs, target_key)
        q = self.means(following)
        if self.double:
            q = self.q_values(state.params, batch.next_obs, choice_key)
        best = td.chosen(following, q, action_mask(batch.next_obs))
        if not self.distributional:
            return td.td_target(batch.reward[:, None], batch.discount[:, None], best)
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
        """Line 5; metrics, and the priorities of line 1."""
        out = taken(self.outputs(params, batch.obs, key), batch, space)
        q = self.means(out)
        if self.distributional:
            per_item = categorical.cross_entropy(out, target)
            aim = (target * jnp.broadcast_to(self.support(), target.shape)).sum(axis=-1)
        else:
            aim = target[:, 0]
            per_item = td.huber(aim - q)
        loss = (batch.weight * per_item).mean()
        error = jnp.abs(aim - q)
        metrics = {"loss": Metric.of(loss), "q_value": Metric.of(q), "td_error": Metric.of(error)}
        return loss, (metrics, categorical.kl(out, target) if self.distributional else error)
