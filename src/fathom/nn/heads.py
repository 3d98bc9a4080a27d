"""From features to action distributions, values and Q-values."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.keys import named
from fathom.core.spaces import Space
from fathom.core.types import Action
from fathom.nn.layers import Linear
from fathom.ops.distributions import Bernoulli, Categorical, DiagGaussian, MultiCategorical
from fathom.ops.exploration import NoiseMatrix, matrix_log_std

LOG_STD_LIMITS = (-20.0, 2.0)  # of a deviation that depends on the state, far from where float32 would fail


class PolicyHead(eqx.Module):
    """A linear layer whose outputs parameterise the distribution that fits the action space.

    Discrete: categorical. MultiDiscrete: independent categoricals. MultiBinary: independent Bernoullis.
    Box: a diagonal Gaussian; a bounded box is mapped to [−1, 1], in which the policy works, and draws beyond
    it are clipped on their way to the environment. Its log standard deviation is one number a component
    (`std` "global"), a linear function of the features ("state"), or what a noise matrix makes of them
    ("gsde", no gradient to the features): generalised state-dependent exploration, Raffin et al. 2022,
    arXiv:2005.05719.
    """

    layer: Linear
    log_std: Float[Array, "... action"] | Linear | None  # with gSDE [..., features, action]
    action_space: Space  # holds no arrays
    std: str = eqx.field(static=True, default="global")

    @staticmethod
    def init(
        key: Key[Array, ""], inputs: int, action_space: Space, log_std: float = 0.0, std: str = "global"
    ) -> "PolicyHead":
        """Small weights (gain 0.01), so that the first policy is near uniform (Andrychowicz et al. 2021).

        `log_std` is the first log deviation of each component, with gSDE of each entry of a noise matrix.
        """
        match action_space:
            case spaces.Discrete(n=n) | spaces.MultiBinary(n=n):
                return PolicyHead(Linear.init(key, inputs, n, 0.01), None, action_space)
            case spaces.MultiDiscrete(nvec=nvec):
                return PolicyHead(Linear.init(key, inputs, sum(nvec), 0.01), None, action_space)
            case spaces.Box():
                size = math.prod(action_space.shape)
                mean = Linear.init(key, inputs, size, 0.01)
                return PolicyHead(mean, init_log_std(key, std, inputs, size, log_std), action_space, std)
        raise FathomError(
            f"a policy has no distribution for actions of {action_space!r}; "
            "it takes Discrete, MultiDiscrete, MultiBinary and Box action spaces."
        )

    def __call__(self, features: Float[Array, "*batch features"], mask: Array | None = None) -> Any:
        """The distribution of the policy's own actions, to be sent through `to_env`."""
        out = self.layer(features)
        match self.action_space:
            case spaces.Discrete():
                return Categorical(out, mask)
            case spaces.MultiDiscrete(nvec=nvec):
                return MultiCategorical(out, nvec, mask)
            case spaces.MultiBinary():
                return Bernoulli(out)
        return DiagGaussian(out, self.deviation(features, out.shape))

    def deviation(
        self, features: Float[Array, "*batch features"], shape: tuple[int, ...]
    ) -> Float[Array, "*batch action"]:
        """The log deviation of the action's components."""
        if isinstance(self.log_std, Linear):
            return jnp.clip(self.log_std(features), *LOG_STD_LIMITS)
        assert self.log_std is not None
        if self.std == "gsde":
            return matrix_log_std(jax.lax.stop_gradient(features), self.log_std)
        return jnp.broadcast_to(self.log_std, shape)

    def noise(self, features: Float[Array, "env features"], noise: NoiseMatrix) -> Float[Array, "env action"]:
        """What gSDE adds to the mean."""
        assert self.log_std is not None
        assert not isinstance(self.log_std, Linear)
        return noise.noise(features, self.log_std)

    def to_env(self, action: Array) -> Action:
        """The policy's action as the environment takes it."""
        return to_env(self.action_space, action)


def init_log_std(
    key: Key[Array, ""], std: str, inputs: int, size: int, log_std: float
) -> Float[Array, "..."] | Linear:
    """The parameters of a Gaussian's deviation: see `PolicyHead`."""
    if std == "state":
        layer = Linear.init(named(key, "log_std"), inputs, size, 0.01)
        return Linear(layer.weight, layer.bias + log_std)
    return jnp.full((inputs, size) if std == "gsde" else (size,), log_std, jnp.float32)


def to_env(space: Space, action: Array) -> Action:
    """A policy's action (0-based integers; boxes flat, bounded ones in [−1, 1]) in the units of `space`."""
    match space:
        case spaces.Discrete(start=start):
            return action + start
        case spaces.Box(shape=shape) if space.bounded:
            low, high = jnp.asarray(space.low.ravel()), jnp.asarray(space.high.ravel())
            unit = (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0
            low, high = jnp.broadcast_to(low, unit.shape), jnp.broadcast_to(high, unit.shape)
            scaled = jnp.clip(low * (1.0 - unit) + high * unit, low, high)
            return scaled.reshape(*action.shape[:-1], *shape)
        case spaces.Box(shape=shape):
            low = jnp.broadcast_to(jnp.asarray(space.low.ravel()), action.shape)
            high = jnp.broadcast_to(jnp.asarray(space.high.ravel()), action.shape)
            return jnp.clip(action, low, high).reshape(*action.shape[:-1], *shape)
    return action
