"""What off-policy actor-critics have in common: checks, random play at first, the critics' regression."""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from fathom.algos.base import (
    Metrics,
    OffPolicy,
    require,
    require_fraction,
    require_mask_fits,
    require_positive,
    require_replay,
)
from fathom.algos.normalisation import Normaliser, T, require_normalisable, restarted
from fathom.core.errors import FathomError
from fathom.core.keys import named
from fathom.core.spaces import Box, Tuple, flat_size, flatten, to_unit
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.nn.network import Actor, NoisyActor
from fathom.ops import schedules, td
from fathom.ops.distributions import TanhGaussian
from fathom.ops.exploration import NoiseMatrix

ADAM = optax.scale_by_adam()  # the direction; `optim.descend` applies the step size


class OffPolicyActorCritic(OffPolicy):
    """A policy network and critics that learn from replay, all by Adam with one step size."""

    learning_rate: eqx.AbstractVar[float]
    tau: eqx.AbstractVar[float]
    anneal_lr: eqx.AbstractVar[bool]
    scale_obs: eqx.AbstractVar[bool]
    normalize_obs: eqx.AbstractVar[bool]
    normalize_reward: eqx.AbstractVar[bool]
    norm_clip: eqx.AbstractVar[float]
    hidden: eqx.AbstractVar[tuple[int, ...]]

    def check_shared(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range, and for observations that cannot be normalised."""
        require_positive(self, "learning_rate", "tau", "num_envs", "norm_clip")
        require_normalisable(self, spec)
        require(
            not (self.normalize_obs and self.scale_obs),
            "normalize_obs and scale_obs both put observations on a scale of their own; leave one out.",
        )
        require_fraction(self, "gamma", "tau")
        require(all(n > 0 for n in self.hidden), f"hidden is {self.hidden}; every layer needs units.")
        require_replay(self)

    def restart(self, state: T) -> T:
        """The state with what was earned in the episodes under way forgotten."""
        return restarted(state)

    def observe(self, state: T, rollout: Rollout) -> T:
        """The state with the statistics of what was just collected joined in."""
        return eqx.tree_at(lambda s: s.normaliser, state, state.normaliser.follow(rollout, self.gamma))

    def normalized(self, normaliser: Normaliser, batch: Batch) -> Batch:
        """A batch on the scale that the networks learn from, by the statistics of now."""
        if normaliser.obs_stats is None and normaliser.return_stats is None:
            return batch
        return replace(
            batch,
            obs=normaliser.normalize(batch.obs, self.norm_clip),
            next_obs=normaliser.normalize(batch.next_obs, self.norm_clip),
            reward=normaliser.scale(batch.reward, self.norm_clip),
        )

    def step_size(self, clock: Clock) -> Float[Array, ""]:
        """Adam's step size α, constant or falling to 0 at the horizon."""
        return schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)


def require_finite_box(name: str, spec: EnvSpec) -> None:
    """Raise FathomError unless actions are real numbers with finite bounds, which tanh can fill."""
    space = spec.action_space
    if not isinstance(space, Box) or not jnp.issubdtype(space.dtype, jnp.floating):
        raise FathomError(
            f"{name} works in continuous actions and cannot take {space!r}. DQN and discrete_sac take "
            "Discrete actions, PPO also MultiDiscrete and MultiBinary ones."
        )
    require_mask_fits(spec)
    require(
        space.bounded,
        f"{name} fills the box of actions by tanh, and {space!r} has infinite bounds. Give finite ones in "
        "the environment's action_space, by a wrapper for example; or use PPO, whose Gaussian needs none.",
    )
    with np.errstate(over="ignore"):
        spread = space.high - space.low
    require(
        bool(np.all((spread > 0) & np.isfinite(spread))),
        f"{name} maps the box of actions to [−1, 1], and in {space!r} a component has no width, or more than "
        "float32 can tell. Leave out what is not to be chosen, and give the rest bounds that mean something.",
    )


def judged_space(spec: EnvSpec) -> Tuple:
    """The space of what Q(s, a) is a function of: observations, and actions as the policy has them."""
    return Tuple((spec.obs_space, Box(-1.0, 1.0, (flat_size(spec.action_space),))))


def from_env(space: Box, action: Action) -> Float[Array, "*batch component"]:
    """Actions of the environment, flat and mapped from the box to [−1, 1]: the inverse of `to_env`."""
    return flatten(space, to_unit(space, action))


Sampler = Callable[[Key[Array, ""]], Array]


def explorer(
    actor: Actor, pi: TanhGaussian, obs: Obs, noise: PyTree, key: Key[Array, ""], steps: int
) -> tuple[Sampler, PyTree]:
    """What draws an action of the policy `pi`, and the noise matrices it was drawn with; () without any."""
    if not isinstance(noise, NoiseMatrix) or not isinstance(actor, NoisyActor):
        return pi.sample, ()
    noise = noise.held(named(key, "gsde"), steps)
    action = jnp.tanh(pi.normal.mean + actor.noise(obs, noise))
    return lambda _: action, noise


def uniform_at_first(
    policy: Sampler, key: Key[Array, ""], shape: tuple[int, ...], clock: Clock
) -> Float[Array, "env component"]:
    """What the policy draws with the key, in [−1, 1]; uniform numbers until the first gradient step."""
    uniform = lambda key: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)  # noqa: E731
    drawn = lambda key: policy(key)  # noqa: E731  a method of a distribution has no hash
    return jax.lax.cond(clock.gradient_step == 0, uniform, drawn, key)


def regression(
    q: Float[Array, "critic batch"], target: Float[Array, " batch"], weight: Float[Array, " batch"]
) -> tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]:
    """Σ_i of the mean over the batch of w ½(y − Q_i)²; metrics, and |y − Q| (a batch's priorities)."""
    error = target[None] - q
    loss = (weight[None] * td.squared(error)).mean(axis=-1).sum()
    size = jnp.abs(error).mean(axis=0)
    metrics = {"critic_loss": Metric.of(loss), "q_value": Metric.of(q), "td_error": Metric.of(size)}
    return loss, (metrics, size)
