"""Advantage actor-critic, synchronous."""

from typing import Any, Literal

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from fathom.algos.base import Metrics, require, require_fraction, require_positive
from fathom.algos.normalisation import Normaliser
from fathom.algos.policy.common import (
    ActorCritic,
    PolicyGradient,
    State,
    require_fits,
    require_not_negative,
)
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.ops import optim, policy, returns, schedules, statistics


class Steps(eqx.Module):
    """A rollout as the losses see it, normalised where that is wanted; every leaf is [time, env, ...]."""

    obs: Obs
    action: Array  # the policy's own
    reward: Float[Array, "..."]
    terminated: Bool[Array, "..."]
    truncated: Bool[Array, "..."]
    final_obs: Obs  # s_{t+1} as it was before any reset


class A2C(PolicyGradient):
    """Advantage actor-critic: A3C's rule, its workers in step with one another.

    Mnih et al. 2016, arXiv:1602.01783, Algorithm S3, with the threads' gradients taken together:

    1. repeat
    2.   in each of N environments act by π(a|s; θ) for t_max steps (the loop does, through `act`)
    3.   R = 0 where the last state is terminal, else V(s; θ_v)
    4.   for each step, backwards: R ← r + γR
    5.     dθ ← dθ + ∇ log π(a|s; θ)·(R − V(s; θ_v)) + β ∇ H(π(s; θ))           (Section 4)
    6.     dθ_v ← dθ_v + ∂(R − V(s; θ_v))²/∂θ_v
    7.   one step of RMSProp with dθ and dθ_v

    Switches: `gae_lambda` below 1 takes the generalised advantage estimate for R − V of lines 3 and 4
    (Schulman et al. 2016), whose λ = 1 is the rule above; `adam` for RMSProp. Deviations: gradients are means
    over the N·t_max steps, not sums, and clipped by their global norm; actor and critic share no weights. An
    episode that is truncated goes on, in line 3, with the value of its last observation.
    """

    learning_rate: float = 7e-4  # RMSProp's step size η; 1e-4 to 1e-2
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    gae_lambda: float = 1.0  # λ of the advantage estimate; 1 is the paper's n-step return, 0.9 to 1
    value_coef: float = 0.5  # weight of the value loss; 0.25 to 1
    entropy_coef: float = 0.0  # β, weight of the entropy bonus; 0 to 0.02, in the paper 0.01
    max_grad_norm: float = 0.5  # gradients are scaled down to this global norm
    rms_decay: float = 0.99  # α of RMSProp: how long squared gradients are remembered
    eps: float = 1e-5  # ε of RMSProp, added under the root (of Adam: to the root)
    num_envs: int = 8  # N, environments side by side; the paper's number of threads is 16
    num_steps: int = 5  # t_max, steps of each environment between updates; 5 to 64
    hidden: tuple[int, ...] = (64, 64)  # units of the hidden layers of actor and critic
    activation: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"  # of the hidden layers
    log_std: float = eqx.field(default=0.0, static=True)  # initial log deviation of Gaussians; −2 to 0
    std: Literal["global", "state", "gsde"] = "global"  # σ: a number, of the state, or noise matrices (gSDE)
    sde_steps: int = 16  # steps for which gSDE keeps a noise matrix; 4 to 64
    adam: bool = False  # Adam in place of RMSProp
    anneal_lr: bool = False  # η falls linearly to 0 over the run, as in the paper
    normalize_advantage: bool = False  # advantages to mean 0 and deviation 1 in each rollout
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and spaces that the policy cannot take."""
        require_positive(self, "learning_rate", "max_grad_norm", "eps")
        require_fraction(self, "gae_lambda", "rms_decay")
        require_not_negative(self, "value_coef", "entropy_coef")
        require_fits(self, spec)
        require_positive(self, "sde_steps")
        require(
            not self.normalize_advantage or self.num_envs * self.num_steps >= 2,
            "a rollout of one step (num_envs 1 × num_steps 1) has one advantage, which is 0 when normalised: "
            "nothing is learnt. Raise num_envs or num_steps, or turn normalize_advantage off.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights; output gains 0.01 for the policy and 1 for the value."""
        params = ActorCritic.init(spec, self.hidden, self.activation, self.log_std, key, self.std)
        return State(params, optim.start(self.optimizer(), params), Normaliser.init(self, spec))

    def optimizer(self) -> optax.GradientTransformation:
        """The direction of line 7 after clipping; the step size, which may be annealed, comes in `update`."""
        if self.adam:
            return optim.clipped_adam(self.max_grad_norm, self.eps)
        return optim.clipped_rmsprop(self.max_grad_norm, self.rms_decay, self.eps)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The noise matrices of gSDE; nothing without."""
        return state.params.start_noise(num_envs)

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 2: a ∼ π(·|s; θ); the distribution's mode where not exploring."""
        obs = state.normaliser.normalize(obs, self.norm_clip)
        action, extras, memory = state.params.explore(obs, (), memory, key, explore, self.sde_steps)
        return action, memory, extras

    def update(
        self, state: State, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics]:
        """Lines 3 to 7, then the statistics of the normalisers."""
        steps, after = self.steps(state.normaliser, rollout)
        grads, metrics = self.gradients(state.params, steps)  # lines 3 to 6
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
        params, opt_state, norm = optim.descend(  # line 7
            self.optimizer(), state.params, grads, state.opt_state, step_size
        )
        metrics |= {"grad_norm": Metric.of(norm), "learning_rate": Metric.of(step_size)}
        return State(params, opt_state, after), metrics

    def steps(self, normaliser: Normaliser, rollout: Rollout) -> tuple[Steps, Normaliser]:
        """The rollout normalised as it was when it was acted on, and the statistics for the next one."""
        after = normaliser.follow(rollout, self.gamma)
        reward = after.scale(rollout.reward, self.norm_clip)
        obs, final_obs = (normaliser.normalize(x, self.norm_clip) for x in (rollout.obs, rollout.final_obs))
        action = rollout.extras["action"]
        return Steps(obs, action, reward, rollout.terminated, rollout.truncated, final_obs), after

    def gradients(self, params: ActorCritic, steps: Steps) -> tuple[ActorCritic, Metrics]:
        """Lines 3 to 6: −dθ and −dθ_v, by the mean over the steps, and what was measured on the way."""
        value, final_value = params.values(steps.obs), params.values(steps.final_obs)
        advantage = returns.gae(
            steps.reward, steps.terminated, steps.truncated, value, final_value, self.gamma, self.gae_lambda
        )
        target = advantage + value  # R, where λ = 1
        grads, metrics = jax.grad(self.loss, has_aux=True)(params, steps, advantage, target)
        metrics["explained_variance"] = Metric.of(statistics.explained_variance(value, target))
        return grads, metrics

    def loss(
        self,
        params: ActorCritic,
        steps: Steps,
        advantage: Float[Array, "time env"],
        target: Float[Array, "time env"],
    ) -> tuple[Float[Array, ""], Metrics]:
        """Lines 5 and 6: the mean of −log π(a|s)·Â + c_v (R − V(s))² − β H(π(s))."""
        pi = params.policy(steps.obs)
        if self.normalize_advantage:
            advantage = policy.normalize_advantages(advantage)
        policy_loss = policy.reinforce_loss(pi.log_prob(steps.action), advantage).mean()
        value_loss = policy.value_loss(params.values(steps.obs), target).mean()
        entropy = pi.entropy().mean()
        total = policy_loss + self.value_coef * value_loss - self.entropy_coef * entropy
        metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        return total, {name: Metric.of(value) for name, value in metrics.items()}
