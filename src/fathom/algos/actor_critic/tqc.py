"""Truncated Quantile Critics."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.actor_critic.common import (
    explorer,
    from_env,
    judged_space,
    require_finite_box,
    uniform_at_first,
)
from fathom.algos.actor_critic.soft import Soft, State
from fathom.algos.base import Metrics, require, require_positive
from fathom.core.spaces import Box, flat_size
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.heads import to_env
from fathom.nn.network import Actor, Critics, NoisyActor, init_actor, init_critics, judge, tanh_gaussian
from fathom.ops import td


class TQC(Soft):
    """Truncated Quantile Critics: SAC whose critics give distributions, the top of which is cut off.

    Kuznetsov et al. 2020, arXiv:2005.04269, Algorithm 1, its gradient steps in the order of SAC's:

    1. initialise critics ψ_1, …, ψ_N of M quantiles each, φ; targets ψ̄_n ← ψ_n; an empty replay R
    2. for each iteration do
    3.   for each environment step: a_t ∼ π_φ(·|s_t), store (s_t, a_t, r, s_{t+1}) in R    (the loop does)
    4.   for each gradient step, on a minibatch from R:
    5.     pool the N·M quantiles θ_ψ̄n(s', a'), a' ∼ π_φ(·|s'); z_(1) ≤ z_(2) ≤ … in order
           y_i = r + γ (z_(i) − α log π(a'|s')) for the least (M − d)·N of them
           ψ_n ← ψ_n − λ ∇J_Z(ψ_n), the quantile Huber loss to all y_i
    6.     φ ← φ − λ ∇J_π(φ), the quantiles of all critics averaged, none left out
    7.     α ← α − λ ∇J(α)
    8.     ψ̄_n ← τ ψ_n + (1 − τ) ψ̄_n

    Policy and temperature are those of SAC. Switches: a fixed `alpha`; `n_step` sums n rewards before it
    bootstraps; `std` "gsde" explores as SAC's does. Deviations: actions are uniform until the first gradient
    step; critics of the size of the actor; a truncated episode bootstraps.
    """

    learning_rate: float = 3e-4  # Adam's step size λ for all parameters; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    tau: float = 0.005  # ψ̄ ← τ ψ + (1 − τ) ψ̄ after each gradient step; 0.005 to 0.05
    critics: int = 5  # N, critics; 2 to 5
    quantiles: int = 25  # M, quantiles of each critic
    dropped: int = 2  # d, quantiles left out for each critic, the largest of all; 0 to 5
    alpha: float | None = None  # α, a fixed temperature in units of the reward; none learns it
    alpha_init: float = 1.0  # α at first, where it is learnt; 0.1 to 1
    target_entropy: float | None = None  # H̄, in [−1, 1] units, nats; none for −dim(A)
    std: Literal["state", "gsde"] = "state"  # σ as a function of the state, or by noise matrices (gSDE)
    sde_steps: int = 16  # steps for which gSDE keeps a noise matrix; 4 to 64
    log_std: float = eqx.field(default=0.0, static=True)  # log σ at first; of gSDE's entries −4 to −2
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 1_000_000  # |R|, transitions kept, of all environments together
    batch_size: int = 256  # transitions in a minibatch; 64 to 512
    learning_starts: int = 1_000  # transitions collected, by uniform actions, before the first update
    train_every: int = 1  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    anneal_lr: bool = False  # λ falls linearly to 0 over the run
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this
    hidden: tuple[int, ...] = (256, 256)  # units of the hidden layers of actor and critics
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are no finite box."""
        require_finite_box("TQC", spec)
        self.check_shared(spec)
        self.check_temperature()
        require_positive(self, "sde_steps")
        require_positive(self, "critics", "quantiles")
        require(
            0 <= self.dropped < self.quantiles,
            f"dropped is {self.dropped}; it must be at least 0 and leave some of the {self.quantiles} "
            "quantiles of each critic.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights; a first policy near the tanh of a standard normal, all but uniform."""
        actor_key, critic_key = jax.random.split(key)
        net = (self.hidden, self.activation, self.scale_obs)
        actor = init_actor(
            actor_key, spec.obs_space, flat_size(spec.action_space), *net, self.std, self.log_std
        )
        critics = init_critics(critic_key, self.critics, judged_space(spec), self.quantiles, *net)
        return self.begin(actor, critics, spec)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The noise matrices of gSDE; nothing without."""
        actor = state.params.actor
        return actor.start(num_envs) if isinstance(actor, NoisyActor) else ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3: a ∼ π_φ(·|s), uniform before learning; the tanh of the mean where not exploring."""
        obs = state.normaliser.normalize(obs, self.norm_clip)
        pi = tanh_gaussian(state.params.actor, obs)
        if not explore:
            return to_env(state.action_space, pi.mode()), memory, {}
        sample, memory = explorer(state.params.actor, pi, obs, memory, key, self.sde_steps)
        action = uniform_at_first(sample, key, pi.mode().shape, clock)
        return to_env(state.action_space, action), memory, {}

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, "batch target"]:
        """Line 5: the (M − d)·N targets y_i of each transition, in order."""
        next_action, log_prob = tanh_gaussian(state.params.actor, batch.next_obs).sample_and_log_prob(key)
        next_z = judge(state.target, (batch.next_obs, next_action))
        pooled = jnp.sort(jnp.moveaxis(next_z, 0, 1).reshape(next_z.shape[1], -1), axis=-1)
        kept = pooled[:, : (self.quantiles - self.dropped) * self.critics]
        soft = kept - (self.temperature(state.params) * log_prob)[:, None]
        reward, discount = (jnp.broadcast_to(x[:, None], soft.shape) for x in (batch.reward, batch.discount))
        return td.td_target(reward, discount, soft)

    def critic_loss(
        self, critics: Critics, batch: Batch, target: Float[Array, "batch target"], space: Box
    ) -> tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]:
        """Line 5: Σ_n J_Z(ψ_n); metrics, and the distance between the means of targets and of quantiles."""
        z = judge(critics, (batch.obs, from_env(space, batch.action)))
        target = jnp.broadcast_to(target[None], (len(critics), *target.shape))
        loss = (batch.weight[None] * td.quantile_huber(z, target)).mean(axis=-1).sum()
        error = jnp.abs(target.mean(axis=-1) - z.mean(axis=-1)).mean(axis=0)
        metrics = {"critic_loss": Metric.of(loss), "q_value": Metric.of(z), "td_error": Metric.of(error)}
        return loss, (metrics, error)

    def actor_loss(
        self, actor: Actor, critics: Critics, alpha: Float[Array, ""], obs: Obs, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        """Line 6: J_π(φ) = E[α log π(a|s) − mean of θ_ψn(s, a)] with a = tanh u_φ(ε; s); and −log π."""
        action, log_prob = tanh_gaussian(actor, obs).sample_and_log_prob(key)
        q = judge(critics, (obs, action)).mean(axis=(0, -1))
        return (alpha * log_prob - q).mean(), -log_prob

    def aim(self, obs: Obs, space: Box) -> float:
        """Line 7: H̄, −dim(A) unless it is given."""
        return -float(flat_size(space)) if self.target_entropy is None else self.target_entropy
