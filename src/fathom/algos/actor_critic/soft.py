"""What actor-critics that are paid for entropy have in common: their state, and the order of an update."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.actor_critic.common import ADAM, OffPolicyActorCritic
from fathom.algos.base import Metrics, require_positive
from fathom.algos.normalisation import Normaliser
from fathom.core.types import Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.network import Critics
from fathom.ops import optim


class Params(eqx.Module):
    """What is trained."""

    actor: PyTree  # φ
    critics: Critics  # θ_1, θ_2, …
    log_alpha: Float[Array, "..."] | None  # log α, where the temperature is learnt


class OptState(eqx.Module):
    """Adam's moments of each of the parameters."""

    actor: optax.OptState
    critics: optax.OptState
    log_alpha: optax.OptState


class State(eqx.Module):
    """All that is carried from one update to the next, apart from the replay."""

    params: Params
    target: Critics  # θ̄_1, θ̄_2, …
    opt_state: OptState
    normaliser: Normaliser
    action_space: Any  # holds no arrays


class Soft(OffPolicyActorCritic):
    """An actor-critic whose critics count the policy's entropy, weighed by a temperature α.

    Haarnoja et al. 2018, arXiv:1812.05905, Algorithm 1: the lines of `update` are its lines. A subclass says
    what its critics learn, what its policy is judged by, and which entropy it is to keep.
    """

    alpha: eqx.AbstractVar[float | None]
    alpha_init: eqx.AbstractVar[float]

    @abc.abstractmethod
    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Array:
        """What the critics are to give for a batch."""

    @abc.abstractmethod
    def critic_loss(
        self, critics: Critics, batch: Batch, target: Array, space: Any
    ) -> tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]:
        """Σ_i J_Q(θ_i); metrics, and the batch's priorities. `space` is that of the actions."""

    @abc.abstractmethod
    def actor_loss(
        self, actor: PyTree, critics: Critics, alpha: Float[Array, ""], obs: Obs, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
        """J_π(φ); and the policy's entropy in each observation, or an unbiased estimate."""

    @abc.abstractmethod
    def aim(self, obs: Obs, space: Any) -> Float[Array, "..."] | float:
        """The entropy H̄ that the policy is to keep, in nats."""

    def check_temperature(self) -> None:
        """Raise FathomError for values out of range."""
        require_positive(self, "alpha", "alpha_init")

    def begin(self, actor: PyTree, critics: Critics, spec: EnvSpec) -> State:
        """Line 1: targets equal to the critics, and optimisers at rest."""
        params = Params(actor, critics, jnp.log(self.alpha_init) if self.alpha is None else None)
        opt_state = [optim.start(ADAM, part) for part in (actor, critics, params.log_alpha)]
        normaliser = Normaliser.init(self, spec)
        target = jax.tree.map(jnp.copy, critics)
        return State(params, target, OptState(*opt_state), normaliser, spec.action_space)

    def update(
        self, state: State, batch: Batch, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics, Array | None]:
        """Lines 5 to 8 on one minibatch."""
        target_key, actor_key = jax.random.split(key)
        params, opt, step_size = state.params, state.opt_state, self.step_size(clock)
        batch = self.normalized(state.normaliser, batch)

        target = self.td_target(state, batch, target_key)  # line 5
        grads, (metrics, priorities) = jax.grad(self.critic_loss, has_aux=True)(
            params.critics, batch, target, state.action_space
        )
        critics, critics_opt, _ = optim.descend(ADAM, params.critics, grads, opt.critics, step_size)

        alpha = self.temperature(params)  # line 6
        judging = jax.value_and_grad(self.actor_loss, has_aux=True)
        (loss, entropy), grads = judging(params.actor, critics, alpha, batch.obs, actor_key)
        actor, actor_opt, _ = optim.descend(ADAM, params.actor, grads, opt.actor, step_size)

        log_alpha, alpha_opt = params.log_alpha, opt.log_alpha  # line 7
        if log_alpha is not None:
            excess = entropy - self.aim(batch.obs, state.action_space)
            grad = jax.grad(self.temperature_loss)(log_alpha, excess)
            log_alpha, alpha_opt, _ = optim.descend(ADAM, log_alpha, grad, alpha_opt, step_size)

        trail = optim.polyak(state.target, critics, self.tau)  # line 8
        metrics["actor_loss"] = Metric.of(loss)
        metrics["entropy"] = Metric.of(entropy)
        metrics["alpha"] = Metric.of(alpha)
        metrics["learning_rate"] = Metric.of(step_size)
        params, opt = Params(actor, critics, log_alpha), OptState(actor_opt, critics_opt, alpha_opt)
        return State(params, trail, opt, state.normaliser, state.action_space), metrics, priorities

    def temperature_loss(
        self, log_alpha: Float[Array, ""], excess: Float[Array, " batch"]
    ) -> Float[Array, ""]:
        """Line 7: J(α) = E[α (H − H̄)], Eq. 18; `excess` is H − H̄, the entropy above what it is to be."""
        return (jnp.exp(log_alpha) * excess).mean()

    def temperature(self, params: Params) -> Float[Array, ""]:
        """The temperature α, learnt or given."""
        return jnp.asarray(self.alpha) if params.log_alpha is None else jnp.exp(params.log_alpha)
