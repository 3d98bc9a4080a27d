"""REINFORCE, with and without a baseline."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from fathom.algos.base import Metrics, require_positive
from fathom.algos.normalisation import Normaliser
from fathom.algos.policy.common import (
    ActorCritic,
    PolicyGradient,
    Targets,
    fit_values,
    require_fits,
    require_minibatches,
    require_not_negative,
)
from fathom.core.spaces import zeros
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.ops import optim, policy, returns, schedules, statistics


class Steps(eqx.Module):
    """Steps of one or two rollouts; every leaf is [time, env, ...]."""

    obs: Obs  # as the environment gave it
    action: Array  # the policy's own
    log_prob: Float[Array, "..."]  # of the action, when it was taken
    reward: Float[Array, "..."]  # as the environment gave it
    open: Bool[Array, "..."]  # whether it is still to be learnt from


class State(eqx.Module):
    """All that REINFORCE carries from one update to the next."""

    params: ActorCritic  # without a value function where the baseline is none
    opt_state: tuple[optax.OptState, optax.OptState | None]  # of the policy, of the value
    normaliser: Normaliser
    waiting: Steps  # the last rollout: the open ones of its steps wait for their episode's end


class Reinforce(PolicyGradient):
    """REINFORCE: the policy gradient by returns of whole episodes.

    Williams 1992, Machine Learning 8, episodic; Sutton & Barto 2018, Sections 13.3 and 13.4:

    1. loop
    2.   act by π(·|s; θ) (the loop does, through `act`)
    3.   for each step of an episode that is over: G_t ← Σ_{k>t} γ^{k−t−1} R_k
    4.     δ ← G_t − v̂(s_t; w)            `baseline`: "none" δ = G_t, "normalized" (G_t − mean)/deviation
    5.     w ← w + α^w δ ∇v̂(s_t; w)
    6.     θ ← θ + α^θ δ ∇ log π(a_t|s_t; θ) (+ the gradient of β times the policy's entropy)

    Rollouts are of T steps and episodes are not. A step is learnt from once, in the update in which its
    episode ends: steps of episodes under way wait for one rollout more. Taking only what ends within its own
    rollout would leave out long episodes oftener than short ones. Steps that waited were made by the policy
    of one update before; their gradient is corrected for the action's probability by π(a|s; θ)/π_then(a|s) =
    ρ, which is 1 for all others, but not for the states met and the rewards earned: a bias of the order of
    one update's change. What an episode longer than T leaves behind is dropped, and counted: keep `num_steps`
    at or above the longest episode, and nothing is.

    An episode that is cut (truncated) goes on, in line 3, with v̂ of its last observation where there is a v̂.
    Else G_t is what was earned, which gives the gradient of the return up to the cut, without bias.

    Deviations: steps of many episodes are learnt from together, by the sum over them divided by N·T, with
    Adam, gradients clipped by their global norm; line 5 is `value_epochs` passes over minibatches; the factor
    γ^t of the book's update of θ is left out, as nearly everywhere: late steps would hardly count.
    """

    learning_rate: float = 3e-3  # α^θ, Adam's step size for the policy; 1e-3 to 1e-2
    value_learning_rate: float = 3e-3  # α^w, Adam's step size for the baseline v̂; 1e-3 to 1e-2
    gamma: float = 0.99  # discount factor γ; 0.9 to 1
    baseline: Literal["value", "normalized", "none"] = "value"  # what returns are measured from, line 4
    entropy_coef: float = 0.0  # β, weight of the entropy bonus; 0 to 0.02
    max_grad_norm: float = 0.5  # gradients are scaled down to this global norm
    num_envs: int = 8  # N, environments side by side
    num_steps: int = 512  # T, steps of each environment between updates; at least the longest episode
    value_epochs: int = 5  # passes over the steps to fit v̂ in an update; 1 to 20
    value_minibatches: int = 8  # minibatches in a pass
    hidden: tuple[int, ...] = (64, 64)  # units of the hidden layers of policy and baseline
    activation: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"  # of the hidden layers
    log_std: float = eqx.field(default=0.0, static=True)  # initial log deviation of Gaussians; −1 to 0
    std: Literal["global", "state"] = "global"  # σ of Gaussians: one number each, or a function of the state
    anneal_lr: bool = False  # both step sizes fall linearly to 0 over the run
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and spaces that the policy cannot take."""
        require_positive(self, "learning_rate", "value_learning_rate", "max_grad_norm", "value_epochs")
        require_not_negative(self, "entropy_coef")
        require_fits(self, spec)
        require_minibatches(self, "value_minibatches")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """Orthogonal weights; output gains 0.01 for the policy and 1 for the value. Nothing waits."""
        params = ActorCritic.init(spec, self.hidden, self.activation, self.log_std, key, self.std)
        actor, critic = params.parts()
        with_value = self.baseline == "value"
        starts = (
            optim.start(self.optimizer(), actor),
            optim.start(self.optimizer(), critic) if with_value else None,
        )
        lead = (self.num_steps, self.num_envs)
        obs = jax.tree.map(lambda x: jnp.broadcast_to(x, (*lead, *x.shape)), zeros(spec.obs_space))
        _, taken = jax.eval_shape(lambda: params.act(obs, key, explore=True))
        action, log_prob = (jnp.zeros(taken[k].shape, taken[k].dtype) for k in ("action", "log_prob"))
        waiting = Steps(obs, action, log_prob, jnp.zeros(lead), jnp.zeros(lead, jnp.bool_))
        return State(params if with_value else actor, starts, Normaliser.init(self, spec), waiting)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam's direction after clipping; the step sizes are applied in `update`."""
        return optim.clipped_adam(self.max_grad_norm)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: the policy is feed-forward."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 2: a ∼ π(·|s; θ); the distribution's mode where not exploring."""
        action, extras = state.params.act(state.normaliser.normalize(obs, self.norm_clip), key, explore)
        return action, memory, extras

    def restart(self, state: State) -> State:
        """The same, and no step waits for an end that will not come."""
        state = super().restart(state)
        return eqx.tree_at(lambda s: s.waiting.open, state, jnp.zeros_like(state.waiting.open))

    def update(
        self, state: State, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics]:
        """Lines 3 to 6, then the statistics of the normalisers."""
        after = state.normaliser.follow(rollout, self.gamma)
        steps, due, waiting = self.gather(state.waiting, rollout)
        reward = after.scale(steps.reward, self.norm_clip)
        obs = state.normaliser.normalize(steps.obs, self.norm_clip)
        actor, critic = state.params.parts()

        target = self.returns(reward, rollout, self.final_value(state, critic, rollout))  # line 3

        # Line 4
        advantage, metrics = target, {}
        if self.baseline == "normalized":
            advantage = policy.normalize_advantages(target, mask=due)
        elif self.baseline == "value":
            value = critic.values(obs)
            advantage = target - value
            metrics["explained_variance"] = Metric.of(statistics.explained_variance(value, target, due))

        # Line 5
        opt_state, value_opt_state = state.opt_state
        weight = 2.0 * due.astype(jnp.float32)  # the sum over 2·N·T steps, divided by N·T
        if value_opt_state is not None:
            step_size = schedules.annealed(self.value_learning_rate, self.anneal_lr, clock.progress)
            targets = Targets(target, weight, obs)
            critic, value_opt_state, metrics["value_loss"] = fit_values(
                self.optimizer(),
                critic,
                value_opt_state,
                targets,
                step_size,
                self.value_epochs,
                self.value_minibatches,
                key,
            )

        # Line 6
        grads, learnt = jax.grad(self.loss, has_aux=True)(actor, obs, steps, advantage, weight)
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
        actor, opt_state, norm = optim.descend(self.optimizer(), actor, grads, opt_state, step_size)

        metrics |= learnt | {
            "return_to_go": Metric.where(target, due),
            "grad_norm": Metric.of(norm),
            "learning_rate": Metric.of(step_size),
            "waiting": Metric.of(waiting.open.astype(jnp.float32)),
            "dropped": Metric.of((steps.open & ~due)[: self.num_steps].astype(jnp.float32)),
        }
        return State(actor.with_value(critic), (opt_state, value_opt_state), after, waiting), metrics

    def final_value(self, state: State, critic: ActorCritic, rollout: Rollout) -> Float[Array, "time env"]:
        """What an episode that is cut goes on with: v̂ of the observation reached, 0 where there is no v̂."""
        if self.baseline != "value":
            return jnp.zeros_like(rollout.reward)
        return critic.values(state.normaliser.normalize(rollout.final_obs, self.norm_clip))

    def returns(
        self, reward: Float[Array, "_ env"], rollout: Rollout, final_value: Float[Array, "time env"]
    ) -> Float[Array, "_ env"]:
        """Line 3: G of the steps that waited and of the new ones, [2·time, env]; right for those due."""
        # No episode that waits has ended before the new rollout.
        earlier = lambda x: jnp.concatenate([jnp.zeros_like(x), x])  # noqa: E731
        terminated, truncated, beyond = map(earlier, (rollout.terminated, rollout.truncated, final_value))
        return returns.discounted_returns(reward, terminated, truncated, beyond, self.gamma)

    def gather(self, waiting: Steps, rollout: Rollout) -> tuple[Steps, Bool[Array, "_ env"], Steps]:
        """Steps that waited and new ones, [2·time, env]; which of them are due; those that wait now."""
        extras = rollout.extras
        everyone = jnp.ones_like(rollout.terminated)
        new = Steps(rollout.obs, extras["action"], extras["log_prob"], rollout.reward, everyone)
        over = (rollout.terminated | rollout.truncated).astype(jnp.int32)
        ends = jax.lax.cummax(over, axis=0, reverse=True) > 0  # in this row or later
        steps = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), waiting, new)
        due = steps.open & jnp.concatenate([jnp.broadcast_to(ends[0], ends.shape), ends])
        return steps, due, eqx.tree_at(lambda s: s.open, new, ~ends)

    def loss(
        self,
        actor: ActorCritic,
        obs: Obs,
        steps: Steps,
        advantage: Float[Array, "time env"],
        weight: Float[Array, "time env"],
    ) -> tuple[Float[Array, ""], Metrics]:
        """Line 6: the weighted mean of −ρ δ − β H(π(s)), whose gradient at ρ = 1 is −δ ∇ log π(a|s)."""
        pi = actor.policy(obs)
        ratio = policy.importance_ratio(pi.log_prob(steps.action), steps.log_prob)
        policy_loss = -(weight * jnp.where(weight > 0.0, ratio * advantage, 0.0)).mean()
        entropy = pi.entropy()
        total = policy_loss - self.entropy_coef * (weight * entropy).mean()
        return total, {"policy_loss": Metric.of(policy_loss), "entropy": Metric.where(entropy, weight > 0.0)}
