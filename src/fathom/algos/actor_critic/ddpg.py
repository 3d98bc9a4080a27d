"""Deep Deterministic Policy Gradient."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from fathom.algos.actor_critic.common import require_finite_box, uniform_at_first
from fathom.algos.actor_critic.deterministic import Deterministic, OptState, Params, State, policy
from fathom.algos.base import Metrics, require, require_fraction, require_positive
from fathom.core.spaces import flat_size
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.heads import to_env
from fathom.ops import exploration, schedules


class DDPG(Deterministic):
    """Deep Deterministic Policy Gradient.

    Lillicrap et al. 2016, arXiv:1509.02971, Algorithm 1:

    1. initialise critic Q(s, a|θ^Q) and actor μ(s|θ^μ); targets Q', μ' with equal weights; an empty replay R
    2. for each episode: start a random process N
    3.   for each step: a_t = μ(s_t|θ^μ) + N_t
    4.     execute it, store (s_t, a_t, r_t, s_{t+1}) in R                            (the loop does)
    5.     draw a minibatch of N transitions from R                                   (the loop does)
    6.     y = r + γ Q'(s', μ'(s'|θ^μ')|θ^Q')
    7.     update the critic by minimising N⁻¹ Σ (y − Q(s, a|θ^Q))²
    8.     update the actor by the gradient N⁻¹ Σ ∇_a Q(s, a|θ^Q)|a=μ(s) ∇_θ^μ μ(s|θ^μ)
    9.     θ^Q' ← τ θ^Q + (1 − τ) θ^Q', θ^μ' ← τ θ^μ + (1 − τ) θ^μ'

    The process N is one of Ornstein and Uhlenbeck, whose state is the policy's memory and starts at 0 with
    each episode; or independent normals (`process`). Noise is in units of the policy's own [−1, 1], which is
    scaled to the box of actions, and what leaves the box is cut. Switch: `n_step` sums n rewards before it
    bootstraps. Deviations: actions are uniform until the first gradient step; no weight decay and no batch
    normalisation; the action enters at the critic's first layer; a truncated episode bootstraps.
    """

    learning_rate: float = 1e-3  # Adam's step size for the critic; 1e-4 to 1e-3
    actor_learning_rate: float = 1e-4  # Adam's step size for the actor; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    tau: float = 0.001  # weights of the targets move by this part of the way; 0.001 to 0.05
    process: Literal["ou", "gaussian"] = "ou"  # N: noise that drifts back to 0, or anew at each step
    noise: float = 0.2  # σ of what is added to N at each step, in [−1, 1] units; 0.1 to 0.3
    theta: float = 0.15  # θ of the drifting noise: the part of it that is lost at each step
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 1_000_000  # |R|, transitions kept, of all environments together
    batch_size: int = 64  # N, transitions in a minibatch; 64 to 256
    learning_starts: int = 1_000  # transitions collected, by uniform actions, before the first update
    train_every: int = 1  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    anneal_lr: bool = False  # both step sizes fall linearly to 0 over the run
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this
    hidden: tuple[int, ...] = (256, 256)  # units of the hidden layers of actor and critic
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are no finite box."""
        require_finite_box("DDPG", spec)
        self.check_shared(spec)
        require_positive(self, "actor_learning_rate")
        require_fraction(self, "theta")
        require(self.noise >= 0, f"noise is {self.noise}; it must not be negative.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        return self.begin(spec, key, critics=1)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Line 2: the state of the process in each environment, 0; nothing where it has none."""
        return jnp.zeros((num_envs, flat_size(state.action_space))) if self.process == "ou" else ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3: μ(s) + N, uniform before learning; without noise where not exploring."""
        action = policy(state.params.actor, state.normaliser.normalize(obs, self.norm_clip))
        if explore:
            noise_key, uniform_key = jax.random.split(key)
            if self.process == "ou":
                noise = memory = exploration.ornstein_uhlenbeck(noise_key, memory, self.theta, self.noise)
            else:
                noise = self.noise * jax.random.normal(noise_key, action.shape)
            action = uniform_at_first(lambda _: action + noise, uniform_key, action.shape, clock)
        return to_env(state.action_space, action), memory, {}

    def update(
        self, state: State, batch: Batch, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics, Array | None]:
        """Lines 6 to 9 on one minibatch."""
        step_size = self.step_size(clock)
        batch = self.normalized(state.normaliser, batch)
        target = self.td_target(state, batch, policy(state.target.actor, batch.next_obs))  # line 6
        critics, critics_opt, metrics, priorities = self.learn_critics(state, batch, target, step_size)
        actor_step = schedules.annealed(self.actor_learning_rate, self.anneal_lr, clock.progress)
        actor, actor_opt, trail, loss = self.learn_actor(state, critics, batch.obs, actor_step)  # 8 and 9
        metrics["actor_loss"] = loss
        metrics["learning_rate"] = Metric.of(step_size)
        params, opt_state = Params(actor, critics), OptState(actor_opt, critics_opt)
        return State(params, trail, opt_state, state.normaliser, state.action_space), metrics, priorities
