"""What deterministic policy gradients have in common: DDPG is TD3 without its three remedies."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from fathom.algos.actor_critic.common import ADAM, OffPolicyActorCritic, from_env, judged_space, regression
from fathom.algos.base import Metrics
from fathom.algos.normalisation import Normaliser
from fathom.core.spaces import Box, flat_size
from fathom.core.types import Batch, EnvSpec, Metric, Obs
from fathom.nn.network import Critics, Network, init_critics, judge
from fathom.ops import optim, td


class Params(eqx.Module):
    """What is trained, or the weights that trail it."""

    actor: Network  # φ: actions before tanh
    critics: Critics  # θ_1, …: Q(s, a)


class OptState(eqx.Module):
    """Adam's moments of each of the parameters."""

    actor: optax.OptState
    critics: optax.OptState


class State(eqx.Module):
    """All that is carried from one update to the next, apart from the replay."""

    params: Params
    target: Params  # φ', θ'
    opt_state: OptState
    normaliser: Normaliser
    action_space: Box  # holds no arrays


class Deterministic(OffPolicyActorCritic):
    """A policy a = tanh f_φ(s) that climbs the critic's slope (Silver et al. 2014, Eq. 9)."""

    activation: eqx.AbstractVar[Any]

    def begin(self, spec: EnvSpec, key: Key[Array, ""], critics: int) -> State:
        """Orthogonal weights; a first policy near the middle of the box; targets equal to it all."""
        actor_key, critic_key = jax.random.split(key)
        net = (self.hidden, self.activation, self.scale_obs)
        params = Params(
            Network.init(actor_key, spec.obs_space, flat_size(spec.action_space), *net, gain=0.01),
            init_critics(critic_key, critics, judged_space(spec), 1, *net),
        )
        opt_state = OptState(optim.start(ADAM, params.actor), optim.start(ADAM, params.critics))
        target = jax.tree.map(jnp.copy, params)
        return State(params, target, opt_state, Normaliser.init(self, spec), spec.action_space)

    def td_target(
        self, state: State, batch: Batch, next_action: Float[Array, "batch component"]
    ) -> Float[Array, " batch"]:
        """The target y = R + γ^k min_i Q_θ'i(s', a'): the minimum of TD3, of one critic in DDPG."""
        next_q = judge(state.target.critics, (batch.next_obs, next_action))[..., 0].min(axis=0)
        return td.td_target(batch.reward, batch.discount, next_q)

    def critic_loss(
        self, critics: Critics, batch: Batch, target: Float[Array, " batch"], space: Box
    ) -> tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]:
        """Σ_i of the mean ½(y − Q_θi(s, a))²; metrics, and |y − Q| of each transition."""
        q = judge(critics, (batch.obs, from_env(space, batch.action)))[..., 0]
        return regression(q, target, batch.weight)

    def actor_loss(self, actor: Network, critic: Network, obs: Obs) -> Float[Array, ""]:
        """−Q(s, π_φ(s)), whose slope in φ is −∇_a Q(s, a) ∇_φ π_φ(s)."""
        return -critic((obs, policy(actor, obs))).mean()

    def learn_critics(
        self, state: State, batch: Batch, target: Float[Array, " batch"], step_size: Float[Array, ""]
    ) -> tuple[Critics, optax.OptState, Metrics, Float[Array, " batch"]]:
        """One step of the critics towards the target; metrics, and the batch's priorities."""
        critics = state.params.critics
        grads, (metrics, priorities) = jax.grad(self.critic_loss, has_aux=True)(
            critics, batch, target, state.action_space
        )
        critics, opt, _ = optim.descend(ADAM, critics, grads, state.opt_state.critics, step_size)
        return critics, opt, metrics, priorities

    def learn_actor(
        self, state: State, critics: Critics, obs: Obs, step_size: Float[Array, ""]
    ) -> tuple[Network, optax.OptState, Params, Metric]:
        """One step of the actor up the slope of the first critic; the targets after it, and the loss."""
        actor = state.params.actor
        loss, grads = jax.value_and_grad(self.actor_loss)(actor, critics[0], obs)
        actor, opt, _ = optim.descend(ADAM, actor, grads, state.opt_state.actor, step_size)
        trail = optim.polyak(state.target, Params(actor, critics), self.tau)
        return actor, opt, trail, Metric.of(loss)


def policy(actor: Network, obs: Obs) -> Float[Array, "*batch component"]:
    """The action π_φ(s), in [−1, 1]."""
    return jnp.tanh(actor(obs))
