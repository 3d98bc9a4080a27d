"""Twin Delayed Deep Deterministic policy gradient."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.actor_critic.common import require_finite_box, uniform_at_first
from fathom.algos.actor_critic.deterministic import Deterministic, OptState, Params, State, policy
from fathom.algos.base import Metrics, require, require_positive
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.heads import to_env


class TD3(Deterministic):
    """Twin Delayed DDPG: clipped double Q-learning, delayed policy updates, target policy smoothing.

    Fujimoto et al. 2018, arXiv:1802.09477, Algorithm 1:

    1. initialise critics θ_1, θ_2, actor φ; targets θ'_i ← θ_i, φ' ← φ; an empty replay B
    2. for t = 1, 2, … do
    3.   a = π_φ(s) + ε, ε ∼ N(0, σ); store (s, a, r, s') in B                  (the loop stores)
    4.   draw a minibatch of N transitions from B                               (the loop does)
    5.   ã ← π_φ'(s') + ε, ε ∼ clip(N(0, σ̃), −c, c)
    6.   y ← r + γ min_i Q_θ'i(s', ã)
    7.   θ_i ← argmin of N⁻¹ Σ (y − Q_θi(s, a))², by one gradient step
    8.   if t mod d then
    9.     φ by the gradient N⁻¹ Σ ∇_a Q_θ1(s, a)|a=π_φ(s) ∇_φ π_φ(s)
    10.    θ'_i ← τ θ_i + (1 − τ) θ'_i, φ' ← τ φ + (1 − τ) φ'

    All noise is in units of the policy's own [−1, 1], which is scaled to the box of actions; every item of a
    batch and every component has its own, and what leaves the box is cut. Switch: `n_step` sums n rewards
    before it bootstraps. Deviations: t of line 8 counts gradient steps; a truncated episode bootstraps.
    """

    learning_rate: float = 1e-3  # Adam's step size for actor and critics; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    tau: float = 0.005  # θ' ← τ θ + (1 − τ) θ' with each step of the actor; 0.005 to 0.05
    noise: float = 0.1  # σ of the exploring actions, in [−1, 1] units; 0.05 to 0.3
    target_noise: float = 0.2  # σ̃ of the smoothed target actions, in [−1, 1] units
    target_noise_clip: float = 0.5  # c, where that noise is clipped
    policy_delay: int = 2  # d, gradient steps of the critics to one of the actor; 1 to 3
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 1_000_000  # |B|, transitions kept, of all environments together
    batch_size: int = 256  # N, transitions in a minibatch; 64 to 512
    learning_starts: int = 1_000  # transitions collected, by uniform actions, before the first update
    train_every: int = 1  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    anneal_lr: bool = False  # the step size falls linearly to 0 over the run
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this
    hidden: tuple[int, ...] = (256, 256)  # units of the hidden layers of actor and critics
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are no finite box."""
        require_finite_box("TD3", spec)
        self.check_shared(spec)
        require_positive(self, "policy_delay")
        for name in ("noise", "target_noise", "target_noise_clip"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative.")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Line 1."""
        return self.begin(spec, key, critics=2)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: the noise of one step does not depend on that of another."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 3: π_φ(s) + ε, uniform before learning; without noise where not exploring."""
        action = policy(state.params.actor, state.normaliser.normalize(obs, self.norm_clip))
        if explore:
            noisy = lambda key: action + self.noise * jax.random.normal(key, action.shape)  # noqa: E731
            action = uniform_at_first(noisy, key, action.shape, clock)
        return to_env(state.action_space, action), memory, {}

    def update(
        self, state: State, batch: Batch, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics, Array | None]:
        """Lines 5 to 10 on one minibatch."""
        params, step_size = state.params, self.step_size(clock)
        batch = self.normalized(state.normaliser, batch)
        next_action = self.smoothed(policy(state.target.actor, batch.next_obs), key)  # line 5
        target = self.td_target(state, batch, next_action)  # line 6
        critics, critics_opt, metrics, priorities = self.learn_critics(state, batch, target, step_size)

        due = (clock.gradient_step + 1) % self.policy_delay == 0  # line 8
        actor, actor_opt, trail, loss = jax.lax.cond(  # lines 9 and 10
            due,
            lambda: self.learn_actor(state, critics, batch.obs, step_size),
            lambda: (params.actor, state.opt_state.actor, state.target, Metric.none()),
        )
        metrics["actor_loss"] = loss
        metrics["learning_rate"] = Metric.of(step_size)
        params, opt_state = Params(actor, critics), OptState(actor_opt, critics_opt)
        return State(params, trail, opt_state, state.normaliser, state.action_space), metrics, priorities

    def smoothed(
        self, action: Float[Array, "batch component"], key: Key[Array, ""]
    ) -> Float[Array, "batch component"]:
        """Line 5: the action with clipped noise, in [−1, 1]; Section 5.3."""
        noise = self.target_noise * jax.random.normal(key, action.shape)
        clipped = jnp.clip(noise, -self.target_noise_clip, self.target_noise_clip)
        return jnp.clip(action + clipped, -1.0, 1.0)
