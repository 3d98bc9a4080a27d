"""Trust Region Policy Optimization."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import Metrics, require, require_fraction, require_positive
from fathom.algos.normalisation import Normaliser
from fathom.algos.policy.common import (
    ActorCritic,
    PolicyGradient,
    State,
    Targets,
    fit_values,
    require_fits,
    require_minibatches,
)
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.ops import curvature, optim, policy, returns, schedules, statistics


class Data(eqx.Module):
    """What the policy is improved on; every leaf is [time, env, ...]."""

    obs: Obs
    action: Array
    log_prob: Float[Array, "..."]  # log π_old(a|s)
    advantage: Float[Array, "..."]  # Â


class TRPO(PolicyGradient):
    """Trust Region Policy Optimization.

    Schulman et al. 2015, arXiv:1502.05477, Algorithm 1 as Sections 5, 6 and Appendix C make it practical:

    1. for i = 0, 1, 2, … do
    2.   run π_old = π(·; θ_i) for T steps in each of N environments (the loop does, through `act`)
    3.   estimate the advantages Â                                      (GAE; arXiv:1506.02438, Eq. 16)
    4.   L(θ) = mean of π(a|s; θ)/π_old(a|s)·Â, to be maximised subject to mean KL(π_old ‖ π(·; θ)) ≤ δ
    5.   x ≈ H⁻¹ g by conjugate gradients: g = ∇L, H = ∇² of the mean KL, at θ_i
    6.   full step √(2δ / xᵀHx)·x
    7.   θ_{i+1} ← the first of the full step, its fraction b, b², … that improves L within the constraint,
         or θ_i if none of them does
    8.   fit the value function to Â + V

    H is never written down: products with it are derivatives of the KL's gradient along a vector, damped by a
    multiple of the vector. Deviations: GAE in place of Monte Carlo returns; the value is a network apart,
    fitted by `value_epochs` passes of Adam; advantages are normalised over the rollout, of which only the
    mean taken away changes the step. A truncated episode bootstraps from the value of its last observation.
    """

    max_kl: float = 0.01  # δ, the bound on the mean KL divergence of a step; 0.001 to 0.05
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    gae_lambda: float = 0.95  # λ of the advantage estimate; 0.9 to 1
    damping: float = 0.1  # multiple of the vector added to each product with H; 0.001 to 0.1
    cg_iterations: int = 10  # steps of conjugate gradients; 10 to 20
    line_steps: int = 10  # lengths tried before the policy is left as it is
    line_shrink: float = 0.8  # b, the ratio of one length to the one before; 0.5 to 0.8
    learning_rate: float = 1e-3  # Adam's step size for the value; 3e-4 to 3e-3
    max_grad_norm: float = 0.5  # the value's gradients are scaled down to this global norm
    num_envs: int = 8  # N, environments side by side
    num_steps: int = 256  # T, steps of each environment between updates
    value_epochs: int = 10  # passes over each rollout to fit the value; 5 to 25
    value_minibatches: int = 16  # minibatches in a pass
    hidden: tuple[int, ...] = (64, 64)  # units of the hidden layers of actor and critic
    activation: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"  # of the hidden layers
    log_std: float = eqx.field(default=0.0, static=True)  # initial log deviation of Gaussians; −1 to 0
    std: Literal["global", "state", "gsde"] = "global"  # σ: a number, of the state, or noise matrices (gSDE)
    sde_steps: int = 16  # steps for which gSDE keeps a noise matrix; 4 to 64
    anneal_lr: bool = False  # the value's step size falls linearly to 0 over the run
    normalize_advantage: bool = True  # advantages to mean 0 and deviation 1 in each rollout
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and spaces that the policy cannot take."""
        require_positive(self, "max_kl", "learning_rate", "max_grad_norm", "line_shrink")
        require_positive(self, "cg_iterations", "line_steps", "value_epochs")
        require_fraction(self, "gae_lambda", "line_shrink")
        require(self.damping >= 0, f"damping is {self.damping}; it must not be negative.")
        require_fits(self, spec)
        require_positive(self, "sde_steps")
        require_minibatches(self, "value_minibatches")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights; output gains 0.01 for the policy and 1 for the value."""
        params = ActorCritic.init(spec, self.hidden, self.activation, self.log_std, key, self.std)
        _, critic = params.parts()
        return State(params, optim.start(self.optimizer(), critic), Normaliser.init(self, spec))

    def optimizer(self) -> optax.GradientTransformation:
        """Of the value alone: Adam's direction after clipping."""
        return optim.clipped_adam(self.max_grad_norm)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The noise matrices of gSDE; nothing without."""
        return state.params.start_noise(num_envs)

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 2: a ∼ π_old(·|s), with log π_old(a|s); the distribution's mode where not exploring."""
        obs = state.normaliser.normalize(obs, self.norm_clip)
        action, extras, memory = state.params.explore(obs, (), memory, key, explore, self.sde_steps)
        return action, memory, extras

    def update(
        self, state: State, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics]:
        """Lines 3 to 8, then the statistics of the normalisers."""
        obs = state.normaliser.normalize(rollout.obs, self.norm_clip)
        final_obs = state.normaliser.normalize(rollout.final_obs, self.norm_clip)
        after = state.normaliser.follow(rollout, self.gamma)
        reward = after.scale(rollout.reward, self.norm_clip)

        # Line 3
        value, final_value = state.params.values(obs), state.params.values(final_obs)
        advantage = returns.gae(
            reward, rollout.terminated, rollout.truncated, value, final_value, self.gamma, self.gae_lambda
        )
        target = advantage + value
        if self.normalize_advantage:
            advantage = policy.normalize_advantages(advantage)

        actor, critic = state.params.parts()
        data = Data(obs, rollout.extras["action"], rollout.extras["log_prob"], advantage)
        actor, metrics = self.improve(actor, data)  # lines 4 to 7

        # Line 8
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
        targets = Targets(target, jnp.ones_like(target), obs)
        epochs, minibatches = self.value_epochs, self.value_minibatches
        critic, opt_state, metrics["value_loss"] = fit_values(
            self.optimizer(), critic, state.opt_state, targets, step_size, epochs, minibatches, key
        )
        metrics["explained_variance"] = Metric.of(statistics.explained_variance(value, target))
        metrics["learning_rate"] = Metric.of(step_size)
        return State(actor.with_value(critic), opt_state, after), metrics

    def improve(self, actor: ActorCritic, data: Data) -> tuple[ActorCritic, Metrics]:
        """Lines 4 to 7: the policy after one step within the trust region, or exactly as it was."""
        theta, unravel = ravel_pytree(actor)
        old = actor.policy(data.obs)

        def surrogate(theta: Array) -> Array:
            ratio = policy.importance_ratio(
                unravel(theta).policy(data.obs).log_prob(data.action), data.log_prob
            )
            return (ratio * data.advantage).mean()

        def divergence(theta: Array) -> Array:
            return old.kl(unravel(theta).policy(data.obs)).mean()

        # Lines 5 and 6
        before, gradient = jax.value_and_grad(surrogate)(theta)
        product = curvature.hessian_product(divergence, theta, self.damping)
        x, _ = curvature.conjugate_gradient(product, gradient, self.cg_iterations)
        curved = jnp.vdot(x, product(x))
        full = (
            jnp.where(curved > 0.0, jnp.sqrt(2.0 * self.max_kl / jnp.where(curved > 0.0, curved, 1.0)), 0.0)
            * x
        )

        # Line 7
        def attempt(i: Array) -> tuple:
            fraction = jnp.asarray(self.line_shrink, jnp.float32) ** i.astype(jnp.float32)
            moved = theta + fraction * full
            gain, kl = surrogate(moved) - before, divergence(moved)
            return i + 1, moved, gain, kl, fraction, (gain > 0.0) & (kl <= self.max_kl)

        _, moved, gain, kl, fraction, accepted = jax.lax.while_loop(
            lambda carry: (carry[0] < self.line_steps) & ~carry[5],
            lambda carry: attempt(carry[0]),
            attempt(jnp.asarray(0, jnp.int32)),
        )
        nothing = lambda x: jnp.where(accepted, x, 0.0)  # noqa: E731
        metrics = {
            "policy_loss": -(before + nothing(gain)),
            "gain": nothing(gain),
            "kl": nothing(kl),
            "step_fraction": nothing(fraction),
            "accepted": accepted,
            "entropy": old.entropy(),
            "grad_norm": jnp.linalg.norm(gradient),
        }
        kept = jax.lax.select(accepted, moved, theta)
        return unravel(kept), {name: Metric.of(value) for name, value in metrics.items()}
