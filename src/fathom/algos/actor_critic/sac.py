"""Soft Actor-Critic."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.actor_critic.common import (
    explorer,
    from_env,
    judged_space,
    regression,
    require_finite_box,
    uniform_at_first,
)
from fathom.algos.actor_critic.soft import Soft, State
from fathom.algos.base import Metrics, require_fraction, require_positive
from fathom.core.spaces import Box, flat_size
from fathom.core.types import Action, Batch, Clock, EnvSpec, Obs
from fathom.nn.heads import to_env
from fathom.nn.network import Actor, Critics, NoisyActor, init_actor, init_critics, judge, tanh_gaussian
from fathom.ops import exploration, td


class SAC(Soft):
    """Soft Actor-Critic with twin critics and a temperature that is learnt.

    Haarnoja et al. 2018, arXiv:1812.05905, Algorithm 1:

    1. initialise θ_1, θ_2, φ; targets θ̄_i ← θ_i; an empty replay D
    2. for each iteration do
    3.   for each environment step: a_t ∼ π_φ(·|s_t), store (s_t, a_t, r, s_{t+1}) in D    (the loop does)
    4.   for each gradient step, on a minibatch from D:
    5.     θ_i ← θ_i − λ ∇J_Q(θ_i) for i ∈ {1, 2}                             (Eq. 5)
    6.     φ ← φ − λ ∇J_π(φ)                                                  (Eq. 9)
    7.     α ← α − λ ∇J(α)                                                    (Eq. 18)
    8.     θ̄_i ← τ θ_i + (1 − τ) θ̄_i

    The policy is the tanh of a Gaussian, in [−1, 1], scaled to the box of actions; the log-probability is
    taken from the value before tanh (Appendix C). Switches: a fixed `alpha`; `n_step` sums n rewards before
    it bootstraps; `noise` adds drifting noise to exploring actions (Lillicrap et al. 2016), which reaches
    what independent draws do not; `std` "gsde" draws a matrix of noise and keeps it for `sde_steps` steps, so
    that exploration is a function of the state meanwhile (Raffin et al. 2022, arXiv:2005.05719). Deviations:
    actions are uniform until the first gradient step, unless there is drifting noise; it is log α that Adam
    moves; a truncated episode bootstraps.
    """

    learning_rate: float = 3e-4  # Adam's step size λ for all parameters; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    tau: float = 0.005  # θ̄ ← τ θ + (1 − τ) θ̄ after each gradient step; 0.005 to 0.05
    alpha: float | None = None  # α, a fixed temperature in units of the reward; none learns it
    alpha_init: float = 1.0  # α at first, where it is learnt; 0.1 to 1
    target_entropy: float | None = None  # H̄ of Eq. 17, in [−1, 1] units, nats; none for −dim(A)
    noise: float | None = None  # σ of drifting noise in exploring actions, [−1, 1] units; 0.5, or none
    theta: float = 0.15  # θ of that noise: the part of it that is lost at each step; 0.05 to 1
    std: Literal["state", "gsde"] = "state"  # σ as a function of the state, or by noise matrices (gSDE)
    sde_steps: int = 16  # steps for which gSDE keeps a noise matrix; 4 to 64
    log_std: float = eqx.field(default=0.0, static=True)  # log σ at first; of gSDE's entries −4 to −2
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 1_000_000  # |D|, transitions kept, of all environments together
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
        require_finite_box("SAC", spec)
        self.check_shared(spec)
        self.check_temperature()
        require_positive(self, "sde_steps")
        require_positive(self, "noise")
        require_fraction(self, "theta")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights; a first policy near the tanh of a standard normal, all but uniform."""
        actor_key, critic_key = jax.random.split(key)
        net = (self.hidden, self.activation, self.scale_obs)
        actor = init_actor(
            actor_key, spec.obs_space, flat_size(spec.action_space), *net, self.std, self.log_std
        )
        critics = init_critics(critic_key, 2, judged_space(spec), 1, *net)
        return self.begin(actor, critics, spec)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The drifting noise of each environment, 0 at an episode's start, and gSDE's; () for neither."""
        actor = state.params.actor
        drift = () if self.noise is None else jnp.zeros((num_envs, flat_size(state.action_space)))
        return drift, actor.start(num_envs) if isinstance(actor, NoisyActor) else ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3: a ∼ π_φ(·|s), uniform before learning; the tanh of the mean where not exploring."""
        drift, matrices = memory
        obs = state.normaliser.normalize(obs, self.norm_clip)
        pi = tanh_gaussian(state.params.actor, obs)
        if not explore:
            return to_env(state.action_space, pi.mode()), memory, {}
        sample, matrices = explorer(state.params.actor, pi, obs, matrices, key, self.sde_steps)
        if self.noise is None:
            action = uniform_at_first(sample, key, pi.mode().shape, clock)
        else:
            noise_key, action_key = jax.random.split(key)
            drift = exploration.ornstein_uhlenbeck(noise_key, drift, self.theta, self.noise)
            action = sample(action_key) + drift
        return to_env(state.action_space, action), (drift, matrices), {}

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """Line 5: y = R + γ^k (min_i Q_θ̄i(s', a') − α log π(a'|s')) with a' ∼ π_φ(·|s'), Eq. 3 and 5."""
        next_action, log_prob = tanh_gaussian(state.params.actor, batch.next_obs).sample_and_log_prob(key)
        next_q = judge(state.target, (batch.next_obs, next_action))[..., 0].min(axis=0)
        soft_value = next_q - self.temperature(state.params) * log_prob
        return td.td_target(batch.reward, batch.discount, soft_value)

    def critic_loss(
        self, critics: Critics, batch: Batch, target: Float[Array, " batch"], space: Box
    ) -> tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]:
        """Line 5: J_Q(θ_1) + J_Q(θ_2), Eq. 5; metrics, and |y − Q| of each transition."""
        q = judge(critics, (batch.obs, from_env(space, batch.action)))[..., 0]
        return regression(q, target, batch.weight)

    def actor_loss(
        self, actor: Actor, critics: Critics, alpha: Float[Array, ""], obs: Obs, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        """Line 6: J_π(φ) = E[α log π(a|s) − min_i Q_θi(s, a)], Eq. 9, with a = tanh u_φ(ε; s); and −log π."""
        action, log_prob = tanh_gaussian(actor, obs).sample_and_log_prob(key)
        q = judge(critics, (obs, action))[..., 0].min(axis=0)
        return (alpha * log_prob - q).mean(), -log_prob

    def aim(self, obs: Obs, space: Box) -> float:
        """Line 7: H̄, −dim(A) unless it is given."""
        return -float(flat_size(space)) if self.target_entropy is None else self.target_entropy
