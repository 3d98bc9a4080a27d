"""Soft Actor-Critic for discrete actions."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.actor_critic.common import regression
from fathom.algos.actor_critic.soft import Soft, State
from fathom.algos.base import Metrics, require_fraction, require_mask_fits
from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Batch, Clock, EnvSpec, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.network import Critics, Network, init_critics, judge
from fathom.ops import td
from fathom.ops.distributions import Categorical


class DiscreteSAC(Soft):
    """Soft Actor-Critic for discrete actions: every expectation over actions is a sum.

    Christodoulou 2019, arXiv:1910.07207, Algorithm 1:

    1. initialise θ_1, θ_2, φ; targets θ̄_i ← θ_i; an empty replay D
    2. for each iteration do
    3.   for each environment step: a_t ∼ π_φ(·|s_t), store (s_t, a_t, r, s_{t+1}) in D    (the loop does)
    4.   for each gradient step, on a minibatch from D:
    5.     θ_i ← θ_i − λ ∇J_Q(θ_i) for i ∈ {1, 2}                             (Eq. 4 with V of Eq. 10)
    6.     φ ← φ − λ ∇J_π(φ)                                                  (Eq. 12)
    7.     α ← α − λ ∇J(α)                                                    (Eq. 11)
    8.     θ̄_i ← τ θ_i + (1 − τ) θ̄_i

    Critics give Q(s, a) of all actions at once. Where observations carry masks, illegal actions have
    probability 0, and the entropy to keep is a part of log n(s), n(s) the number of legal actions.
    Switches: a fixed `alpha`; `n_step` sums n rewards before it bootstraps. Deviations: it is log α that Adam
    moves; a truncated episode bootstraps.
    """

    learning_rate: float = 3e-4  # Adam's step size λ for all parameters; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    tau: float = 0.005  # θ̄ ← τ θ + (1 − τ) θ̄ after each gradient step; 0.005 to 0.05
    alpha: float | None = None  # α, a fixed temperature in units of the reward; none learns it
    alpha_init: float = 1.0  # α at first, where it is learnt; 0.1 to 1
    entropy_fraction: float = 0.98  # H̄ as a part of log n(s), that of uniform actions; 0.1 to 0.98
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 1_000_000  # |D|, transitions kept, of all environments together
    batch_size: int = 64  # transitions in a minibatch; 32 to 512
    learning_starts: int = 1_000  # transitions collected before the first update
    train_every: int = 4  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    anneal_lr: bool = False  # λ falls linearly to 0 over the run
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this
    hidden: tuple[int, ...] = (128, 128)  # units of the hidden layers of actor and critics
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        if not isinstance(spec.action_space, Discrete):
            raise FathomError(
                f"discrete_sac chooses among finitely many actions and cannot take {spec.action_space!r}. "
                "SAC, TQC, TD3 and DDPG take continuous ones, PPO also MultiDiscrete and MultiBinary."
            )
        require_mask_fits(spec)
        self.check_shared(spec)
        self.check_temperature()
        require_fraction(self, "entropy_fraction")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1: orthogonal weights; a first policy all but uniform."""
        actor_key, critic_key = jax.random.split(key)
        net = (self.hidden, self.activation, self.scale_obs)
        actions = spec.action_space.n
        actor = Network.init(actor_key, spec.obs_space, actions, *net, gain=0.01)
        critics = init_critics(critic_key, 2, spec.obs_space, actions, *net)
        return self.begin(actor, critics, spec)

    def policy(self, actor: Network, obs: Obs) -> Categorical:
        """π_φ(·|s), 0 where illegal."""
        return Categorical(actor(obs), action_mask(obs))

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """The smaller of both critics' Q(s, ·), entropy to come included."""
        obs = state.normaliser.normalize(obs, self.norm_clip)
        return judge(state.params.critics, obs).min(axis=0)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: the policy is feed-forward."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3: a ∼ π_φ(·|s); the most probable action where not exploring."""
        pi = self.policy(state.params.actor, state.normaliser.normalize(obs, self.norm_clip))
        return to_env(state.action_space, pi.sample(key) if explore else pi.mode()), memory, {}

    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """Line 5: y = R + γ^k V(s'), V(s) = Σ_a π(a|s) (min_i Q_θ̄i(s, a) − α log π(a|s)), Eq. 10."""
        pi = self.policy(state.params.actor, batch.next_obs)
        next_q = judge(state.target, batch.next_obs).min(axis=0)
        soft_value = (pi.probs * next_q).sum(axis=-1) + self.temperature(state.params) * pi.entropy()
        return td.td_target(batch.reward, batch.discount, soft_value)

    def critic_loss(
        self, critics: Critics, batch: Batch, target: Float[Array, " batch"], space: Discrete
    ) -> tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]:
        """Line 5: J_Q(θ_1) + J_Q(θ_2), Eq. 4; metrics, and |y − Q| of each transition."""
        # Compared and summed, not gathered: the gradient of a gather is a scatter, slow on CPU.
        taken = jax.nn.one_hot(batch.action - space.start, space.n)
        q = (taken[None] * judge(critics, batch.obs)).sum(axis=-1)
        return regression(q, target, batch.weight)

    def actor_loss(
        self, actor: Network, critics: Critics, alpha: Float[Array, ""], obs: Obs, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        """Line 6: J_π(φ) = E[Σ_a π(a|s) (α log π(a|s) − min_i Q_θi(s, a))], Eq. 12; and the entropy."""
        pi, q = self.policy(actor, obs), judge(critics, obs).min(axis=0)
        entropy = pi.entropy()
        return -(alpha * entropy + (pi.probs * q).sum(axis=-1)).mean(), entropy

    def aim(self, obs: Obs, space: Discrete) -> Float[Array, "..."]:
        """Line 7: H̄, a part of the logarithm of the number of legal actions."""
        mask = action_mask(obs)
        legal = jnp.asarray(space.n) if mask is None else mask.sum(axis=-1)
        return self.entropy_fraction * jnp.log(legal.astype(jnp.float32))
