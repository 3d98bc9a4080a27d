"""Proximal Policy Optimization."""

from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from fathom.algos.base import Metrics, require, require_fraction, require_positive
from fathom.algos.normalisation import Normaliser
from fathom.algos.policy.common import (
    ActorCritic,
    PolicyGradient,
    State,
    require_fits,
    require_minibatches,
    require_not_negative,
    sequences,
    shuffled,
)
from fathom.core.keys import named
from fathom.core.spaces import Box
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.ops import optim, policy, returns, schedules, statistics
from fathom.ops.distributions import DiagGaussian


class Data(eqx.Module):
    """What the losses are computed from; every leaf is [minibatch, ...], with memory [time, env, ...]."""

    obs: Obs
    action: Array
    log_prob: Float[Array, "..."]  # log π_old(a|s)
    value: Float[Array, "..."]  # V_old(s)
    advantage: Float[Array, "..."]  # Â
    target: Float[Array, "..."]  # V_targ
    over: Bool[Array, "time env"] | None = None  # whether an episode ended here, where that is forgotten
    old: Any = None  # π_old(·|s), where KL(π_old ‖ π) is penalised
    shift: Float[Array, "... component"] | None = None  # z of RPO, added to the mean of π


class PPO(PolicyGradient):
    """Proximal Policy Optimization with the clipped objective.

    Schulman et al. 2017, arXiv:1707.06347, Algorithm 1 (actor-critic style):

    1. for iteration = 1, 2, … do
    2.   for actor = 1, …, N do: run π_old for T steps (the loop does, through `act`)
    3.   compute advantage estimates Â_1, …, Â_T                                    (Eq. 11, GAE)
    4.   optimise the surrogate L with K epochs and minibatches of size M ≤ N·T     (Eq. 9)
    5.   θ_old ← θ

    Deviations: actor and critic share no weights; gradients are clipped by their global norm; advantages are
    normalised by minibatch; minibatches are made of whole time rows wherever that divides evenly, which
    learns as well as shuffling single steps and costs no sort. A truncated episode bootstraps from the value
    of its last observation.

    With `memory` actor and critic have a recurrent cell each, which forgets where an episode ends.
    Minibatches are then sequences of T steps of whole environments, from the memories that acting had, and
    gradients flow through all steps (Ni et al. 2022, arXiv:2110.05038). `target_kl` passes over what is left
    of an update once the policy has moved so far; `adaptive_kl` penalises KL(π_old ‖ π) too, by a weight β
    that is doubled or halved after an update that went too far or not far enough (section 4). `rpo_alpha`
    trains the policy as if its mean had been shifted a little at random, so that its deviation cannot
    collapse (RPO: Rahman & Xue 2022, arXiv:2212.07536, Algorithm 1). `std` "gsde" explores by noise matrices
    that are kept for `sde_steps` steps (Raffin et al. 2022, arXiv:2005.05719).
    """

    learning_rate: float = 3e-4  # Adam's step size α; 1e-4 to 1e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    gae_lambda: float = 0.95  # λ of the advantage estimate, Eq. 11; 0.8 to 1
    clip: float = 0.2  # ε of L^CLIP, Eq. 7; 0.1 to 0.3
    value_coef: float = 0.5  # c_1, weight of the value loss in Eq. 9; 0.25 to 1
    entropy_coef: float = 0.0  # c_2, weight of the entropy bonus in Eq. 9; 0 to 0.02
    max_grad_norm: float = 0.5  # gradients are scaled down to this global norm
    adam_eps: float = 1e-5  # Adam's ε, added to the root of the second moment
    num_envs: int = 8  # N, environments side by side
    num_steps: int = 256  # T, steps of each environment between updates
    epochs: int = 10  # K, passes over each rollout; 1 to 20
    minibatches: int = 32  # minibatches in an epoch, so M = N·T / minibatches
    hidden: tuple[int, ...] = (64, 64)  # units of the hidden layers of actor and critic
    activation: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"  # of the hidden layers
    memory: Literal["none", "gru", "lstm"] = "none"  # recurrent cell after the hidden layers
    memory_units: int = 64  # units of the cell; 32 to 256
    log_std: float = eqx.field(default=0.0, static=True)  # initial log deviation of Gaussians; −1 to 0
    std: Literal["global", "state", "gsde"] = "global"  # σ: a number, of the state, or noise matrices (gSDE)
    sde_steps: int = 16  # steps for which gSDE keeps a noise matrix; 4 to 64
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    anneal_clip: bool = False  # ε falls linearly to 0 over the run (as the paper does for Atari)
    value_clip: float | None = None  # clip the value's change at this ε too; none in the paper
    target_kl: float | None = None  # KL(π_old ‖ π) at which an update stops short; 0.01 to 0.05
    adaptive_kl: float | None = None  # d_targ of the adaptive KL penalty, Eq. 8; 0.003 to 0.03
    kl_coef: float = eqx.field(default=1.0, static=True)  # β of that penalty at first; it adapts quickly
    rpo_alpha: float | None = None  # α of RPO: shifts of Gaussian means lie in ± this; 0.01 to 0.5
    normalize_advantage: bool = True  # advantages to mean 0 and deviation 1 in each minibatch
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and minibatches larger than the rollout."""
        require_positive(self, "learning_rate", "clip", "value_clip", "max_grad_norm", "adam_eps")
        require_positive(self, "epochs", "memory_units", "target_kl", "adaptive_kl", "kl_coef", "rpo_alpha")
        require_positive(self, "sde_steps")
        require_fraction(self, "gae_lambda")
        require_not_negative(self, "value_coef", "entropy_coef")
        require_fits(self, spec)
        require_minibatches(self, "minibatches")
        require(
            not self.normalize_advantage or -(-self.num_envs * self.num_steps // self.minibatches) >= 2,
            f"minibatches is {self.minibatches}, which leaves one step to a minibatch: its normalised "
            "advantage is 0 and nothing is learnt. Lower minibatches, or turn normalize_advantage off.",
        )
        require(
            self.rpo_alpha is None or isinstance(spec.action_space, Box),
            f"rpo_alpha is {self.rpo_alpha}, which shifts the means of Gaussians, and actions of "
            f"{spec.action_space!r} are drawn from none; leave it out.",
        )
        require(
            self.memory == "none" or self.minibatches <= self.num_envs,
            f"minibatches is {self.minibatches}, more than num_envs {self.num_envs}; with memory a minibatch "
            "is made of whole environments. Lower minibatches or raise num_envs.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights; output gains 0.01 for the policy and 1 for the value."""
        net = (self.hidden, self.activation, self.log_std)
        params = ActorCritic.init(spec, *net, key, self.std, self.memory, self.memory_units)
        beta = None if self.adaptive_kl is None else jnp.asarray(self.kl_coef)
        return State(params, optim.start(self.optimizer(), params), Normaliser.init(self, spec), beta)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam's direction after clipping; the step size is applied in `update`, where it may be annealed."""
        return optim.clipped_adam(self.max_grad_norm, self.adam_eps)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The memories of actor and critic, and the noise matrices of gSDE; () for each that is not."""
        return state.params.start(num_envs), state.params.start_noise(num_envs)

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 2: a ∼ π_old(·|s), with log π_old(a|s); the distribution's mode where not exploring."""
        obs = state.normaliser.normalize(obs, self.norm_clip)
        memory, noise = memory
        memory = state.params.remember(obs, memory)
        action, extras, noise = state.params.explore(obs, memory, noise, key, explore, self.sde_steps)
        return action, (memory, noise), extras

    def update(
        self, state: State, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics]:
        """Lines 3 to 5, then the statistics of the normalisers, so that a whole update sees the same ones."""
        # Line 3
        data, start, after = self.estimates(state, rollout)

        # Line 4
        def minibatch_step(carry: tuple, batch: tuple[Data, PyTree]) -> tuple[tuple, Metrics]:
            params, opt_state, going = carry
            (_, metrics), grads = jax.value_and_grad(self.loss, has_aux=True)(
                params, *batch, clock, state.kl_coef
            )
            step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
            moved, opt_moved, norm = optim.descend(self.optimizer(), params, grads, opt_state, step_size)
            metrics["grad_norm"] = Metric.of(norm)
            if self.target_kl is None:
                return (moved, opt_moved, going), metrics
            going = going & (metrics["approx_kl"].sum <= self.target_kl)
            params, opt_state = jax.tree.map(
                lambda new, old: jnp.where(going, new, old), (moved, opt_moved), (params, opt_state)
            )
            return (params, opt_state, going), metrics | {"stopped": Metric.of(~going)}

        def epoch(carry: tuple, epoch_key: Array) -> tuple[tuple, Metrics]:
            drawn = replace(data, shift=self.shifts(data.action, epoch_key))
            if self.memory == "none":
                batches = shuffled(drawn, self.minibatches, epoch_key), ()
            else:
                batches = sequences(drawn, start, self.minibatches, epoch_key)
            return jax.lax.scan(minibatch_step, carry, batches)

        # Line 5 is the assignment of the new parameters to the state that `act` reads.
        carry = (state.params, state.opt_state, jnp.ones((), jnp.bool_))
        (params, opt_state, _), metrics = jax.lax.scan(epoch, carry, jax.random.split(key, self.epochs))
        metrics = jax.tree.map(jnp.sum, metrics)
        metrics["explained_variance"] = Metric.of(statistics.explained_variance(data.value, data.target))
        metrics["learning_rate"] = Metric.of(
            schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
        )
        beta = state.kl_coef
        if beta is not None and data.old is not None and self.adaptive_kl is not None:
            kl = data.old.kl(params.policy(data.obs, params.memories(data.obs, start, data.over))).mean()
            metrics |= {"kl": Metric.of(kl), "kl_coef": Metric.of(beta)}
            beta = policy.adapted_kl_coef(beta, kl, self.adaptive_kl)

        return State(params, opt_state, after, beta), metrics

    def estimates(self, state: State, rollout: Rollout) -> tuple[Data, PyTree, Normaliser]:
        """Line 3: what the losses need of a rollout [time, env, ...], the memories with which it began, and
        the normaliser as it is afterwards.
        """
        obs = state.normaliser.normalize(rollout.obs, self.norm_clip)
        final_obs = state.normaliser.normalize(rollout.final_obs, self.norm_clip)
        after = state.normaliser.follow(rollout, self.gamma)
        reward = after.scale(rollout.reward, self.norm_clip)

        over = None if self.memory == "none" else rollout.terminated | rollout.truncated
        start, _ = rollout.memory
        memory = state.params.memories(obs, start, over)
        value = state.params.values(obs, memory)
        final_value = state.params.values(final_obs, state.params.remember(final_obs, memory))
        advantage = returns.gae(
            reward, rollout.terminated, rollout.truncated, value, final_value, self.gamma, self.gae_lambda
        )
        action, log_prob = rollout.extras["action"], rollout.extras["log_prob"]
        old = None if state.kl_coef is None else state.params.policy(obs, memory)
        return Data(obs, action, log_prob, value, advantage, advantage + value, over, old), start, after

    def ratios(
        self, before: State, after: State, rollout: Rollout, clock: Clock
    ) -> tuple[Float[Array, "time env"], Float[Array, "time env"], Float[Array, ""]]:
        """For people to look at: r = π(a|s) / π_old(a|s) of each step once the update is made, Â, and ε.

        `rollout` is what `before` made and `after` learnt from. Â is normalised over the whole rollout where
        the loss does so by minibatch.
        """
        data, start, _ = self.estimates(before, rollout)
        pi = after.params.policy(data.obs, after.params.memories(data.obs, start, data.over))
        ratio = policy.importance_ratio(pi.log_prob(data.action), data.log_prob)
        advantage = data.advantage
        if self.normalize_advantage:
            advantage = policy.normalize_advantages(advantage)
        return ratio, advantage, schedules.annealed(self.clip, self.anneal_clip, clock.progress)

    def shifts(self, action: Array, key: Key[Array, ""]) -> Array | None:
        """RPO's z ∼ U(−α, α) for each component of each action."""
        if self.rpo_alpha is None:
            return None
        return self.rpo_alpha * jax.random.uniform(named(key, "rpo"), action.shape, minval=-1.0)

    def loss(
        self, params: ActorCritic, batch: Data, start: PyTree, clock: Clock, beta: Any = None
    ) -> tuple[Float[Array, ""], Metrics]:
        """−L^{CLIP+VF+S} of Eq. 9 on one minibatch, whose sequences begin with the memories `start`.

        With `beta`, the penalty of Eq. 8 too.
        """
        memory = params.memories(batch.obs, start, batch.over)
        pi = params.policy(batch.obs, memory)
        robust = pi if batch.shift is None else DiagGaussian(pi.mean + batch.shift, pi.log_std)
        log_prob = robust.log_prob(batch.action)
        ratio = policy.importance_ratio(log_prob, batch.log_prob)
        clip = schedules.annealed(self.clip, self.anneal_clip, clock.progress)
        policy_loss = self.policy_loss(ratio, batch.advantage, clip)
        value_loss = self.value_loss(params.values(batch.obs, memory), batch)
        entropy = pi.entropy().mean()
        total = policy_loss + self.value_coef * value_loss - self.entropy_coef * entropy
        if beta is not None:
            total += beta * batch.old.kl(pi).mean()
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": policy.approx_kl(pi.log_prob(batch.action) - batch.log_prob),
            "clip_fraction": policy.clip_fraction(ratio, clip),
        }
        return total, {name: Metric.of(value) for name, value in metrics.items()}

    def policy_loss(
        self, ratio: Float[Array, "..."], advantage: Float[Array, "..."], clip: Float[Array, ""]
    ) -> Float[Array, ""]:
        """−L^CLIP of Eq. 7."""
        if self.normalize_advantage:
            advantage = policy.normalize_advantages(advantage)
        return -policy.clipped_surrogate(ratio, advantage, clip).mean()

    def value_loss(self, value: Array, batch: Data) -> Array:
        """L^VF of Eq. 9, (V − V_targ)², by the mean; with `value_clip` the larger of this and the clipped."""
        if self.value_clip is None:
            return policy.value_loss(value, batch.target).mean()
        return policy.clipped_value_loss(value, batch.value, batch.target, self.value_clip).mean()
