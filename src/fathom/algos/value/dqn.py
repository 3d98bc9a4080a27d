"""Deep Q-Network."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from fathom.algos.base import require, require_fraction, require_positive
from fathom.algos.value.common import EpsilonGreedyValues, Learnt, State, taken
from fathom.core.spaces import Discrete
from fathom.core.types import Batch, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.q_network import QNetwork, init_q_network, q_outputs
from fathom.ops import optim, td


class DQN(EpsilonGreedyValues):
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
    `dueling` splits the network in values and advantages (Wang et al. 2016, arXiv:1511.06581); `noisy`
    explores by noise on the weights (Fortunato et al. 2018, arXiv:1706.10295); `prioritized` draws line 5 by
    the size of errors (Schaul et al. 2016, arXiv:1511.05952); `n_step` sums n rewards before it bootstraps
    (Sutton 1988; Hessel et al. 2018); `munchausen` adds the policy's log-probability to the reward (Vieillard
    et al. 2020, arXiv:2007.14430); `huber` bounds the error's slope as the paper's error clipping does; `tau`
    below 1 moves θ⁻ by Polyak averaging; `target_episodes` moves it once in so many episodes, as tutorials
    do; `ez_mu` keeps a random action of line 3 for several steps (Dabney et al. 2021, arXiv:2006.01782);
    `rmsprop` steps as the paper does. Deviations: Adam in place of RMSProp unless that is asked for; noisy
    are the layers after the last shared one; illegal actions are left out of both
    maxima; a truncated episode bootstraps.
    """

    learning_rate: float = 1e-3  # step size α; 1e-4 to 3e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 100_000  # N, transitions kept, of all environments together
    batch_size: int = 64  # transitions in a minibatch; 32 to 512
    learning_starts: int = 1_000  # transitions collected before the first update
    train_every: int = 4  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    target_every: int = 500  # C, gradient steps between updates of θ⁻
    target_episodes: int | None = None  # episodes between updates of θ⁻, not steps; or none
    tau: float = 1.0  # θ⁻ ← τ θ + (1 − τ) θ⁻; 1 copies, 0.005 with target_every=1 trails
    epsilon_start: float = 1.0  # ε at first
    epsilon_end: float = 0.05  # ε at last; 0.01 to 0.1
    exploration_fraction: float = 0.2  # part of the run over which ε falls
    ez_mu: float | None = None  # μ: a random action is kept for n steps, P(n) ∝ n^−μ; 2, or none for one step
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    double: bool = False  # Double DQN
    dueling: bool = False  # streams for the state's value and the actions' advantages
    noisy: bool = False  # noisy layers explore; set both ε to 0 with them
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    munchausen: float | None = None  # α of the bonus α τ log π(a|s), π = softmax(Q/τ); 0.9, or none
    munchausen_temperature: float = 0.03  # τ of Munchausen's policy, in units of the reward
    munchausen_floor: float = -1.0  # l_0, below which τ log π is cut
    prioritized: bool = False  # replay by the size of errors
    priority_exponent: float = 0.6  # α of P(i) ∝ p_i^α; 0 is uniform, 1 proportional
    importance_start: float = 0.4  # β of the weights (N P(i))^−β at first; it rises to 1
    huber: bool = True  # Huber loss in place of the square
    huber_delta: float = 1.0  # error at which the Huber loss turns linear
    rmsprop: bool = False  # centred RMSProp (decay 0.95, ε 0.01) in place of Adam
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        self.check_shared("DQN", spec)
        self.check_play()
        require_positive(self, "huber_delta", "munchausen", "munchausen_temperature", "target_episodes")
        if self.munchausen is None:
            return
        require_fraction(self, "munchausen")
        require(
            self.munchausen_floor < 0, f"munchausen_floor is {self.munchausen_floor}; it must be below 0."
        )
        require(
            self.n_step == 1 and not self.double,
            f"munchausen's target is of one step and of the target network alone; with it n_step must be 1, "
            f"not {self.n_step}, and double must be off.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights, the target an equal copy."""
        net = (self.hidden, self.activation, self.scale_obs, self.dueling, self.noisy)
        params = init_q_network(key, spec.obs_space, spec.action_space.n, 1, *net)
        return self.begin(params, spec, self.target_episodes)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam's direction after clipping, or that of the paper's RMSProp."""
        clipped = optim.clipped_centred_rmsprop if self.rmsprop else optim.clipped_adam
        return clipped(self.max_grad_norm)

    def q_values(
        self, params: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action"]:
        """Q(s, ·)."""
        return q_outputs(params, obs, key, each)

    def td_target(
        self, state: State, batch: Batch, key: Key[Array, ""] | None = None
    ) -> Float[Array, " batch"]:
        """Line 6: y = R + γ^k max_a' Q̂(s', a'; θ⁻), with the maximum at θ's choice for Double DQN.

        Munchausen: y = r + α [τ log π(a|s)]_{l_0}^0 + γ Σ_a' π(a'|s') (Q̂(s', a') − τ log π(a'|s')), Eq. 2
        there; the sum is τ log Σ_a' exp(Q̂(s', a')/τ).
        """
        target_key, choice_key = (None, None) if key is None else jax.random.split(key)
        next_q, mask = self.q_values(state.target, batch.next_obs, target_key), action_mask(batch.next_obs)
        if self.munchausen is not None:
            q, temperature = self.q_values(state.target, batch.obs, target_key), self.munchausen_temperature
            value = td.soft_value(q, temperature, action_mask(batch.obs))
            log_prob = taken(q, batch, state.action_space) - value  # τ log π(a|s)
            bonus = self.munchausen * jnp.clip(log_prob, self.munchausen_floor, 0.0)
            return td.td_target(
                batch.reward + bonus, batch.discount, td.soft_value(next_q, temperature, mask)
            )
        if self.double:
            online = self.q_values(state.params, batch.next_obs, choice_key)
            return td.double_q_target(batch.reward, batch.discount, next_q, online, mask)
        return td.q_target(batch.reward, batch.discount, next_q, mask)

    def loss(
        self,
        params: QNetwork,
        batch: Batch,
        target: Float[Array, " batch"],
        space: Discrete,
        key: Key[Array, ""] | None = None,
    ) -> Learnt:
        """Line 7: the mean of w ½(y − Q(s, a; θ))², or its Huber form; and |error|, a batch's priorities."""
        q = taken(self.q_values(params, batch.obs, key), batch, space)
        error = target - q
        per_item = td.huber(error, self.huber_delta) if self.huber else td.squared(error)
        loss = (batch.weight * per_item).mean()
        metrics = {
            "loss": Metric.of(loss),
            "q_value": Metric.of(q),
            "td_error": Metric.of(jnp.abs(error)),
        }
        return loss, (metrics, jnp.abs(error))
